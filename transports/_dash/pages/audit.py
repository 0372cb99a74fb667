"""The audit log: who did what, filtered; files of it; whether it is what it was; and where its anchors have got to."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from hub.errors import HubError
from transports._dash.page import Done, Page, Shown

if TYPE_CHECKING:
    from transports._dash.forms import Form
    from transports._dash.page import Outcome
    from transports._dash.view import View

_FILTERS = ("action", "actor", "resourceType", "target", "requestId", "status", "from", "to", "changes")
#: What people look for is what was changed; every look at a page is a row as well.
_USUAL = {"changes": "true"}
_PAGE = 100
#: A log of so many rows is walked whenever its page is opened; a longer one when asked to.
_QUICK = 2000
#: Rows that can be passed over; the filters reach further.
_DEEPEST = 10_000


async def _load(view: View) -> dict[str, Any]:
    chosen = {name: view.query[name].strip() for name in _FILTERS if view.query.get(name, "").strip()}
    chosen = chosen or dict(_USUAL)
    offset = view.number("offset", 0, most=_DEEPEST)
    found, refused = await _found(view, chosen, offset)
    return {
        "found": found,
        "kept": {one.id: json.dumps(one.details, indent=2, ensure_ascii=False) for one in (found.entries if found is not None else ())},
        "failed": refused,
        "chosen": chosen,
        "usual": chosen == _USUAL,
        "offset": offset,
        "limit": _PAGE,
        "reach": min(found.total, _DEEPEST + _PAGE) if found is not None else 0,
        "fields": {one.name: one for one in view.fields("audit-log", *_FILTERS)},
        "exports": {kind: f"/api/compliance/audit-log/export?{urlencode({**chosen, 'format': kind})}" for kind in ("jsonl", "csv")},
        "verdict": await _walked(view, chosen),
        "quick": _QUICK,
    }


async def _walked(view: View, chosen: dict[str, str]) -> Any:
    """What a walk of a short log finds; None where the log is long, or only a part of it is looked for."""
    if chosen != _USUAL or (await view.ask("audit-log", limit=1)).total > _QUICK:
        return None
    return await view.ask("audit-log-verify")


async def _found(view: View, chosen: dict[str, str], offset: int) -> tuple[Any, str]:
    """The rows that fit, or why the filters cannot be used."""
    try:
        return await view.ask("audit-log", limit=_PAGE, offset=offset, **chosen), ""
    except HubError as error:
        if error.status != 400:
            raise
        return None, error.message


async def _verify(view: View, form: Form) -> Outcome:
    return Shown({"verdict": await view.ask("audit-log-verify")})


async def _anchor(view: View, form: Form) -> Outcome:
    anchor = (await view.ask("audit-log-anchor")).anchor
    if anchor is None:
        return Done("There is no anchor: the log is empty, or does not fit the anchors that it has.", failed=True)
    return Done(f"The log is anchored up to row {anchor.seq}.")


async def _reanchor(view: View, form: Form) -> Outcome:
    await view.ask("audit-log-reanchor")
    return Done("The old anchors are put aside, and the log is anchored anew.")


PAGES = (
    Page(
        "audit",
        "Audit log",
        "audit.html",
        _load,
        actions={"verify": _verify, "anchor": _anchor, "reanchor": _reanchor},
        group="System",
        order=4,
        words="compliance history who did what export verify anchors chain",
    ),
)
