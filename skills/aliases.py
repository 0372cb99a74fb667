"""Model aliases: the owner's own names for models, exact or with wildcards, and where each leads."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from hub.context import Context
from hub.errors import BadRequest, Conflict, HubError, NotFound
from hub.planning.directory import ALIASES
from hub.providers.catalog import ModelRow, ProviderRow
from hub.routing import wildcard
from hub.routing.resolve import MAX_LENGTH, Resolution
from hub.skill import Audit, CostClass, Rest, skill
from hub.store.inputs import words
from hub.wire import Body, Wire
from skills._shelf import leads, providers

_MOST = 1000


class AliasAsk(Wire):
    """Which alias to resolve."""

    alias: str | None = Field(default=None, max_length=MAX_LENGTH, description="A name to resolve; without it all aliases are listed.")


class AliasName(Wire):
    """Names one alias."""

    alias: str = Field(min_length=1, max_length=200, description="The alias.")


class NewAlias(Body):
    """An alias and what it stands for."""

    model: str = Field(min_length=1, max_length=200, description="provider/model, the prefix of an own node with a model, or a model id.")
    alias: str = Field(min_length=1, max_length=200, description="The name clients use; '*' and '?' stand for any characters and one.")


class Resolved(Wire):
    """Where a name leads. ``source`` is alias or wildcard, ``target`` what the alias says, ``qualified_id`` what to write in full."""

    provider: str
    provider_alias: str
    model: str
    qualified_id: str
    source: str
    target: str
    metadata: dict[str, Any]


class AliasReport(Wire):
    """All aliases, or one name resolved. ``catalog_version`` changes when the catalogue does."""

    aliases: dict[str, str] | None = None
    alias: str | None = None
    resolved: Resolved | None = None
    catalog_version: str


class AliasSet(Wire):
    """What was set."""

    success: bool = True
    model: str
    alias: str
    catalog_version: str


class AliasGone(Wire):
    """It is gone."""

    success: bool = True
    catalog_version: str


def _report(output: AliasReport) -> dict[str, Any]:
    return {name: value for name, value in output.model_dump(mode="json", by_alias=True).items() if value is not None}


def _plain(output: AliasSet | AliasGone) -> dict[str, Any]:
    return output.model_dump(mode="json", by_alias=True, exclude={"catalog_version"})


def _told(output: AliasSet) -> dict[str, Any]:
    return {**_plain(output), "message": f"{output.alias} leads to {output.model}"}


def _version(output: AliasReport | AliasSet | AliasGone) -> dict[str, str]:
    return {"x-model-catalog-version": output.catalog_version}


@skill(
    "aliases-list",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("GET", "/api/models/alias", view=_report, headers=_version)],
    read_only=True,
    audit=Audit.NONE,
)
async def list_aliases(ctx: Context, ask: AliasAsk) -> AliasReport:
    """List the aliases of models, or show where one name leads and what is known of the model there."""
    version = ctx.hub.catalog.version
    aliases = ctx.hub.directory.aliases()
    if ask.alias is None:
        return AliasReport(aliases=dict(sorted(aliases.items())), catalog_version=version)
    key = ask.alias if ask.alias in aliases else wildcard.best(aliases, ask.alias)
    if key is None:
        raise NotFound(f"no alias fits {ask.alias!r}; GET /api/models/alias lists them", field="alias", code="MODEL_NOT_MAPPED")
    resolution = ctx.hub.resolver.resolve(aliases[key])
    resolved = _resolved(ctx, resolution, "alias" if key == ask.alias else "wildcard", aliases[key])
    return AliasReport(alias=ask.alias, resolved=resolved, catalog_version=version)


@skill(
    "aliases-set",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[
        Rest("PUT", "/api/models/alias", view=_plain, headers=_version),
        Rest("POST", "/api/models/alias", view=_plain, headers=_version),
        Rest("PUT", "/api/cloud/models/alias", view=_told),
    ],
    idempotent=True,
    audit=Audit.FULL,
)
async def set_alias(ctx: Context, ask: NewAlias) -> AliasSet:
    """Give a model a name of your own; takes effect at once. An alias leads to a model, never to another alias."""
    alias, model = words("alias", ask.alias.strip(), limit=200), words("model", ask.model.strip(), limit=200)
    async with ctx.hub.combo_changes:
        aliases = ctx.hub.directory.aliases()
        if alias not in aliases and len(aliases) >= _MOST:
            raise Conflict(f"there are {_MOST} aliases already; delete one first")
        _check(ctx, alias, model, aliases)
        await ctx.hub.store.values.set(ALIASES, {**aliases, alias: model})
    return AliasSet(model=model, alias=alias, catalog_version=ctx.hub.catalog.version)


def _check(ctx: Context, alias: str, model: str, aliases: dict[str, str]) -> None:
    """Raise BadRequest for an alias that leads in a circle, to another alias, to a combo, or nowhere."""
    if model == alias:
        raise BadRequest(f"alias {alias!r} would lead to itself", field="model")
    if model in aliases:
        raise BadRequest(f"{model!r} is an alias of {aliases[model]!r}; an alias leads to a model, so name that", field="model")
    leading = sorted(other for other, target in aliases.items() if target == alias)
    if leading:
        raise BadRequest(f"alias {leading[0]!r} leads to {alias!r}, which cannot be an alias itself then", field="alias")
    if ctx.hub.combos.find(model) is not None:
        raise BadRequest(f"{model!r} is a combo; POST /api/model-combo-mappings makes names that lead to one", field="model")
    prefix, slash, rest = model.partition("/")
    if slash and rest and providers(ctx)(prefix):
        return
    try:
        leads(ctx, model)
    except HubError as error:
        raise BadRequest(f"alias {alias!r} would lead nowhere: {error.message}", field="model") from None


@skill(
    "aliases-delete",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("DELETE", "/api/models/alias", view=_plain, headers=_version)],
    destructive=True,
    audit=Audit.FULL,
)
async def delete(ctx: Context, ask: AliasName) -> AliasGone:
    """Remove an alias."""
    async with ctx.hub.combo_changes:
        aliases = ctx.hub.directory.aliases()
        if ask.alias not in aliases:
            raise NotFound(f"there is no alias {ask.alias!r}; GET /api/models/alias lists them", field="alias", code="MODEL_NOT_MAPPED")
        await ctx.hub.store.values.set(ALIASES, {name: target for name, target in aliases.items() if name != ask.alias})
    return AliasGone(catalog_version=ctx.hub.catalog.version)


def _resolved(ctx: Context, resolution: Resolution, source: str, target: str) -> Resolved:
    row = ctx.hub.catalog.get(resolution.provider)
    listed = row.model(resolution.model)
    # The prefix of an own node is what leads to it.
    qualified = target if resolution.rule == "node" else f"{row.alias if row.template else row.id}/{resolution.model}"
    return Resolved(
        provider=row.id,
        provider_alias=row.alias,
        model=resolution.model,
        qualified_id=qualified,
        source=source,
        target=target,
        metadata=_metadata(row, listed, resolution.model, qualified),
    )


def _metadata(row: ProviderRow, listed: ModelRow | None, model: str, qualified: str) -> dict[str, Any]:
    """What the catalogue knows of a model in the seed's shape; null is unknown."""
    known = listed or ModelRow(id=model, kind="")
    return {
        "provider": row.id,
        "providerAlias": row.alias,
        "providerLabel": row.name,
        "model": model,
        "qualifiedId": qualified,
        "displayName": known.name or model,
        "aliases": list(known.aliases),
        "capabilities": _capabilities(listed),
        "limits": {
            "contextWindow": known.context or row.default_context,
            "maxInputTokens": None,
            "maxOutputTokens": known.max_output,
            "defaultThinkingBudget": None,
            "thinkingBudgetCap": None,
            "thinkingOverhead": None,
            "adaptiveMaxTokens": None,
        },
        "metadata": {
            **dict.fromkeys(("family", "status", "knowledgeCutoff", "releaseDate", "lastUpdated", "openWeights")),
            "source": {"providerRegistry": True, "staticSpec": listed is not None, "syncedCapability": False},
        },
        "modalities": _modalities(known),
    }


def _capabilities(listed: ModelRow | None) -> dict[str, bool | None]:
    caps = listed.caps if listed is not None else ()

    def able(name: str) -> bool | None:
        return name in caps if listed is not None else None

    return {
        "toolCalling": "tools" in caps,
        "reasoning": "reasoning" in caps,
        "supportsThinking": able("reasoning"),
        "supportsTools": able("tools"),
        "vision": able("vision"),
        "attachment": None,
        "structuredOutput": None,
        "temperature": "temperature" not in listed.drop_params if listed is not None else None,
    }


def _modalities(known: ModelRow) -> dict[str, Any]:
    text = ["text"] if known.kind == "chat" else []
    return {"input": [*text, *(["image"] if "vision" in known.caps else [])], "output": text, "interleavedField": None}
