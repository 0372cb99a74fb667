"""The audit log for those who have to answer for it: filters, export with its chain, proof that nothing was changed, anchors outside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, cast

import orjson
from pydantic import Field

from hub.access.anchors import Anchor
from hub.context import Context
from hub.export import csv_pieces
from hub.log import secret_name
from hub.records import AuditRow
from hub.skill import Audit, CostClass, Download, Rest, skill
from hub.store import columns
from hub.store.audit import Trail, line
from hub.wire import Body, Moment, Nothing, Wire, iso

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from hub.access.actions import Actions

#: Words for how a call went: the seed's and ours -> ours.
_OUTCOMES = {"success": "ok", "ok": "ok", "failed": "error", "failure": "error", "error": "error", "denied": "denied", "blocked": "denied"}
_SHOWN = {"ok": "success", "error": "failed", "denied": "denied"}
_REDACTED = "[redacted]"


class TrailAsk(Body):
    """Which rows are wanted; what is left out lets all through."""

    action: str | None = Field(
        default=None, max_length=200, description="What was done: a name such as keys.create, or auth.* and the like."
    )
    actor: str | None = Field(default=None, max_length=200, description="Who did it: name or id of a key, owner, system.")
    target: str | None = Field(default=None, max_length=200, description="Id of what it was done to.")
    resource_type: str | None = Field(default=None, max_length=200, description="Kind of what it was done to, such as keys.")
    status: Literal["success", "ok", "failed", "failure", "error", "denied", "blocked"] | None = Field(
        default=None, description="How it went: success, failed or denied."
    )
    request_id: str | None = Field(default=None, max_length=200, description="Part of the id of the request.")
    since: Moment | None = Field(default=None, alias="from", description="From then on: milliseconds since 1970, or ISO 8601.")
    until: Moment | None = Field(default=None, alias="to", description="Until then.")
    changes: bool = Field(default=False, description="Only calls that may change something, none that only read.")


class TrailPage(TrailAsk):
    """Which page of them, newest first."""

    limit: int = Field(default=50, ge=1, le=500, description="How many.")
    offset: int = Field(default=0, ge=0, le=10_000, description="How many to pass over.")


class ExportAsk(TrailAsk):
    """Which rows to write into a file, oldest first."""

    format: Literal["jsonl", "csv"] = Field(default="jsonl", description="JSON lines, which can be verified, or CSV for spreadsheets.")


class Entry(Wire):
    """One row. Every name but ``skill`` and those after it is OmniRoute's, with both of its spellings."""

    id: int
    timestamp: str | None
    created_at: str | None
    action: str
    actor: str
    target: str
    details: dict[str, Any]
    metadata: dict[str, Any]
    ip_address: str = Field(alias="ip_address")
    ip: str
    resource: str = Field(alias="resource_type")
    resource_again: str = Field(alias="resourceType")
    status: str
    request: str = Field(alias="request_id")
    request_again: str = Field(alias="requestId")
    skill: str
    door: str
    key_id: str
    error_code: str
    hash: str


class EntryPage(Wire):
    """A page of the audit log."""

    entries: list[Entry]
    total: int
    limit: int
    offset: int


class AnchorView(Wire):
    """The audit log at one moment: number and hash of its last row, and the digest of an export up to it."""

    at: str | None
    seq: int
    hash: str
    digest: str


class AnchorAnswer(Wire):
    """An anchor; null where there is nothing to anchor, or the log does not fit its anchors."""

    anchor: AnchorView | None


class Verdict(Wire):
    """Whether the log is what it was. ``rows`` hang together from the first on; ``broken_at`` is the first that does not."""

    ok: bool
    reason: str
    rows: int
    broken_at: int | None
    head_seq: int
    head_hash: str
    anchors: int
    newest_anchor: AnchorView | None


def _trail(actions: Actions, ask: TrailAsk) -> Trail:
    return Trail(
        actions=actions.named(ask.action) if ask.action else None,
        resources=actions.on(ask.resource_type) if ask.resource_type else None,
        actor=ask.actor or None,
        target=ask.target or None,
        outcome=_OUTCOMES[ask.status] if ask.status else None,
        request_id=ask.request_id or None,
        since=ask.since,
        until=ask.until,
        but=actions.reading if ask.changes else (),
    )


def _entry(actions: Actions, row: AuditRow) -> Entry:
    details = _details(row)
    resource = actions.of(row.skill).resource
    at = iso(row.at)
    return Entry(
        id=row.seq,
        timestamp=at,
        created_at=at,
        action=actions.name(row),
        actor=row.caller or row.key_id,
        target=row.target,
        details=details,
        metadata=details,
        ip_address=row.ip,
        ip=row.ip,
        resource_type=resource,
        resourceType=resource,
        status=_SHOWN.get(row.outcome, row.outcome),
        request_id=row.request_id,
        requestId=row.request_id,
        skill=row.skill,
        door=row.door,
        key_id=row.key_id,
        error_code=row.error_code,
        hash=row.hash,
    )


