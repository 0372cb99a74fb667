"""What the owner sets about storing what is said in requests. Only the model; nothing heavy."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from hub.wire import Body

KeyName = Annotated[str, Field(min_length=1, max_length=200)]


class RequestContent(Body):
    """Whether what is said in chats is stored, of whom, how much of it and for how long. Keys with `noLog` are never stored."""

    enabled: bool = Field(default=False, description="Store what is said in chats: the request, what was sent for it, and the answer.")
    days: int = Field(default=7, ge=1, le=365, description="Days until it is deleted.")
    request_kb: int = Field(
        default=256, ge=1, le=4096, description="KiB that are kept of one request, what was asked and answered together; the rest is cut."
    )
    total_mb: int = Field(default=512, ge=1, le=100_000, description="MiB that all of it may take; the oldest goes first.")
    keys: tuple[KeyName, ...] = Field(
        default=(), max_length=1000, description="Ids or names of the keys whose requests are stored; none named: of every key."
    )
