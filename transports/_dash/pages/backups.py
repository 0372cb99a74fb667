"""Backups: made by hand and by the clock, kept elsewhere, brought in, and put back; with plain words on what a restore does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hub.errors import NotFound
from transports._dash import preferred
from transports._dash.page import Done, Page, Shown

if TYPE_CHECKING:
    from transports._dash.forms import Form
    from transports._dash.page import Outcome
    from transports._dash.view import View

_SCHEDULE = "backupSchedule"
#: The setting that bounds what a file may hold.
_LIMIT = "max_backup_mb"
#: Why a backup was made, in words.
_REASONS = {
    "manual": "by hand",
    "schedule": "by the clock",
    "before-restore": "before a restore",
    "before-import": "before an import",
    "before-migration": "before an upgrade",
    "imported": "brought here",
}


async def _load(view: View) -> dict[str, Any]:
    terms = preferred.fields(_SCHEDULE)
    return {
        "backups": (await view.ask("backup-list")).backups,
        "reasons": _REASONS,
        "terms": terms,
        "stored": await preferred.stored(view, terms),
        "prefix": f"{_SCHEDULE}.",
        "most": getattr(view.hub.settings, _LIMIT),
        "done": None,
    }


async def _load_one(view: View) -> dict[str, Any]:
    wanted = view.params["id"]
    found = next((one for one in (await view.ask("backup-list")).backups if one.id == wanted), None)
    if found is None:
        raise NotFound("there is no such backup (any more)")
    return {"one": found, "reasons": _REASONS}


async def _create(view: View, form: Form) -> Outcome:
    made = await view.ask("backup-create")
    return Done(f"The backup {made.filename} is made.")


async def _schedule(view: View, form: Form) -> Outcome:
    return Done(await preferred.save(view, form, preferred.fields(_SCHEDULE)))


async def _restore(view: View, form: Form) -> Outcome:
    return Shown({"done": await view.ask("backup-restore", backupId=form.text("id"))})


async def _import(view: View, form: Form) -> Outcome:
    return Shown({"done": await view.ask("backup-import", file=form.file("file"))})


async def _delete(view: View, form: Form) -> Outcome:
    await view.ask("backup-delete", id=view.params["id"])
    return Done("The backup is deleted.", to="/dashboard/backups")


PAGES = (
    Page(
        "backups",
        "Backups",
        "backups.html",
        _load,
        actions={"create": _create, "schedule": _schedule, "restore": _restore, "import": _import},
        group="System",
        order=5,
        keys="b",
        words="restore import export download archive schedule database",
        upload=_LIMIT,
    ),
    Page("backups/{id}", "Backup", "backup.html", _load_one, actions={"delete": _delete}),
)
