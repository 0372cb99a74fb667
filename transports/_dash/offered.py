"""What can be asked for as a model, for fields that offer it while one types."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transports._dash.view import View

_MOST = 500


async def models(view: View) -> list[str]:
    """Chat models of connected providers as ``provider/model``. Raises HubError."""
    return [one.id for one in (await view.ask("models-list")).models if "chat" in one.capabilities][:_MOST]


async def combos(view: View) -> list[str]:
    """Names of the combos that are on. Raises HubError."""
    return [one.name for one in (await view.ask("combos-list")).combos if one.is_active]
