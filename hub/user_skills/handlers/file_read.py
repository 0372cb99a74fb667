"""Reads a file of the caller's own workspace."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

from hub.errors import BadRequest
from hub.user_skills.handler import Handler, Work, object_of, text_of
from hub.user_skills.model import Schemas


class FileRead(Handler):
    """The content as text, or in base64."""

    kind = "file_read"
    words = "reads a file of the key's workspace"
    schemas = Schemas(
        input=object_of(
            {
                "path": {"type": "string", "minLength": 1, "maxLength": 1000, "description": "Below the workspace."},
                "encoding": {"type": "string", "enum": ["utf8", "base64"]},
            },
            "path",
        ),
        output={"type": "object", "properties": {"path": {"type": "string"}, "content": {"type": "string"}, "bytes": {"type": "integer"}}},
    )

    async def run(self, work: Work) -> Any:
        path, coding = text_of(work, "path"), text_of(work, "encoding", "utf8")
        data = await asyncio.to_thread(work.kit.workspaces.read, work.ctx.caller.key_id, path)
        if coding == "base64":
            content = base64.b64encode(data).decode()
        else:
            try:
                content = data.decode()
            except UnicodeDecodeError:
                raise BadRequest("the file is no UTF-8 text; send encoding base64", field="input.encoding") from None
        return {"path": path, "content": content, "encoding": coding, "bytes": len(data)}


HANDLER = FileRead()
