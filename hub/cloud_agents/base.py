"""The interface of an agent elsewhere: begin a task, look at it, and what else it can do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from hub.cloud_agents.records import Access, CloudTask, Snapshot


@runtime_checkable
class CloudAgent(Protocol):
    """One kind of agent. Each method raises HubError; a network fault may be tried again, all others are for the caller.

    ``can`` holds those of message, approve, cancel that it does; the others are never called. ``verified`` says how far its facts were
    checked: tested, documented, unverified. ``keyed`` agents need a credential. ``here`` says that its tasks run inside this process.
    """

    id: str
    name: str
    verified: str
    note: str
    can: frozenset[str]
    keyed: bool
    here: bool

    def check(self, task: CloudTask) -> None:
        """Raise BadRequest naming the field when a new task lacks something for this agent."""
        ...

    async def create(self, task: CloudTask, access: Access) -> Snapshot:
        """Begin a task."""
        ...

    async def read(self, task: CloudTask, access: Access) -> Snapshot:
        """How it stands with a task."""
        ...

    async def message(self, task: CloudTask, text: str, access: Access) -> None:
        """Tell the agent something."""
        ...

    async def approve(self, task: CloudTask, access: Access) -> None:
        """Approve what it waits for."""
        ...

    async def cancel(self, task: CloudTask, access: Access) -> None:
        """Stop the task where it runs."""
        ...

    def holds(self, task: CloudTask) -> bool:
        """Whether a task that runs inside a process runs in this one."""
        ...

    async def close(self) -> None:
        """The hub stops."""
        ...