def _details(row: AuditRow) -> dict[str, Any]:
    """What is kept of the input, with what looks like a credential replaced; its digest and how long the call took."""
    kept: dict[str, Any] = {"durationMs": round(row.duration_us / 1000, 3), "inputDigest": row.digest}
    if row.error_code:
        kept["errorCode"] = row.error_code
    if row.detail:
        try:
            kept["input"] = _redacted(orjson.loads(row.detail))
        except orjson.JSONDecodeError:  # words, or an input that was too long to keep whole
            kept["text"] = row.detail
    return kept


def _redacted(value: Any) -> Any:
    if isinstance(value, list):
        return [_redacted(item) for item in cast("list[Any]", value)]
    if not isinstance(value, dict):
        return value
    fields = cast("dict[str, Any]", value)
    return {name: _REDACTED if secret_name(name) and item else _redacted(item) for name, item in fields.items()}


def _array(page: EntryPage) -> list[dict[str, Any]]:
    return [entry.model_dump(mode="json", by_alias=True) for entry in page.entries]


def _totals(page: EntryPage) -> dict[str, str]:
    return {"x-total-count": str(page.total), "x-page-limit": str(page.limit), "x-page-offset": str(page.offset)}


def _anchor(one: Anchor | None) -> AnchorView | None:
    return AnchorView(at=iso(one.at), seq=one.seq, hash=one.hash, digest=one.digest) if one is not None else None


@skill(
    "audit-log",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("GET", "/api/compliance/audit-log", view=_array, headers=_totals)],
    read_only=True,
)
async def shown(ctx: Context, ask: TrailPage) -> EntryPage:
    """Show who did what, when, from where and how it went, newest first."""
    actions = ctx.hub.actions
    rows, total = await ctx.hub.store.audit.trail(_trail(actions, ask), ask.limit, ask.offset)
    return EntryPage(entries=[_entry(actions, row) for row in rows], total=total, limit=ask.limit, offset=ask.offset)


@skill("audit-log-export", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("GET", "/api/compliance/audit-log/export")], read_only=True)
async def exported(ctx: Context, ask: ExportAsk) -> Download:
    """Write the audit log into a file, oldest first, each row with its hash; it is sent as it is read, whatever its size."""
    actions = ctx.hub.actions
    batches = ctx.hub.store.audit.batches(_trail(actions, ask))
    if ask.format == "csv":
        return Download("text/csv; charset=utf-8", "audit-log.csv", csv_pieces([*columns.AUDIT, "action"], _named(batches, actions)))
    return Download("application/x-ndjson", "audit-log.jsonl", _lines(batches))


async def _named(batches: AsyncIterator[list[dict[str, Any]]], actions: Actions) -> AsyncIterator[Sequence[dict[str, Any]]]:
    async for rows in batches:
        yield [{**row, "action": actions.name(columns.audit_of(row))} for row in rows]


async def _lines(batches: AsyncIterator[list[dict[str, Any]]]) -> AsyncIterator[bytes]:
    async for rows in batches:
        yield b"".join(line(row) + b"\n" for row in rows)


@skill("audit-log-verify", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("GET", "/api/compliance/audit-log/verify")], read_only=True)
async def verified(ctx: Context, ask: Nothing) -> Verdict:
    """Walk the whole audit log, and say whether a row is missing or was changed, or an older state was put back."""
    found = await ctx.hub.anchors.examine()
    return Verdict(
        ok=not found.reason,
        reason=found.reason,
        rows=found.chain.rows,
        broken_at=found.chain.broken_at,
        head_seq=found.chain.seq,
        head_hash=found.chain.hash,
        anchors=found.anchors,
        newest_anchor=_anchor(found.newest),
    )


@skill(
    "audit-log-anchor",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("POST", "/api/compliance/audit-log/anchor")],
    idempotent=True,
)
async def anchored(ctx: Context, ask: Nothing) -> AnchorAnswer:
    """Write down outside of the database where the audit log has got to, now, and tell webhooks; done every five minutes anyway."""
    return AnchorAnswer(anchor=_anchor(await ctx.hub.anchors.write()))


@skill(
    "audit-log-reanchor",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("POST", "/api/compliance/audit-log/reanchor")],
    destructive=True,
    audit=Audit.FULL,
)
async def anchored_anew(ctx: Context, ask: Nothing) -> AnchorAnswer:
    """Put the anchors aside and begin anew, after a backup was restored on purpose; the old ones stay in a file beside the new."""
    return AnchorAnswer(anchor=_anchor(await ctx.hub.anchors.renew()))
