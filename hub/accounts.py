"""A connection's ``providerSpecificData`` on the wire: routing rules, further keys and plain facts in one object, read and shown.

The facts fill the provider's base URL and are shown in plain, so what looks like a secret is refused there. What the seed
knows and this version cannot honour is refused by name, with the reason, rather than taken and ignored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from pydantic import Field, SecretStr, ValidationError

from hub.errors import BadRequest, InvalidInput
from hub.log import secret_name
from hub.planning.targets import BASE_URL_FIELDS
from hub.records import NO_RULES, ConnectionRules
from hub.resilience.quota import window_name
from hub.skill import details_of
from hub.wire import Body

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hub.records import Connection

_WHERE = "providerSpecificData"
#: Fields of the seed that nothing here acts on, and why.
_NOT_HONOURED = {
    "customUserAgent": "HubRoute names itself to providers",
    "openaiStoreEnabled": "whether a provider keeps answers is for each request to say (store)",
    "requestDefaults": "defaults of requests are not kept by connection; send them with the request",
    "consoleApiKey": "no part of this version uses a console's key",
    "codexLimitPolicy": "use limitPolicy, which serves every provider",
}

Tag = Annotated[str, Field(min_length=1, max_length=64)]
Pattern = Annotated[str, Field(min_length=1, max_length=200)]
WindowName = Annotated[str, Field(min_length=1, max_length=100)]


class LimitPolicy(Body):
    """Pass the connection over once a window is used this far; any window where none is named."""

    enabled: bool = True
    threshold_percent: int = Field(default=90, ge=1, le=100)
    windows: tuple[WindowName, ...] = Field(default=(), max_length=20)


class AccountData(Body):
    """The part of ``providerSpecificData`` that has a meaning of its own."""

    tag: str | None = Field(default=None, max_length=100)
    tags: tuple[Tag, ...] | None = Field(default=None, max_length=50)
    excluded_models: tuple[Pattern, ...] | None = Field(default=None, max_length=100)
    quota_preflight_enabled: bool | None = None
    limit_policy: LimitPolicy | None = None
    passthrough_models: bool | None = None
    weight: float | None = Field(default=None, ge=0, le=1000)
    tier: Literal["ultra", "pro", "standard", "free", ""] | None = None
    lenient: bool | None = None
    extra_api_keys: tuple[Annotated[SecretStr, Field(min_length=1, max_length=10_000)], ...] | None = Field(default=None, max_length=50)


#: Wire name -> field of :class:`AccountData`.
_MEANT = {info.alias or name: name for name, info in AccountData.model_fields.items()}


class AccountFacts(msgspec.Struct, kw_only=True):
    """What ``providerSpecificData`` says: ``extra_secrets`` None leaves the further keys as they are."""

    base_url: str = ""
    facts: dict[str, str] = {}
    rules: ConnectionRules = NO_RULES
    extra_secrets: tuple[str, ...] | None = None


def read(data: Mapping[str, Any], *, rules: ConnectionRules = NO_RULES) -> AccountFacts:
    """``providerSpecificData`` as it is stored. It stands for the whole of what it can say: rules that it leaves out end.

    ``rules`` gives those that have fields of their own (``maxConcurrent`` and the like). Raises BadRequest naming every field at fault.
    """
    try:
        meant = AccountData.model_validate({name: value for name, value in data.items() if name in _MEANT})
    except ValidationError as error:
        raise InvalidInput([{**detail, "field": f"{_WHERE}.{detail['field']}"} for detail in details_of(error)]) from None
    found = AccountFacts(rules=_rules(meant, rules))
    if "extraApiKeys" in data:
        found.extra_secrets = _keys(meant)
    for name, value in data.items():
        if name not in _MEANT and value is not None:
            _take(found, name, value)
    return found


def shown(connection: Connection) -> dict[str, Any]:
    """A connection's ``providerSpecificData`` as callers see it: what :func:`read` took, without the keys."""
    rules = connection.rules
    policy = (
        {"enabled": True, "thresholdPercent": rules.limit_percent, "windows": list(rules.limit_windows)} if rules.limit_percent else None
    )
    data: dict[str, Any] = {
        **connection.data,
        "baseUrl": connection.base_url,
        "tags": list(rules.tags),
        "excludedModels": list(rules.excluded_models),
        "quotaPreflightEnabled": rules.preflight,
        "limitPolicy": policy,
        "weight": rules.weight,
        "tier": rules.tier,
        "lenient": rules.lenient,
    }
    present = {name: value for name, value in data.items() if value or name in connection.data}
    return present if rules.model_quotas is None else {**present, "passthroughModels": rules.model_quotas}


def _keys(meant: AccountData) -> tuple[str, ...]:
    keys = tuple(dict.fromkeys(key.get_secret_value().strip() for key in meant.extra_api_keys or ()))
    if any("…" in key or not key for key in keys):
        raise _wrong("extraApiKeys", "holds a masked or empty key; send the keys themselves, or leave the field out to keep those there")
    return keys


def _rules(meant: AccountData, rules: ConnectionRules) -> ConnectionRules:
    policy = meant.limit_policy if meant.limit_policy is not None and meant.limit_policy.enabled else None
    tags = [*(meant.tags or ()), meant.tag or ""]
    return msgspec.structs.replace(
        rules,
        tags=tuple(dict.fromkeys(filter(None, tags))),
        excluded_models=meant.excluded_models or (),
        preflight=bool(meant.quota_preflight_enabled),
        limit_percent=0 if policy is None else policy.threshold_percent,
        limit_windows=() if policy is None else tuple(map(window_name, policy.windows)),
        model_quotas=meant.passthrough_models,
        lenient=bool(meant.lenient),
        weight=meant.weight or 0.0,
        tier=meant.tier or "",
    )


def _take(found: AccountFacts, name: str, value: Any) -> None:
    """A plain fact. Raises BadRequest for one that is not plain, that nothing honours, or that must not be shown."""
    if name in _NOT_HONOURED:
        if value:
            raise _wrong(name, f"is not used: {_NOT_HONOURED[name]}")
        return
    if isinstance(value, (dict, list)):
        raise _wrong(name, "must be text, a number or a switch")
    if name in BASE_URL_FIELDS:
        found.base_url = str(value)
        return
    if secret_name(name):
        raise _wrong(name, "looks like a secret, and facts are shown to every manager; send a key as apiKey or extraApiKeys")
    found.facts[name] = str(value)


def _wrong(name: str, words: str) -> BadRequest:
    return BadRequest(f"{_WHERE}.{name} {words}", field=f"{_WHERE}.{name}")
