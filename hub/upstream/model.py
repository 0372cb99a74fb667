"""What is stored of an upstream MCP server: how to reach it, and what became of all that it offered."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Any, Literal

from pydantic import Field, field_validator

from hub.upstream.login.model import OAuth
from hub.wire import Body

_NAMESPACE = re.compile(r"^[a-z0-9](?:[a-z0-9-]{0,22}[a-z0-9])?$")

#: Who answers a server that asks for a model's answer: nobody, the client, or where it cannot, the hub's own models.
Sampling = Literal["off", "client", "hub"]


class Standing(StrEnum):
    """Where a tool, resource, template or prompt stands (SEC-60, SEC-61). Only APPROVED ones are offered to anybody."""

    PENDING = "pending"  # seen, and nobody has allowed it yet
    APPROVED = "approved"  # the server still states what was allowed
    CHANGED = "changed"  # the server states something else now: hidden until it is allowed again
    GONE = "gone"  # allowed once, and not in the server's list any more
    REFUSED = "refused"  # its schema is out of bounds; ``reason`` says how


class Pin(Body):
    """One tool, resource, template or prompt of an upstream server.

    ``seen`` is the whole object as the server stated it last, ``approved`` as it was when it was allowed; ``findings`` are
    what the scan of its words found.
    """

    standing: Standing = Field(default=Standing.PENDING, description="Where it stands.")
    seen: dict[str, Any] = Field(default_factory=dict[str, Any], description="It as the server states it now.")
    approved: dict[str, Any] | None = Field(default=None, description="It as it was allowed.")
    digest: str = Field(default="", description="SHA-256 of the allowed object in canonical JSON.")
    findings: tuple[str, ...] = Field(default=(), description="What the scan of its words found.")
    reason: str = Field(default="", description="Why it is refused.")


class Server(Body):
    """An upstream MCP server; its name is the namespace of its tools.

    ``headers`` and ``env`` hold sealed values. ``digest`` is that of the program's file when it was added.
    """

    transport: Literal["stdio", "http", "sse"] = Field(default="http", description="How it is reached.")
    url: str = Field(default="", max_length=2000, description="Address of an HTTP server.")
    command: str = Field(default="", max_length=1000, description="Absolute path of a program that speaks MCP on stdio.")
    args: tuple[str, ...] = Field(default=(), max_length=64, description="Its arguments.")
    digest: str = Field(default="", description="SHA-256 of the program's file when it was added.")
    headers: dict[str, str] = Field(default_factory=dict[str, str], description="Sealed request headers.")
    env: dict[str, str] = Field(default_factory=dict[str, str], description="Sealed environment variables.")
    oauth: OAuth | None = Field(default=None, description="How callers log in to it; null where it takes fixed headers or nothing.")
    enabled: bool = Field(default=True, description="False hides its tools and ends its sessions.")
    allow_private: bool = Field(default=False, description="Whether it may be on a private or loopback address.")
    timeout_seconds: float = Field(default=60.0, gt=0, le=3600, description="How long one call may take.")
    cost_per_call: float | None = Field(default=None, ge=0, le=1000, description="US dollars that one call costs.")
    sampling: Sampling = Field(
        default="off", description="Who answers when it asks for a model: the client that called, else the hub's models, or nobody."
    )
    tools: dict[str, Pin] = Field(default_factory=dict[str, Pin], description="What became of each tool.")
    resources: dict[str, Pin] = Field(default_factory=dict[str, Pin], description="What became of each resource, by its own URI.")
    templates: dict[str, Pin] = Field(default_factory=dict[str, Pin], description="What became of each template, by its own URI template.")
    prompts: dict[str, Pin] = Field(default_factory=dict[str, Pin], description="What became of each prompt.")
    synced_at: int | None = Field(default=None, description="When its lists were last found changed, in epoch milliseconds.")
    title: str = Field(default="", description="What the server calls itself.")
    protocol: str = Field(default="", description="The protocol revision agreed on.")

    @field_validator("url")
    @classmethod
    def _http_only(cls, value: str) -> str:
        if value and not value.startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://")
        return value


def namespace_fault(name: str) -> str:
    """Why a name cannot be a namespace; empty when it can."""
    if not _NAMESPACE.match(name):
        return "must be 1 to 24 lower-case letters, digits and inner hyphens"
    return ""
