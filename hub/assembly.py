"""Parts of a hub that are made of many others, for :mod:`hub.parts`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from hub.batches.placing import Placing
from hub.batches.vendors import Vendors
from hub.compression.compressor import Compressor
from hub.content.contents import Contents
from hub.context import Context
from hub.elsewhere import Elsewhere
from hub.embeddings import Embeddings
from hub.engine.chats import Chats
from hub.engine.thinking import PASSTHROUGH
from hub.errors import HubError
from hub.memory.memories import Memories
from hub.planning.senses import sees
from hub.records import Caller
from hub.routing.combo import Combo, Mapping
from hub.sync.items import Items
from hub.sync.serving import Serving
from hub.sync.syncing import Syncing
from hub.user_skills.user_skills import UserSkills

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import BaseModel

    from hub.call import Hub
    from hub.engine.ask import ChatAsk
    from hub.engine.engine import ChatEngine
    from hub.parts import Parts
    from hub.store.documents import Documents


def compressor(parts: Parts) -> Compressor:
    """What makes prompts shorter."""
    return Compressor(
        settings=lambda: parts.preferences.current.compression,
        combos=parts.compression_combos,
        combo_id=lambda name: found.id if (found := parts.combos.find(name)) is not None else "",
        store=parts.store,
        clock=parts.clock,
        prices=parts.prices,
        texts=texts(parts),
        sees=lambda plan: sees(plan, parts.targets),
        folder=parts.settings.data_dir,
    )


def chats(parts: Parts, engine: ChatEngine) -> Chats:
    """Chats as every door reaches them."""
    return Chats(
        engine=engine,
        policies=parts.policies,
        sameness=parts.sameness,
        sessions=parts.sessions,
        contents=parts.contents,
        memory=parts.memory,
        preferences=lambda: parts.preferences.current,
    )


def contents(parts: Parts) -> Contents:
    """What records what is said in requests; it is swept with all that is past its time."""
    made = Contents(parts.store, parts.clock, lambda: parts.preferences.current.request_content)
    parts.retention.also.append(made.sweep)
    return made


def elsewhere(parts: Parts) -> Elsewhere:
    """What other processes on the database tell of their calls."""
    store = parts.store
    return Elsewhere(store.notices, parts.clock, process=store.replays.process, on_call=parts.on_call, inflight=parts.inflight)


def texts(parts: Parts) -> frozenset[str]:
    """The dialects whose requests are no conversations but a text that goes on, into which nothing can be put."""
    return frozenset(adapter.dialect for adapter in parts.adapters.values() if not adapter.translates)


def vendors(parts: Parts) -> Vendors:
    """What gives batches to vendors; only those whose requests the hub would pass on as they are."""

    def plain() -> bool:
        preferred = parts.preferences.current
        changed = preferred.system_prompt.enabled or preferred.compression.enabled or preferred.thinking_budget.mode != PASSTHROUGH
        settled = parts.chat.skills is None and not preferred.memory.enabled
        return settled and not parts.policies.active and not changed

    placing = Placing(
        planner=parts.planner,
        targets=parts.targets,
        prices=parts.prices,
        rows=parts.store.batches,
        files=parts.files,
        spool=parts.spool,
        plain=plain,
    )
    return Vendors(
        parts.store,
        parts.clock,
        placing=placing,
        targets=parts.targets,
        budgets=parts.budgets,
        outbound=parts.outbound,
        quotas=parts.quotas,
    )


def memories(parts: Parts) -> Memories:
    """What is remembered for keys. Its sweep is retention's."""

    def context() -> Context:
        return Context(cast("Hub", parts), Caller.owner(), parts.clock.new_id("req_"), "system")

    made = Memories(
        parts.store,
        parts.clock,
        parts.events,
        settings=lambda: parts.preferences.current.memory,
        embeddings=Embeddings(parts.media),
        context=context,
        texts=texts(parts),
    )
    parts.retention.also.append(made.sweep)
    return made


def syncing(parts: Parts) -> tuple[Serving, Syncing]:
    """Hubs that keep the same set-up: what others read here, and what this one reads there."""
    documents: dict[str, Documents[Any]] = {"combo": parts.combos, "mapping": parts.mappings}
    bodies: dict[str, type[BaseModel]] = {"combo": Combo, "mapping": Mapping}
    items = Items(parts.store, parts.preferences, documents, bodies, parts.targets.check)
    serving = Serving(parts.store, items, parts.sync_tokens)
    return serving, Syncing(parts.store, items, serving, parts.outbound, parts.clock, parts.events, parts.settings)


def user_skills(parts: Parts) -> UserSkills:
    """The skills that the owner installed; they hear of the end of the hub."""
    made = UserSkills(
        parts.store, parts.clock, parts.events, parts.settings, lambda: parts.preferences.current, registry=parts.skills, chats=parts.chat
    )
    parts.on_close.append(made.close)
    parts.retention.also.append(made.sweep)
    return made


def mapped(parts: Parts) -> Iterable[tuple[str, str]]:
    """The mappings in force as (pattern, name of the combo), in the order in which they are looked at."""
    for one in sorted(parts.mappings.all(), key=lambda one: (-one.body.priority, one.created_at, one.id)):
        combo = parts.combos.peek(one.body.combo_id)
        if one.body.enabled and combo is not None:
            yield one.body.pattern, combo.name


def route(parts: Parts, ask: ChatAsk) -> str:
    """Where a model's name leads now; an answer from elsewhere is not given again."""
    try:
        found = parts.planner.resolve(ask.model)
    except HubError:
        return ""
    ask.notice = found.notice
    # Combos are all told apart from their earlier selves by any change to one of them, since they may be nested.
    written = "" if found.provider else f"{parts.combos.version}.{parts.mappings.version}"
    row = parts.catalog.find(found.provider)
    if row is not None and (row.template or row.compat):
        written += f"@{parts.catalog.version}"  # where the owner's own provider is, and how it is asked
    thinking = parts.preferences.current.thinking_budget
    written += "" if thinking.mode == PASSTHROUGH else f"/{thinking.model_dump_json()}"
    written += parts.compressor.mark(ask.hints.compression)
    # What was made of one caller's memories is given to nobody who was not told the very same.
    written += ask.memory.mark if ask.memory is not None else ""
    return f"{found.provider}/{found.model}/{found.connection}/{written}"
