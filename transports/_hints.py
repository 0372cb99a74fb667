"""What clients wish for in headers, read in the same pass as the rest of the head and made into hints for the hub."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from hub.engine.ask import Hints
from hub.errors import BadRequest
from hub.routing.scoring import MODES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from transports._head import Head

#: Headers that are kept as they came, under these names.
_KEPT = {
    b"idempotency-key": "idempotency_key",
    b"x-request-id": "repeat_key",
    b"x-omniroute-no-cache": "no_cache",
    b"x-omniroute-mode": "mode",
    b"x-omniroute-budget": "budget",
    b"x-omniroute-budget-fallback": "budget_fallback",
    b"x-omniroute-effort": "effort",
    b"x-omniroute-progress": "progress",
    b"x-omniroute-connection": "connection",
    b"x-omniroute-compression": "compression",
}
#: Names under which clients send the id of their conversation; ``x-session-id`` comes before them all.
_SESSIONS = (b"x_session_id", b"x-omniroute-session", b"session-id", b"x-claude-code-session-id", b"x-session-affinity")
_TRUE = frozenset({"true", "1", "yes", "on"})


def _keep(name: str) -> Callable[[Head, bytes], None]:
    def kept(head: Head, value: bytes) -> None:
        if head.wishes is None:
            head.wishes = {}
        head.wishes[name] = value.decode("latin-1").strip()

    return kept


def _set_session(head: Head, value: bytes) -> None:
    head.session = value.decode("latin-1").strip()[:64] or head.session


def _set_other_session(head: Head, value: bytes) -> None:
    head.session = head.session or value.decode("latin-1").strip()[:64]


SETTERS: dict[bytes, Callable[[Head, bytes], None]] = {
    **{header: _keep(name) for header, name in _KEPT.items()},
    **dict.fromkeys(_SESSIONS, _set_other_session),
    b"x-session-id": _set_session,
}


def read(head: Head, endpoint: str) -> Hints:
    """The hints of a request to an address. Raises BadRequest naming a header whose value is none."""
    wishes = head.wishes or {}
    return Hints(
        endpoint=endpoint,
        idempotency_key=wishes.get("idempotency_key", ""),
        repeat_key=wishes.get("repeat_key", ""),
        no_cache=wishes.get("no_cache", "").lower() in _TRUE,
        session=head.session,
        mode=_word(wishes, "mode", "X-OmniRoute-Mode", MODES),
        budget=_money(wishes.get("budget", "")),
        budget_fallback=_word(wishes, "budget_fallback", "X-OmniRoute-Budget-Fallback", ("cheapest", "strict")),
        effort=wishes.get("effort", "").lower(),
        progress=wishes.get("progress", "").lower() in _TRUE,
        compression=wishes.get("compression", "")[:200],
    )


def _word(wishes: dict[str, str], name: str, header: str, known: Iterable[str]) -> str:
    word = wishes.get(name, "").lower()
    if word and word not in known:
        raise BadRequest(f"{header}: is one of {', '.join(known)}", field=header)
    return word


def _money(text: str) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0:
        raise BadRequest("X-OmniRoute-Budget: must be a number of US dollars, such as 0.05", field="X-OmniRoute-Budget")
    return value
