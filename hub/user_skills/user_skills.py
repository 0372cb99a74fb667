"""Everything about installed skills that a hub is made of, in one place: the library, what runs them, marketplaces, and chats with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hub.errors import NotConfigured
from hub.outbound.client import Outbound
from hub.user_skills.aside import Aside
from hub.user_skills.handler import Kit, handlers
from hub.user_skills.handlers.skill import ORIGIN
from hub.user_skills.installed import Library
from hub.user_skills.loop import SkillLoop
from hub.user_skills.market import Markets
from hub.user_skills.model import tool_names
from hub.user_skills.offered import skill_of
from hub.user_skills.running import LOST_MS, Runner
from hub.user_skills.sandbox import Sandbox
from hub.user_skills.web import Web
from hub.user_skills.workspace import Workspaces

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.clock import Clock
    from hub.engine.chats import Chats
    from hub.events import Events
    from hub.preferences import Preferences
    from hub.records import Caller
    from hub.registry import Skills
    from hub.settings import Settings
    from hub.skill import Skill
    from hub.store.documents import Document
    from hub.store.store import Store
    from hub.user_skills.model import UserSkill

_DAY_MS = 86_400_000
_MIB = 1024 * 1024


class UserSkills:
    """One for a hub. Off unless ``skillsEnabled``: then nothing of it is in the registry, and chats do not know it."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        events: Events,
        settings: Settings,
        preferences: Callable[[], Preferences],
        *,
        registry: Skills,
        chats: Chats,
    ) -> None:
        self.table = handlers()
        # Its own way out, as no setting for connections may open private addresses to what models choose (SEC-10).
        self._outbound = Outbound()
        workspaces = Workspaces(
            settings.data_dir / "skills" / "workspaces",
            most_file=settings.skills_max_file_bytes,
            most_all=settings.skills_workspace_mb * _MIB,
        )
        self.kit = Kit(Web(self._outbound, allowed=settings.skills_allowed_hosts), workspaces, Sandbox(settings, clock), settings)
        self.library = Library(store, clock, events, self.table)
        self.runner = Runner(store, clock, events, self.kit, self.table)
        self.markets = Markets(store, self._outbound, settings)
        self.aside = Aside(clock)
        self._store = store
        self._clock = clock
        self._preferences = preferences
        self._registry = registry
        self._chats = chats
        self._loop = SkillLoop(chats.engine, self.library, self.aside, preferences, self.skill_of)
        self._seen: tuple[int, bool] | None = None
        #: Told which lists of the MCP door changed: tools, prompts, resources.
        self.listeners: list[Callable[[frozenset[str]], None]] = []

    @property
    def on(self) -> bool:
        """Whether installed skills are used at all."""
        return self._preferences().skills_enabled

    def require(self) -> None:
        """Raise NotConfigured while they are off."""
        if not self.on:
            raise NotConfigured("installed skills are off; set skillsEnabled in /api/settings, or on the page of installed skills")

    async def open(self) -> None:
        """What ran when a process died is over. On one that shares its database, only what is too old to run still."""
        await self._store.skill_runs.lost(self._clock.now_ms() - (LOST_MS if self._store.postgres else 0))

    async def close(self) -> None:
        """Close every connection."""
        await self._outbound.aclose()

    async def sweep(self) -> int:
        """Retention: runs past their time go, and those whose process is gone end; how many."""
        now = self._clock.now_ms()
        ended = await self._store.skill_runs.lost(now - LOST_MS)
        return ended + await self._store.skill_runs.delete_before(now - self._preferences().retention.execution_days * _DAY_MS)

    def refresh(self) -> None:
        """Skills or settings may have changed, here or in another process: renew the registry, and whether chats look at them."""
        state = (self.library.documents.version, self.on)
        if state == self._seen:
            return
        self._seen = state
        tools = self.library.tools(None) if self.on else {}
        self._registry.adopt(ORIGIN, [self.skill_of(name, one) for name, one in tools.items()])
        given = self.on and any(one.body.usable and one.body.mode != "off" for one in self.library.documents.all())
        self._chats.skills = self._loop if given else None
        for listener in self.listeners:
            listener(frozenset({"tools", "prompts", "resources"}))

    def skill_of(self, name: str, document: Document[UserSkill]) -> Skill:
        """An installed skill as one of the registry."""
        return skill_of(name, document, self.runner)

    def texts(self, caller: Caller) -> dict[str, Document[UserSkill]]:
        """The instructions that a caller may read now, by the names of their prompts."""
        if not self.on:
            return {}
        found = [one for one in self.library.usable(caller.key_id) if one.body.kind == "instruction"]
        names = tool_names(one.body.name for one in found)
        return {names[one.body.name]: one for one in found}

    def facts(self) -> dict[str, Any]:
        """What a person may want to know of the set-up: the kinds of handlers, in words."""
        return {kind: one.words for kind, one in self.table.items()}
