"""Memory: what is remembered for keys, what a question would be told of it, how its parts do, and how it is set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from hub.records import Caller
from transports._dash.page import Done, Page, Shown

if TYPE_CHECKING:
    from transports._dash.forms import Form
    from transports._dash.page import Outcome
    from transports._dash.view import View

_NEW = ("key", "content", "type", "sessionId", "project", "expiresAt")
_SETTINGS = (
    "enabled", "injection", "extraction", "strategy", "scope", "maxTokens", "retentionDays", "sealed", "embeddingModel", "minSimilarity",
)  # fmt: skip
_PAGE = 50
_MOST_KEYS = 200


async def _owners(view: View) -> dict[str, str]:
    """The names of those who have memories, by their ids: the owner, and keys."""
    keys = (await view.ask("keys-list", limit=_MOST_KEYS)).keys
    return {Caller.owner().key_id: "the owner", **{one.id: one.name for one in keys}}


async def _load(view: View) -> dict[str, Any]:
    kinds = view.fields("memory-list", "type")[0].choices
    chosen = {"apiKeyId": view.query.get("apiKeyId", "")[:200], "type": view.choice("type", kinds, ""), "q": view.query.get("q", "")[:500]}
    filters = {name: value for name, value in chosen.items() if value}
    offset = view.number("offset", 0, most=100_000)
    settings = await view.ask("memory-settings-get")
    return {
        "settings": settings,
        "fields": view.fields("memory-settings-set", *_SETTINGS),
        "stored": settings.model_dump(mode="json", by_alias=True),
        "health": await view.ask("memory-health"),
        "owners": await _owners(view),
        "kinds": kinds,
        "chosen": chosen,
        "filtered": bool(filters),
        "found": await view.ask("memory-list", **filters, limit=_PAGE, offset=offset),
        "offset": offset,
        "limit": _PAGE,
        "new": view.fields("memory-add", *_NEW),
        "question": view.fields("memory-search", "query")[0],
        "export": f"/api/memory/export?{urlencode({'apiKeyId': chosen['apiKeyId']} if chosen['apiKeyId'] else {})}",
        "matches": None,
    }


async def _set(view: View, form: Form) -> Outcome:
    stored = (await view.ask("memory-settings-get")).model_dump(mode="json", by_alias=True)
    await view.sent("memory-settings-set", form, *_SETTINGS, stored=stored)
    return Done("Memory follows from now on.")


async def _switch(view: View, form: Form) -> Outcome:
    on = form.text("to") == "on"
    await view.ask("memory-settings-set", enabled=on)
    return Done(
        "Memory is on: chats are told what fits, and users are heard."
        if on
        else "Memory is off. What is remembered stays until it is past its time."
    )


async def _add(view: View, form: Form) -> Outcome:
    made = await view.sent("memory-add", form, *_NEW, apiKeyId=form.text("apiKeyId"))
    words = {
        "added": "It is remembered.",
        "changed": "It is changed; what was there before is kept with it.",
        "same": "It was there already.",
    }
    return Done(words[made.outcome], to=f"/dashboard/memory/{made.id}")


async def _try(view: View, form: Form) -> Outcome:
    view.keep(form)
    whose = form.text("apiKeyId")
    matches = await view.ask("memory-search", query=form.text("query"), apiKeyId=whose, maxTokens=min(8000, max(1, await _budget(view))))
    return Shown({"matches": matches, "whose": whose})


async def _budget(view: View) -> int:
    return (await view.ask("memory-settings-get")).max_tokens


async def _forget(view: View, form: Form) -> Outcome:
    done = await view.ask("memory-clear", apiKeyId=form.text("apiKeyId"))
    return Done(f"Forgotten: {done.deleted_count}.")


async def _delete(view: View, form: Form) -> Outcome:
    await view.ask("memory-delete", id=form.text("id") or view.params["id"])
    return Done("It is forgotten.", to="/dashboard/memory")


async def _reindex(view: View, form: Form) -> Outcome:
    done = await view.ask("memory-reindex")
    return Done(f"The full text is in step; {done.message}." if done.full_text else f"There is no full text now; {done.message}.")


async def _load_one(view: View) -> dict[str, Any]:
    memory = (await view.ask("memory-get", id=view.params["id"])).memory
    return {
        "memory": memory,
        "owners": await _owners(view),
        "fields": view.fields("memory-add", "content", "type", "sessionId", "project"),
        "stored": memory.model_dump(mode="json", by_alias=True),
    }


async def _change(view: View, form: Form) -> Outcome:
    memory = (await view.ask("memory-get", id=view.params["id"])).memory
    # Emptied, it belongs to no session and no project.
    places = {"sessionId": form.text("sessionId"), "project": form.text("project"), "key": memory.key, "apiKeyId": memory.api_key_id}
    changed = await view.sent("memory-add", form, "content", "type", stored=None, **places)
    return Done("It is changed; what was there before is kept with it." if changed.outcome == "changed" else "Saved.")


PAGES = (
    Page(
        "memory",
        "Memory",
        "memory.html",
        _load,
        actions={
            "set": _set,
            "switch": _switch,
            "add": _add,
            "try": _try,
            "forget": _forget,
            "delete": _delete,
            "reindex": _reindex,
        },
        group="Route",
        order=5,
        keys="n",
        words="memories remember recall preferences facts users injection extraction vectors",
    ),
    Page("memory/{id}", "Memory", "memory_one.html", _load_one, actions={"change": _change, "delete": _delete}),
)
