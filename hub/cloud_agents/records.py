"""The records of cloud agent tasks. Times in epoch milliseconds."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec
from pydantic import Field

from hub.secret import Secret
from hub.wire import Body


class Status(StrEnum):
    """The states of a task, in the seed's words."""

    QUEUED = "queued"
    RUNNING = "running"
    AWAITING_APPROVAL = "awaiting_approval"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


#: A task in one of these never changes its state again.
OVER = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED})


class Activity(msgspec.Struct, frozen=True, kw_only=True):
    """Something that an agent did. ``id`` is the agent's own where it gives one.

    ``type`` is plan, command, code_change, message, error or completion.
    """

    id: str
    type: str
    content: str
    at: int
    metadata: dict[str, Any] = {}


class CloudTask(msgspec.Struct, kw_only=True):
    """A task as it is stored. ``next_poll_at`` None: nobody looks after it any more; ``wait_ms`` is the pause between two looks,
    ``failures`` how many of the last looks failed."""

    id: str
    provider_id: str
    status: Status
    prompt: str
    source: dict[str, Any]
    options: dict[str, Any]
    created_at: int
    updated_at: int
    external_id: str = ""
    credential_id: str = ""
    idempotency: str | None = None
    result: dict[str, Any] | None = None
    error: str = ""
    next_poll_at: int | None = None
    wait_ms: int = 0
    failures: int = 0
    completed_at: int | None = None

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.status in OVER


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent says of a task now. None and empty leave what is known as it is."""

    status: Status
    external_id: str = ""
    activities: tuple[Activity, ...] = ()
    result: dict[str, Any] | None = None
    error: str = ""


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """How an agent is reached: the credential and its own address, where one is set."""

    secret: Secret
    base_url: str = ""
    private: bool = False


class StoredCredential(Body):
    """A credential as it is stored; ``sealed`` is encrypted with the hub's key."""

    provider_id: str = Field(description="Whose it is.")
    label: str = Field(description="The owner's name for it.")
    sealed: str = Field(default="", description="The secret, sealed.")
    base_url: str = Field(default="", description="Address of the agent, where it is not the vendor's usual one.")
    allow_private: bool = Field(default=False, description="Whether the address may be private.")
    active: bool = Field(default=True, description="Whether tasks use it.")
