"""Calls one by one, as reports and watchers show them, and which of them are meant."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from hub.records import UsageRow
from hub.wire import Body, Moment, Wire, iso

if TYPE_CHECKING:
    from hub.context import Context


class Filter(Body):
    """Which calls are meant; all when nothing is named."""

    provider: str | None = Field(default=None, max_length=200, description="Provider id or alias.")
    model: str | None = Field(default=None, max_length=300, description="Model that answered, as its provider calls it.")
    key: str | None = Field(default=None, max_length=200, description="Id or name of an API key.")
    connection: str | None = Field(default=None, max_length=200, description="Id or name of a connection.")
    combo: str | None = Field(default=None, max_length=200, description="Name of the combo.")
    source: Literal["upstream", "cache", "semantic", "coalesced", "idempotent"] | None = Field(
        default=None, description="Where the answer is from."
    )
    since: Moment = Field(default=0, ge=0, alias="from", description="Start: milliseconds since 1970, or ISO 8601.")
    until: Moment | None = Field(default=None, alias="to", description="End, itself left out.")


class CallFilter(Filter):
    """The same for single calls."""

    status: int | None = Field(default=None, ge=100, le=599, description="HTTP status that the client got.")
    outcome: Literal["ok", "error", "cancelled"] | None = Field(default=None, description="How it ended.")
    session: str | None = Field(default=None, min_length=1, max_length=64, description="Session id that the client sent.")
    request: str | None = Field(
        default=None, min_length=1, max_length=100, description="Id of a request; name its time, too: rows go by time."
    )


class CallRow(Wire):
    """One call. Token counts are apart: ``input`` without what was read from or written to a cache, ``output`` with reasoning;
    ``compressed`` are those that compression took out before.
    """

    time: str | None
    request_id: str
    door: str
    provider: str
    model: str
    requested_model: str
    account: str
    connection_id: str
    api_key_id: str
    api_key_name: str
    combo: str
    step: str
    source: str
    session: str
    status: int
    outcome: str
    error_code: str
    input_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    output_tokens: int
    reasoning_tokens: int
    compressed_tokens: int
    estimated: bool
    cost: float | None
    price_source: str
    latency_ms: int
    ttft_ms: int | None
    stream: bool
    fallbacks: int


def accounts(ctx: Context) -> dict[str, str]:
    """Connection -> its name, with the id where two have the same."""
    connections = ctx.hub.store.connections.all()
    counts = Counter(one.name for one in connections)
    return {one.id: one.name if counts[one.name] == 1 else f"{one.name} {one.id}" for one in connections}


def where_of(ctx: Context, ask: Filter) -> dict[str, str | int | None]:
    """The store's names for what is asked. Raises NotFound for a provider that there is not."""
    store = ctx.hub.store
    where: dict[str, str | int | None] = {
        "provider": ctx.hub.catalog.get(ask.provider).id if ask.provider else None,
        "model": ask.model,
        "combo": ask.combo,
        "source": ask.source,
        # Calls outlive keys and connections, so an id that is not known now is taken as it is.
        "key_id": next((key.id for key in store.keys.all() if key.name == ask.key), ask.key),
        "connection_id": next((one.id for one in store.connections.all() if one.name == ask.connection), ask.connection),
    }
    if isinstance(ask, CallFilter):
        where.update(status=ask.status, outcome=ask.outcome, session=ask.session, request_id=ask.request)
    return where


def call_row(row: UsageRow, names: dict[str, str]) -> CallRow:
    return CallRow(
        time=iso(row.at),
        request_id=row.request_id,
        door=row.door,
        provider=row.provider,
        model=row.model,
        requested_model=row.requested_model,
        account=names.get(row.connection_id, row.connection_id),
        connection_id=row.connection_id,
        api_key_id=row.key_id,
        api_key_name=row.key_name,
        combo=row.combo,
        step=row.step,
        source=row.source,
        session=row.session,
        status=row.status,
        outcome=row.outcome,
        error_code=row.error_code,
        input_tokens=row.usage.input,
        cache_read_tokens=row.usage.cache_read,
        cache_write_tokens=row.usage.cache_write,
        output_tokens=row.usage.output,
        reasoning_tokens=row.usage.reasoning,
        compressed_tokens=row.compressed,
        estimated=row.usage.estimated,
        cost=row.cost,
        price_source=row.price_source,
        latency_ms=row.latency_ms,
        ttft_ms=row.ttft_ms,
        stream=row.stream,
        fallbacks=row.fallbacks,
    )
