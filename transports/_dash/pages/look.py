"""Light or dark: a choice of the browser's, kept in a cookie."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transports._dash.page import Done, Page

if TYPE_CHECKING:
    from transports._dash.forms import Form
    from transports._dash.page import Outcome
    from transports._dash.view import View


async def _load(view: View) -> dict[str, Any]:
    return {}


async def _theme(view: View, form: Form) -> Outcome:
    view.theme = form.text("theme")
    return Done("", to=form.text("back") or "/")


PAGES = (Page("look", "Colours", "look.html", _load, actions={"theme": _theme}),)
