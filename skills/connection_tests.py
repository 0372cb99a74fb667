"""Trying provider connections: does a credential work, and which models does it reach?"""

from __future__ import annotations

from typing import Any

from pydantic import Field, SecretStr

from hub.context import Context
from hub.errors import BadRequest
from hub.records import NO_RULES, Connection, TestStatus
from hub.resilience.probe import Verdict, list_models, probe
from hub.secret import Secret
from hub.skill import CostClass, Rest, skill
from hub.wire import Body, Wire, iso
from skills import _node_facts as node_facts
from skills.connections import ConnectionId


class Diagnosis(Wire):
    """What a test found, for programs; ``message`` and ``code`` are null when all is well."""

    type: str
    source: str
    message: str | None
    code: str | None


class TestReport(Wire):
    """What a test found. ``valid`` is about the credential; ``warning`` says what was not proven, ``error`` is in the provider's words.

    ``diagnosis`` sorts it: ``ok`` or what went wrong, and whether the ``upstream``, the ``network`` or the hub (``local``) says so.
    ``refreshed`` and ``runtime`` are the seed's: nothing is refreshed by a test, and it runs here.
    """

    __test__ = False  # pytest: not a test class

    id: str
    name: str
    provider: str
    valid: bool
    error: str | None
    warning: str | None
    status_code: int | None
    latency_ms: int
    models: int | None
    reached: str
    remedy: str | None
    diagnosis: Diagnosis
    refreshed: bool = False
    runtime: None = None
    tested_at: str | None


class Credential(Body):
    """A credential to check without saving it."""

    provider: str = Field(min_length=1, max_length=200, description="Provider id or alias, or a node's id or prefix.")
    api_key: SecretStr = Field(default=SecretStr(""), max_length=10_000, description="The key to check.")
    base_url: str = Field(default="", max_length=2000, description="Base URL, where the provider has none of its own.")
    validation_model_id: str | None = Field(
        default=None, max_length=200, description="Ask this model for a word, too; that may cost a few tokens."
    )
    custom_user_agent: str = Field(default="", max_length=500, description="Empty only: HubRoute names itself to providers.")
    cx: str = Field(default="", max_length=500, description="Id of the search engine, where the provider is one.")
    allow_private: bool = Field(default=False, description="Let the check reach private addresses.")
    provider_specific_data: dict[str, Any] = Field(default={}, description="Region, account and the like.")


class Validity(Wire):
    """Whether a credential works."""

    valid: bool
    error: str | None
    warning: str | None
    method: str
    reached: str
    status_code: int | None
    latency_ms: int
    remedy: str | None


class OfferedModel(Wire):
    """One model of a connection, in OpenAI's shape."""

    id: str
    object: str = "model"
    created: int = 0
    owned_by: str = Field(serialization_alias="owned_by")


class OfferedModels(Wire):
    """The models a connection offers; ``source`` says whether the provider or the catalogue was asked."""

    provider: str
    connection_id: str
    models: list[OfferedModel]
    source: str


@skill("connections-test", scopes=["manage"], cost=CostClass.NETWORK, rest=[Rest("POST", "/api/providers/{id}/test")], idempotent=True)
async def test(ctx: Context, ask: ConnectionId) -> TestReport:
    """Test a connection against its provider and keep what was found; spends nothing."""
    connection = ctx.hub.store.connections.get(ask.id)
    ctx.hub.targets.forgive(connection.id)
    ctx.hub.logins.accounts.renewals.forgive()
    verdict = await probe(ctx.hub, connection)
    _keep(ctx, connection, verdict)
    return TestReport(
        id=connection.id,
        name=connection.name,
        provider=connection.provider,
        valid=verdict.valid,
        error=verdict.error,
        warning=verdict.warning,
        status_code=verdict.status,
        latency_ms=verdict.latency_ms,
        models=len(verdict.models) if verdict.models is not None else None,
        reached=verdict.reached,
        remedy=verdict.remedy,
        diagnosis=Diagnosis(type=verdict.kind, source=verdict.source, message=verdict.error, code=verdict.code or None),
        tested_at=iso(ctx.hub.clock.now_ms()),
    )


def _keep(ctx: Context, connection: Connection, verdict: Verdict) -> None:
    """A test that passes clears every mark; one that fails leaves its reason."""
    if verdict.valid:
        ctx.hub.resilience.cooldowns.clear(connection.id)
        ctx.hub.mark(connection.id, test_status=TestStatus.ACTIVE, last_error="", last_error_at=None, cooldown_until=None, backoff_level=0)
    else:
        status = TestStatus.EXPIRED if verdict.status == 401 else TestStatus.UNAVAILABLE
        ctx.hub.mark(connection.id, test_status=status, last_error=(verdict.error or "")[:100], last_error_at=ctx.hub.clock.now_ms())


@skill("connections-validate", scopes=["manage"], cost=CostClass.NETWORK, rest=[Rest("POST", "/api/providers/validate")], read_only=True)
async def validate(ctx: Context, ask: Credential) -> Validity:
    """Check a provider credential without saving it."""
    row = ctx.hub.catalog.get(ask.provider)
    if ask.custom_user_agent:
        raise BadRequest("customUserAgent is not used: HubRoute names itself to providers; leave it out", field="customUserAgent")
    given = node_facts.read(ctx, row.id, {**({"cx": ask.cx} if ask.cx else {}), **ask.provider_specific_data}, NO_RULES)
    draft = Connection(
        id="draft",
        provider=row.id,
        name="draft",
        secret=Secret(ask.api_key.get_secret_value().strip()),
        base_url=ask.base_url or given.base_url,
        data=given.facts,
        allow_private=ask.allow_private,
    )
    verdict = await probe(ctx.hub, draft, model=ask.validation_model_id or "")
    return Validity(
        valid=verdict.valid,
        error=verdict.error,
        warning=verdict.warning,
        method=verdict.method,
        reached=verdict.reached,
        status_code=verdict.status,
        latency_ms=verdict.latency_ms,
        remedy=verdict.remedy,
    )


class ModelsAsk(ConnectionId):
    """Whose models to list."""

    include_hidden: bool = Field(default=False, description="List the models that are hidden, too.")


@skill("connections-models", scopes=["manage"], cost=CostClass.NETWORK, rest=[Rest("GET", "/api/providers/{id}/models")], read_only=True)
async def models(ctx: Context, ask: ModelsAsk) -> OfferedModels:
    """List the models a connection offers: the provider's own list, or the catalogue's where it has none; and those of your own."""
    connection = ctx.hub.store.connections.get(ask.id)
    names, source = await list_models(ctx.hub, connection)
    row = ctx.hub.catalog.get(connection.provider)
    own = [model.id for model in row.models if model.custom and (not model.only or connection.id in model.only)]
    return OfferedModels(
        provider=connection.provider,
        connection_id=connection.id,
        models=[
            OfferedModel(id=name, owned_by=connection.provider)
            for name in dict.fromkeys((*names, *own))
            if ask.include_hidden or name not in row.hidden
        ],
        source=source,
    )
