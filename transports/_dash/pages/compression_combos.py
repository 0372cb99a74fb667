"""Pipelines of compression: engines one after the other under a name, and the routing combos that use each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transports._dash.page import Done, Page
from transports._dash.pages.compression import TABS

if TYPE_CHECKING:
    from transports._dash.forms import Form
    from transports._dash.page import Outcome
    from transports._dash.view import View

_FIELDS = ("name", "description", "pipeline", "languagePacks", "outputMode", "outputModeIntensity", "isDefault")


async def _load(view: View) -> dict[str, Any]:
    combos = (await view.ask("compression-combos-list")).combos
    saved = (await view.ask("compression-analytics", since="30d")).by_compression_combo
    return {"tabs": TABS, "combos": combos, "saved": saved, "fields": view.fields("compression-combos-create", *_FIELDS)}


async def _create(view: View, form: Form) -> Outcome:
    made = await view.sent("compression-combos-create", form, *_FIELDS)
    return Done(f"{made.name} can be used from now on.", to=f"/dashboard/compression/combos/{made.id}")


async def _load_one(view: View) -> dict[str, Any]:
    combo = await view.ask("compression-combos-get", id=view.params["id"])
    given = (await view.ask("compression-assignments-get", id=combo.id)).assignments
    return {
        "combo": combo,
        "fields": view.fields("compression-combos-update", *_FIELDS),
        "stored": combo.model_dump(mode="json", by_alias=True),
        "routing": (await view.ask("combos-list")).combos,
        "assigned": {one.routing_combo_id for one in given},
        "stats": await view.ask("compression-combo-stats", comboId=combo.id, since="30d"),
    }


async def _change(view: View, form: Form) -> Outcome:
    combo = await view.ask("compression-combos-get", id=view.params["id"])
    changed = await view.sent("compression-combos-update", form, *_FIELDS, stored=combo.model_dump(mode="json", by_alias=True), id=combo.id)
    return Done(f"{changed.name} is changed, for requests from now on.")


async def _assign(view: View, form: Form) -> Outcome:
    given = await view.ask("compression-assignments-set", id=view.params["id"], routingComboIds=form.chosen("combo."))
    return Done(f"{len(given.assignments)} combos use it. One that used another moved over.")


async def _delete(view: View, form: Form) -> Outcome:
    await view.ask("compression-combos-delete", id=view.params["id"])
    return Done("The pipeline is gone; combos that used it go by the settings.", to="/dashboard/compression/combos")


PAGES = (
    Page(
        "compression/combos",
        "Compression pipelines",
        "compression_combos.html",
        _load,
        actions={"create": _create},
        words="compression combos assignments stacked",
    ),
    Page(
        "compression/combos/{id}",
        "Pipeline",
        "compression_combo.html",
        _load_one,
        actions={"change": _change, "assign": _assign, "delete": _delete},
    ),
)
