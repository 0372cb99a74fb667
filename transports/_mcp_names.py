"""Names that MCP clients complete (models, combos, providers, requests), and lists in pages. All of it within the caller's scopes."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any

import orjson

from hub.errors import HubError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hub.call import Hub
    from hub.context import Context

#: The protocol's limit of values in one answer.
_MOST = 100
PAGE = 50


class BadCursor(ValueError):
    """A cursor that this list did not give."""


async def names_of(hub: Hub, kind: str, ctx: Context) -> list[str]:
    """The names of a kind that the caller may see; none where it may see none, or nobody lists them."""
    skill = hub.skills.by_kind.get(kind)
    if skill is None or skill.names is None or not skill.scopes <= ctx.caller.scopes:
        return []
    try:
        return skill.names.of(await hub.call(skill, {}, ctx))
    except HubError:
        return []  # a policy of the owner's refuses it: nothing is offered


def completed(names: Sequence[str], typed: str) -> dict[str, Any]:
    """The names that what was typed may become: those that begin with it, then those that hold it. At most 100, with how many there are."""
    word = typed.casefold()
    first = [name for name in names if name.casefold().startswith(word)]
    found = first + [name for name in names if word in name.casefold() and not name.casefold().startswith(word)]
    return {"values": found[:_MOST], "total": len(found), "hasMore": len(found) > _MOST}


def page(items: Iterable[dict[str, Any]], *, by: str, cursor: str | None, scopes: frozenset[str], size: int = PAGE) -> dict[str, Any]:
    """The items after a cursor in the order of their field ``by``, and ``nextCursor`` where there are more.

    A cursor names the last item that was seen, so that pages stay right while the list changes. Raises BadCursor.
    """
    ordered = sorted(items, key=lambda item: item[by])
    stamp = hashlib.blake2b(f"{by} {sorted(scopes)}".encode(), digest_size=6).hexdigest()
    after = "" if cursor is None else _after(cursor, stamp)
    left = [item for item in ordered if item[by] > after]
    if len(left) <= size:
        return {"items": left}
    mark = orjson.dumps([stamp, left[size - 1][by]])
    return {"items": left[:size], "nextCursor": base64.urlsafe_b64encode(mark).decode()}


def _after(cursor: str, stamp: str) -> str:
    try:
        made = orjson.loads(base64.b64decode(cursor.encode(), b"-_", validate=True))
    except ValueError:
        raise BadCursor(cursor) from None
    if not isinstance(made, list) or len(made) != 2 or made[0] != stamp or not isinstance(made[1], str):  # pyright: ignore[reportUnknownArgumentType] - any JSON
        raise BadCursor(cursor)
    return made[1]
