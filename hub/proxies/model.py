"""What is stored of a proxy, and of who uses it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hub.wire import Body

Kind = Literal["http", "https", "socks5"]
#: ``account`` is a connection; ``key`` is another word for it at the doors.
Scope = Literal["global", "provider", "account", "combo"]


class Entry(Body):
    """A proxy. ``password`` is sealed for this document; ``level`` is set for one that was written straight onto a level."""

    title: str = Field(description="Its name for people.")
    kind: Kind = Field(default="http", description="How it is spoken to.")
    host: str = Field(description="Host name or address.")
    port: int = Field(description="Its port.")
    username: str = Field(default="", description="Who it knows us as.")
    password: str = Field(default="", description="Sealed.")
    region: str | None = Field(default=None, description="Where it is, for people.")
    notes: str | None = Field(default=None, description="For people.")
    active: bool = Field(default=True, description="False: calls that would go through it fail.")
    allow_private: bool = Field(default=False, description="Whether it may be at a private address.")
    level: bool = Field(default=False, description="Whether it belongs to the level that it was written onto, and goes with it.")


class Use(Body):
    """One assignment. The document's name is ``scope:scope_id``, so that a level has one proxy."""

    number: int = Field(description="Number of the assignment.")
    scope: Scope = Field(description="Kind of what uses the proxy.")
    scope_id: str = Field(default="", description="What uses it; empty for all.")
    proxy_id: str = Field(description="The proxy.")
