"""The agents of this machine: which there are, which can be run, and sessions with them. One object a hub."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from hub.acp import command
from hub.acp.policy import Mode, Policy
from hub.acp.probe import Answer, ask_version
from hub.acp.rows import AgentList, AgentRow, CustomAgent
from hub.acp.session import Session
from hub.errors import BadRequest, Conflict, Forbidden, NotConfigured, NotFound, Unavailable
from hub.process import child, place

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from hub.acp.policy import Decide
    from hub.clock import Clock
    from hub.settings import Settings
    from hub.store.documents import Documents

#: How long what was found is believed.
CACHE_SECONDS = 60.0
_AT_ONCE = 8
_MOST_CUSTOM = 100


@dataclass(frozen=True, slots=True)
class Standing:
    """How it stands with an agent. ``reason`` says why it is not installed or has no version; ``start`` is what runs it over ACP,
    empty where ``start_reason`` says why not."""

    row: AgentRow
    installed: bool = False
    version: str | None = None
    path: str = ""
    reason: str = ""
    start: tuple[str, ...] = ()
    start_reason: str = ""


class LocalAgents:
    """Finds agents and drives them. Used on the event loop; everything that takes time is awaited or done in a thread."""

    def __init__(self, settings: Settings, custom: Documents[CustomAgent], clock: Clock) -> None:
        shipped = AgentList.load()
        self.builtin = {row.id: row for row in shipped.agents}
        self._settings = settings
        self._custom = custom
        self._clock = clock
        self._places = place.Places(shipped.folders)
        self._lock = asyncio.Lock()
        self._found: tuple[float, int, list[Standing]] | None = None
        self._sessions: set[Session] = set()
        self._ending: set[asyncio.Task[None]] = set()
        self._beginning = 0

    # ------------------------------------------------------------------ which there are

    def rows(self) -> list[AgentRow]:
        """The known agents, then the owner's own."""
        return [*self.builtin.values(), *(one.body.row(one.name) for one in self._custom.all())]

    async def look(self, *, refresh: bool = False) -> list[Standing]:
        """How it stands with every agent; looked at side by side, and believed for a minute."""
        async with self._lock:
            now = self._clock.monotonic()
            kept = self._found
            if kept is None or refresh or now - kept[0] >= CACHE_SECONDS or kept[1] != self._custom.version:
                version = self._custom.version
                places = asyncio.Semaphore(_AT_ONCE)
                found = await asyncio.gather(*(self._stand(row, places) for row in self.rows()))
                kept = self._found = (now, version, found)
            return kept[2]

    def row(self, agent_id: str) -> AgentRow:
        """One agent by its id. Raises NotFound."""
        custom = self._custom.find(agent_id)
        row = self.builtin.get(agent_id) or (custom.body.row(agent_id) if custom is not None else None)
        if row is None:
            raise NotFound(f"there is no agent {agent_id[:100]!r}; GET /api/acp/agents lists them", field="agent")
        return row

    async def first(self) -> str:
        """The id of the first agent that can be driven. Raises NotConfigured when there is none, or while driving is off."""
        self._enabled()
        for row in self.rows():
            _, start, _ = await asyncio.to_thread(self._locate, row)
            if start:
                return row.id
        words = "no agent that can be driven over ACP is installed on this machine; GET /api/acp/agents says what each of them lacks"
        raise NotConfigured(words, code="agent_not_runnable")

    async def add(
        self,
        agent_id: str,
        *,
        name: str,
        binary: str,
        version_command: str,
        alias: str,
        spawn_args: Sequence[str] = (),
        protocol: Literal["stdio", "http"] = "stdio",
    ) -> AgentRow:
        """Allow an agent of the owner's own: the very file that is there now, by path and SHA-256 (SEC-30).

        Raises Forbidden while the setting is off, BadRequest for an unsafe or missing program, Conflict for an id that is taken.
        """
        if not self._settings.acp_custom_agents:
            words = "agents of your own are programs that this hub would run; set HUBROUTE_ACP_CUSTOM_AGENTS=true to allow that"
            raise Forbidden(words, code="acp_custom_agents_off", data={"setting": "HUBROUTE_ACP_CUSTOM_AGENTS"})
        agent_id, binary = command.agent_id(agent_id), command.binary_name(binary)
        arguments = command.version_arguments(version_command, binary)
        if agent_id in self.builtin or self._custom.find(agent_id) is not None:
            words = f"there is an agent {agent_id!r} already"
            raise Conflict(words, field="id", wire={"error": words})
        if len(self._custom.all()) >= _MOST_CUSTOM:
            raise BadRequest(f"there are {_MOST_CUSTOM} agents already, the most there may be", field="id")
        path, digest = await asyncio.to_thread(self._allowed, binary)
        body = CustomAgent(
            title=name,
            binary=binary,
            version_command=version_command,
            version_args=arguments,
            alias=alias,
            spawn_args=command.start_arguments(spawn_args),
            protocol=protocol,
            path=path,
            digest=digest,
        )
        await self._custom.create(agent_id, body)
        return body.row(agent_id)

    async def remove(self, agent_id: str) -> None:
        """Take an agent of the owner's own away. Raises NotFound; built-in ones stay."""
        found = self._custom.find(agent_id)
        if found is None:
            words = "built-in agents cannot be removed" if agent_id in self.builtin else f"there is no agent {agent_id[:100]!r}"
            raise NotFound(words, wire={"error": words})
        await self._custom.delete(found.id)

    def _allowed(self, binary: str) -> tuple[str, str]:
        """Path and digest of a program that is to be allowed. Raises BadRequest."""
        found = self._places.find([binary])
        if not found.path or found.reason:
            raise BadRequest(f"binary: {found.reason}", field="binary", wire={"error": f"binary: {found.reason}"})
        command.refuse_interpreter(os.path.realpath(found.path))
        try:
            return found.path, place.digest(found.path)
        except OSError as error:
            raise BadRequest(f"binary: {found.path} cannot be read", field="binary") from error

    async def _stand(self, row: AgentRow, places: asyncio.Semaphore) -> Standing:
        async with places:
            found, start, start_reason = await asyncio.to_thread(self._locate, row)
            if found.reason:
                return Standing(row, path=found.path, reason=found.reason, start=start, start_reason=start_reason)
            answer = await self._version(row, found.path)
        return Standing(
            row, answer.version is not None or not answer.reason, answer.version, found.path, answer.reason, start, start_reason
        )

    async def _version(self, row: AgentRow, path: str) -> Answer:
        if not (self._settings.local_only or self._settings.acp_enabled):
            return Answer(reason="it was not asked for its version: this hub listens beyond this machine and HUBROUTE_ACP_ENABLED is off")
        env = child.environment(path, self._places.folders())
        return await ask_version(path, row.version_args, env=env, cwd=self._places.home)

    def _locate(self, row: AgentRow) -> tuple[place.Found, tuple[str, ...], str]:
        """The program of an agent, and how it is started over ACP or why it is not."""
        found = self._owned(row) if row.custom else self._places.find([row.binary])
        if row.acp is None:
            return found, (), row.note or "no way to start it over ACP is known"
        starter = found if row.custom else self._places.find(row.acp.binaries)
        if starter.reason:
            return found, (), f"{starter.reason}. {row.acp.note}".strip()
        return found, (starter.path, *row.acp.args), ""

    def _owned(self, row: AgentRow) -> place.Found:
        """An agent of the owner's own: only the file that was allowed, unchanged."""
        if not self._settings.acp_custom_agents:
            return place.Found(row.path, "HUBROUTE_ACP_CUSTOM_AGENTS is off")
        found = self._places.find([row.path])
        if found.reason:
            return found
        try:
            same = place.digest(row.path) == row.digest
        except OSError:
            same = False
        return found if same else place.Found(row.path, "the file was changed since it was allowed; remove the agent and add it again")

    # ------------------------------------------------------------------ driving them

    @asynccontextmanager
    async def session(
        self, agent_id: str, *, folder: str = "", model: str = "", mode: Mode | None = None, decide: Decide | None = None
    ) -> AsyncGenerator[Session]:
        """A session with an agent, which ends with the block: its process group is ended and reaped whatever happens.

        It works in ``folder``, which must lie in one of ``acp_folders``; without one in an empty folder that is removed afterwards.
        ``mode`` replaces the owner's rule for permissions by a stricter one.

        Raises NotConfigured while ``acp_enabled`` is off or when the agent cannot be started, Forbidden for another folder, NotFound,
        Unavailable when as many run as may, and what :meth:`Session.open` raises.
        """
        self._enabled()
        row = self.row(agent_id)
        start = await self._start(row)
        work = await asyncio.to_thread(self._folder, folder)
        if len(self._sessions) + self._beginning >= self._settings.acp_sessions:
            raise Unavailable(f"{self._settings.acp_sessions} agents are at work, as many as may; try again later", retry_after=10)
        self._beginning += 1
        scratch = ""
        try:
            scratch = "" if work else await asyncio.to_thread(tempfile.mkdtemp, prefix="hubroute-agent-")
            folder = work or await asyncio.to_thread(os.path.realpath, scratch)
            policy = Policy(mode or self._settings.acp_permissions, folder, decide)
            env = child.environment(start[0], self._places.folders(), row.env)
            process = await child.spawn(start, env=env, cwd=policy.folder, talk=True)
            session = Session(row, process, policy)
            self._sessions.add(session)
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True) if scratch else None
            raise
        finally:
            self._beginning -= 1
        try:
            await session.open(model)
            yield session
        finally:
            await self._ended(session, scratch)

    @property
    def seconds(self) -> float:
        """The longest that a turn may take."""
        return self._settings.acp_seconds

    @property
    def running(self) -> int:
        """How many agents are at work."""
        return len(self._sessions)

    async def close(self) -> None:
        """End every session."""
        for session in list(self._sessions):
            with contextlib.suppress(Exception):
                await session.close()
        if self._ending:
            await asyncio.wait(list(self._ending))

    def _enabled(self) -> None:
        if not self._settings.acp_enabled:
            words = "driving agents of this machine is off; set HUBROUTE_ACP_ENABLED=true to let keys with the scope `process` run them"
            raise NotConfigured(words, code="acp_disabled")

    async def _start(self, row: AgentRow) -> tuple[str, ...]:
        """How an agent is started, looked up anew: what was found a while ago may be another file by now."""
        _, start, reason = await asyncio.to_thread(self._locate, row)
        if not start:
            raise NotConfigured(f"{row.name} cannot be driven: {reason}", code="agent_not_runnable", data={"agent": row.id})
        return start

    def _folder(self, folder: str) -> str:
        """A work folder without links, if one is named. Raises Forbidden outside the list, BadRequest for none."""
        if not folder:
            return ""
        if not os.path.isabs(folder) or "\x00" in folder:
            raise BadRequest("write the work folder as an absolute path", field="folder")
        real = os.path.realpath(folder)
        allowed = [os.path.realpath(os.path.expanduser(one)) for one in self._settings.acp_folders.split(os.pathsep) if one.strip()]
        if not any(os.path.commonpath([real, one]) == one for one in allowed):
            words = "agents may not work in this folder; HUBROUTE_ACP_FOLDERS lists those in which they may"
            raise Forbidden(words, code="acp_folder_not_allowed", data={"setting": "HUBROUTE_ACP_FOLDERS"})
        if not os.path.isdir(real):
            raise BadRequest("the work folder does not exist", field="folder")
        return real

    async def _ended(self, session: Session, scratch: str) -> None:
        """End a session in a task of its own, so that a caller who is cancelled twice leaves no child."""

        async def work() -> None:
            try:
                await session.close()
            finally:
                self._sessions.discard(session)
                if scratch:
                    await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)

        task = asyncio.get_running_loop().create_task(work())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
        await asyncio.shield(task)
