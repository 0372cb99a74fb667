"""What the skills of memory share: whose memories a caller means, and how one is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator

from hub.errors import BadRequest, Forbidden, Unauthenticated
from hub.records import PRINCIPAL, Caller
from hub.store.keys import ID_PREFIX
from hub.wire import Wire, iso

if TYPE_CHECKING:
    from hub.context import Context
    from hub.memory.record import Memory

KINDS = ("factual", "episodic", "procedural", "semantic")
#: A kind of memory, in either case as the seed's clients write it.
Kind = Annotated[Literal["factual", "episodic", "procedural", "semantic"], BeforeValidator(lambda value: str(value).lower())]


class Before(Wire):
    """A content that a memory had before: until when, and the request that ended it where a conversation did."""

    content: str
    until: str | None
    request_id: str


class MemoryView(Wire):
    """A memory. ``version`` counts its contents, ``history`` are those before, the latest first. One that cannot be decrypted any more is
    not ``readable``."""

    id: str
    api_key_id: str
    session_id: str
    project: str
    type: str
    key: str
    content: str
    metadata: dict[str, Any]
    history: list[Before]
    version: int
    readable: bool
    created_at: str | None
    updated_at: str | None
    expires_at: str | None


def view(memory: Memory) -> MemoryView:
    """A memory as callers see it."""
    return MemoryView(
        id=memory.id,
        api_key_id=memory.key_id,
        session_id=memory.session_id,
        project=memory.project,
        type=memory.kind,
        key=memory.key,
        content=memory.content,
        metadata=memory.metadata,
        history=[Before(content=one.content, until=iso(one.until), request_id=one.request) for one in memory.past],
        version=memory.version,
        readable=memory.readable,
        created_at=iso(memory.created_at),
        updated_at=iso(memory.updated_at),
        expires_at=iso(memory.expires_at),
    )


def manages(ctx: Context) -> bool:
    """Whether a caller may name any key."""
    return "manage" in ctx.caller.scopes


def mine(ctx: Context, named: str) -> str:
    """The key whose memories are meant: the caller's own, or with management the one that is named.

    Raises Forbidden for another's, Unauthenticated for a caller without a key.
    """
    own = ctx.caller.key_id
    if not own:
        raise Unauthenticated("memories belong to an API key: send one as `Authorization: Bearer …`")
    if named in ("", own):
        return own
    if not manages(ctx):
        raise Forbidden("apiKeyId: a key reaches its own memories only; leave it out, or use a key with the scope manage", field="apiKeyId")
    return named


def known(ctx: Context, key_id: str) -> str:
    """The same key, which memories may be added for. Raises BadRequest for one that is not there."""
    if key_id not in (ctx.caller.key_id, Caller.owner().key_id) and not key_id.startswith(PRINCIPAL):
        there = key_id.startswith(ID_PREFIX) and any(one.id == key_id for one in ctx.hub.store.keys.all())
        if not there:
            raise BadRequest(f"apiKeyId: there is no key {key_id[:80]!r}; keys-list shows their ids", field="apiKeyId")
    return key_id
