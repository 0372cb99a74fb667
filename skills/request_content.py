"""What was said in requests: whether it is stored, of which requests it is, one by one, and how it is forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from pydantic import Field, model_validator

from hub.content.settings import KeyName, RequestContent
from hub.context import Context
from hub.skill import Audit, CostClass, Rest, skill
from hub.wire import Body, Nothing, Wire, iso
from skills._calls import accounts

if TYPE_CHECKING:
    from hub.content.model import Part

_SETTINGS, _OF_ALL, _OF_ONE = (
    "/api/settings/request-content",
    "/api/usage/request-logs/content",
    "/api/usage/request-logs/{requestId}/content",
)
_ID = "Id of the request, as its answer's X-Request-Id says it."


class ContentState(RequestContent):
    """What is set, and what is stored: ``requests`` of them in ``bytes`` as they lie in the database, sealed; ``oldest`` is the first.

    ``left_out`` counts requests that this process could not store since its start. ``unknown_keys`` are names in ``keys`` of which there
    is no key now.
    """

    requests: int = Field(description="Requests of which something is stored.")
    bytes: int = Field(description="Bytes that they take.")
    oldest: str | None = Field(description="When the oldest of them was.")
    left_out: int = Field(description="Requests that this process could not store.")
    unknown_keys: list[str] = Field(description="Names in keys that no key has.")


class ContentChange(Body):
    """What to change; what is left out stays as it is."""

    enabled: bool | None = Field(default=None, description="Store what is said in chats from now on, or no longer.")
    days: int | None = Field(default=None, ge=1, le=365, description="Days until it is deleted.")
    request_kb: int | None = Field(default=None, ge=1, le=4096, description="KiB that are kept of one request.")
    total_mb: int | None = Field(default=None, ge=1, le=100_000, description="MiB that all of it may take.")
    keys: list[KeyName] | None = Field(default=None, max_length=1000, description="Ids or names of keys; an empty list: of every key.")


class ListAsk(Body):
    """Of which requests."""

    request_id: str = Field(default="", max_length=100, description="Id of the one request that is meant; empty: all.")
    api_key: str = Field(default="", max_length=200, description="Id or name of the key whose requests are meant; empty: all.")
    limit: int = Field(default=100, ge=1, le=1000, description="Most requests to list.")


class Stored(Wire):
    """A request of which something is stored. ``bytes`` are those in the database."""

    request_id: str
    at: str | None
    api_key_id: str
    bytes: int
    expires_at: str | None


class StoredList(Wire):
    """Requests, newest first."""

    requests: list[Stored]


class OneAsk(Body):
    """Which request."""

    request_id: str = Field(min_length=1, max_length=100, description=_ID)


class Said(Wire):
    """A body. ``size`` is its length in bytes; ``truncated`` says that ``text`` is only how it begins, ``binary`` that it was no text."""

    text: str
    size: int
    truncated: bool
    binary: bool


class CallContent(Wire):
    """One call to a provider: what was sent after translation, in which ``format``, and its raw answer or the bytes of its stream.

    ``status`` is null where no answer began; ``address`` is empty for what is built in.
    """

    provider: str
    model: str
    account: str
    connection_id: str
    address: str
    format: str
    status: int | None
    sent: Said
    answer: Said


class RequestSaid(Wire):
    """What is stored of a request. ``dialect`` is empty for one that was made within the hub, whose ``request`` is in the hub's own form.

    ``calls`` are the calls that were made for it, the last one answered; ``earlier_calls`` were not kept.
    """

    request_id: str
    at: str | None
    expires_at: str | None
    api_key_id: str
    dialect: str
    path: str
    headers: dict[str, str]
    request: Said
    calls: list[CallContent]
    earlier_calls: int


class ForgetAsk(Body):
    """What to forget: one request, all of one key, or everything. Name one of them."""

    request_id: str = Field(default="", max_length=100, description=_ID)
    api_key: str = Field(default="", max_length=200, description="Id or name of the key whose requests are meant.")
    everything: bool = Field(default=False, description="All that is stored.")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum((bool(self.request_id), bool(self.api_key), self.everything)) != 1:
            raise ValueError("name one of requestId, apiKey and everything")
        return self


class Forgotten(Wire):
    """Of how many requests something was deleted."""

    requests: int


async def _state(ctx: Context) -> ContentState:
    hub = ctx.hub
    settings, sums = hub.preferences.current.request_content, await hub.store.contents.sums()
    known = {name for key in hub.store.keys.all() for name in (key.id, key.name)}
    return ContentState(
        **settings.model_dump(),
        requests=sums["requests"],
        bytes=sums["size"],
        oldest=iso(sums["oldest"]),
        left_out=hub.contents.left_out,
        unknown_keys=[name for name in settings.keys if name not in known],
    )


def _key_id(ctx: Context, name: str) -> str:
    """The id of a key; requests outlive keys, so a name that none has now is taken for an id."""
    return next((key.id for key in ctx.hub.store.keys.all() if key.name == name), name)


def _said(part: Part) -> Said:
    return Said(text=part.text, size=part.size, truncated=part.cut, binary=part.binary)


@skill(
    "request-content-settings",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("GET", _SETTINGS)],
    read_only=True,
    audit=Audit.NONE,
)
async def settings(ctx: Context, ask: Nothing) -> ContentState:
    """Show whether what is said in requests is stored, of whom and for how long, and how much of it there is."""
    return await _state(ctx)


@skill(
    "request-content-set",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest(method, _SETTINGS) for method in ("PATCH", "PUT")],
    idempotent=True,
    audit=Audit.FULL,
)
async def change(ctx: Context, ask: ContentChange) -> ContentState:
    """Change whether and how what is said in requests is stored. What is stored already stays until it is forgotten or past its time."""
    await ctx.hub.preferences.change({"requestContent": ask.model_dump(mode="json", by_alias=True, exclude_none=True)})
    return await _state(ctx)


@skill(
    "request-content-list",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("GET", _OF_ALL)],
    read_only=True,
    audit=Audit.NONE,
)
async def listed(ctx: Context, ask: ListAsk) -> StoredList:
    """List the requests of which something is stored, newest first, and nothing of what was said in them."""
    hub = ctx.hub
    rows = await hub.store.contents.listed(
        request_id=ask.request_id, key_id=_key_id(ctx, ask.api_key) if ask.api_key else "", limit=ask.limit
    )
    return StoredList(
        requests=[
            Stored(
                request_id=row["request_id"],
                at=iso(row["at"]),
                api_key_id=row["key_id"],
                bytes=row["size"],
                expires_at=iso(hub.contents.expires(row["at"])),
            )
            for row in rows
        ]
    )


@skill("request-content-get", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("GET", _OF_ONE)], read_only=True)
async def get(ctx: Context, ask: OneAsk) -> RequestSaid:
    """Show what was said in a request: how it came, what was sent for it, and what was answered. Each look is in the audit log."""
    found = await ctx.hub.contents.get(ask.request_id)
    names = accounts(ctx)
    return RequestSaid(
        request_id=found.request_id,
        at=iso(found.at),
        expires_at=iso(ctx.hub.contents.expires(found.at)),
        api_key_id=found.key_id,
        dialect=found.dialect,
        path=found.path,
        headers=found.headers,
        request=_said(found.came),
        calls=[
            CallContent(
                provider=call.provider,
                model=call.model,
                account=names.get(call.connection_id, call.connection_id),
                connection_id=call.connection_id,
                address=call.address,
                format=call.format,
                status=call.status,
                sent=_said(call.sent),
                answer=_said(call.answer),
            )
            for call in found.calls
        ],
        earlier_calls=found.earlier,
    )


@skill(
    "request-content-forget",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("DELETE", _OF_ONE), Rest("DELETE", _OF_ALL)],
    destructive=True,
    idempotent=True,
    audit=Audit.FULL,
)
async def forget(ctx: Context, ask: ForgetAsk) -> Forgotten:
    """Delete at once what is stored of one request with those made for it, of all requests of a key, or of everybody.

    Usage and decisions stay.
    """
    key_id = _key_id(ctx, ask.api_key) if ask.api_key else ""
    return Forgotten(requests=await ctx.hub.store.contents.forget(request_id=ask.request_id, key_id=key_id))
