"""What an agent may do: the answers to its permission requests, and the files it may read and write through the hub."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from hub.acp.events import Permission, short
from hub.acp.rpc import INVALID_PARAMS, METHOD_NOT_FOUND, Refusal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hub.chat import JsonObject

    Decide = Callable[[Permission], Awaitable[bool]]

Mode = Literal["refuse", "read", "all"]
_READS = frozenset({"read", "search", "think"})
_MOST = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Policy:
    """The owner's rule for one session. ``folder`` (absolute, without links) bounds what goes through the hub.

    ``decide`` asks a person, where there is one to ask, about what the rule does not allow.
    """

    mode: Mode
    folder: str
    decide: Decide | None = None

    @property
    def reads(self) -> bool:
        """Whether the agent may read files of its folder through the hub."""
        return self.mode != "refuse"

    @property
    def writes(self) -> bool:
        """Whether the agent may write files of its folder through the hub."""
        return self.mode == "all"

    async def judge(self, params: JsonObject) -> Permission:
        """What becomes of a ``session/request_permission``. The kind of a tool is what the agent says of it."""
        call: Any = params.get("toolCall")
        fields = cast("JsonObject", call) if isinstance(call, dict) else {}
        asked = Permission(short(fields.get("title")) or "a tool", short(fields.get("kind")) or "other")
        if self.mode == "all" or (self.mode == "read" and asked.kind in _READS):
            return replace(asked, allowed=True)
        if self.decide is not None:
            allowed = await self.decide(asked)
            return replace(asked, allowed=allowed, reason="" if allowed else "it was not approved")
        return replace(asked, reason=f"the owner's rule is {self.mode!r}; HUBROUTE_ACP_PERMISSIONS changes it")

    def read(self, params: JsonObject) -> JsonObject:
        """``fs/read_text_file``. Raises Refusal. Touches the disk: call it in a thread."""
        if not self.reads:
            raise Refusal(METHOD_NOT_FOUND, "files are not read through this client")
        path = self._inside(params.get("path"))
        try:
            if path.stat().st_size > _MOST:
                raise Refusal(INVALID_PARAMS, "the file is larger than 1 MiB")
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise Refusal(INVALID_PARAMS, f"the file cannot be read: {_words(error)}") from error
        first, most = params.get("line"), params.get("limit")
        if isinstance(first, int) or isinstance(most, int):
            lines = text.splitlines(keepends=True)[max(0, first - 1) if isinstance(first, int) else 0 :]
            text = "".join(lines[:most] if isinstance(most, int) else lines)
        return {"content": text}

    def write(self, params: JsonObject) -> None:
        """``fs/write_text_file``. Raises Refusal. Touches the disk: call it in a thread."""
        if not self.writes:
            raise Refusal(METHOD_NOT_FOUND, "files are not written through this client")
        content = params.get("content")
        if not isinstance(content, str) or len(content) > _MOST:
            raise Refusal(INVALID_PARAMS, "content must be a text of at most 1 MiB")
        path = self._inside(params.get("path"))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # The path was resolved: a link that appears now is not followed.
            number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644)
            with os.fdopen(number, "w", encoding="utf-8") as file:
                file.write(content)
        except OSError as error:
            raise Refusal(INVALID_PARAMS, f"the file cannot be written: {_words(error)}") from error

    def _inside(self, path: object) -> Path:
        """A path within the folder, links resolved. Raises Refusal for any other."""
        if not isinstance(path, str) or "\x00" in path or not os.path.isabs(path):
            raise Refusal(INVALID_PARAMS, "path must be absolute")
        real = os.path.realpath(path)
        if os.path.commonpath([real, self.folder]) != self.folder:
            raise Refusal(INVALID_PARAMS, "path is outside the work folder")
        return Path(real)


def outcome(params: JsonObject, permission: Permission) -> JsonObject:
    """The answer to a permission request in ACP's words: the option that allows or rejects once, never the one for always."""
    options: Any = params.get("options")
    listed = [cast("JsonObject", one) for one in cast("list[Any]", options) if isinstance(one, dict)] if isinstance(options, list) else []
    by_kind = {str(one.get("kind")): one.get("optionId") for one in reversed(listed)}
    chosen = by_kind.get("allow_once" if permission.allowed else "reject_once")
    meta = {"_meta": {"hubroute/reason": permission.reason}} if permission.reason else {}
    if chosen is None:
        return {"outcome": {"outcome": "cancelled"}, **meta}
    return {"outcome": {"outcome": "selected", "optionId": chosen}, **meta}


async def file_request(policy: Policy, method: str, params: JsonObject) -> Any:
    """The result of a file request of an agent. Raises Refusal."""
    if method == "fs/read_text_file":
        return await asyncio.to_thread(policy.read, params)
    if method == "fs/write_text_file":
        return await asyncio.to_thread(policy.write, params)
    raise Refusal(METHOD_NOT_FOUND, f"this client does not offer {method[:100]}")


def _words(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) and error.strerror else "it is not UTF-8 text").lower()
