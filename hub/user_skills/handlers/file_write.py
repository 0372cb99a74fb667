"""Writes a file of the caller's own workspace."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from hub.user_skills.handler import Handler, Work, object_of, text_of
from hub.user_skills.model import Schemas


class FileWrite(Handler):
    """A new file, or with ``append`` or ``overwrite`` one that is there."""

    kind = "file_write"
    words = "writes a file of the key's workspace"
    schemas = Schemas(
        input=object_of(
            {
                "path": {"type": "string", "minLength": 1, "maxLength": 1000, "description": "Below the workspace."},
                "content": {"type": "string", "description": "The text."},
                "append": {"type": "boolean", "description": "Put it at the end of the file that is there."},
                "overwrite": {"type": "boolean", "description": "Take the place of the file that is there."},
            },
            "path",
            "content",
        ),
        output={"type": "object", "properties": {"path": {"type": "string"}, "bytes": {"type": "integer"}}},
    )

    async def run(self, work: Work) -> Any:
        path, data = text_of(work, "path"), text_of(work, "content").encode("utf-8", "replace")
        append, overwrite = work.input.get("append") is True, work.input.get("overwrite") is True
        write = partial(work.kit.workspaces.write, work.ctx.caller.key_id, path, data, append=append, overwrite=overwrite)
        return {"path": path, "bytes": await asyncio.to_thread(write)}


HANDLER = FileWrite()
