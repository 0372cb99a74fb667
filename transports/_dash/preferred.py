"""Preferences on pages: their fields, what they are now, and changing those that differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hub.preferences import Preferences
from transports._dash import forms

if TYPE_CHECKING:
    from collections.abc import Iterable

    from transports._dash.forms import Field, Form
    from transports._dash.view import View


def fields(group: str = "") -> list[Field]:
    """The fields of every preference by their dotted names, or of one object of them."""
    every = forms.of_model(Preferences.model_json_schema(by_alias=True))
    return [one for one in every if one.name.startswith(f"{group}.")] if group else every


async def stored(view: View, shown: Iterable[Field]) -> dict[str, Any]:
    """What these are now, by their dotted names. Raises HubError."""
    current = (await view.ask("settings-get")).preferences.model_dump(mode="json", by_alias=True)
    return forms.flat(current, [one.name for one in shown])


async def save(view: View, form: Form, shown: list[Field]) -> str:
    """Change those of these that were typed anew; says which these are. Raises HubError."""
    changed = forms.taken(shown, form, stored=await stored(view, shown))
    if not changed:
        return "Nothing was changed."
    await view.ask("settings-update", patch=forms.nested(changed))
    return f"Saved: {', '.join(forms.label(name) for name in changed)}."
