"""Files that the hub keeps, in requests that name them by id: put in place of the id, so that every provider can read them.

Source: OpenAI API reference, the ``file`` part of chats, ``input_file`` and ``input_image`` of responses.
"""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Any, cast

import orjson

from hub.errors import BadRequest, NotFound, TooLarge

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hub.store.files import FileRow
    from transports._http import Exchange

_NAMED = b'"file_id"'
#: How our ids look; others are a provider's own and pass.
_OURS = re.compile(r"file-[0-9a-f]{32}")
_MIB = 1024 * 1024


async def inlined(exchange: Exchange, body: bytes) -> bytes:
    """The body with the caller's files in it; as it came where it names none.

    Raises Forbidden, BadRequest for an id of ours that is none of the caller's, TooLarge when the files hold more than a body may.
    """
    if _NAMED not in body:
        return body
    try:
        tree = orjson.loads(body)
    except orjson.JSONDecodeError:
        return body  # the door says so in its own words
    named = list(_parts(tree))
    if not named:
        return body
    hub = exchange.hub
    hub.allow(hub.find("file-content"), exchange.ctx)
    left = hub.settings.max_body_mb * _MIB
    for part in named:
        row = await _row(exchange, part["file_id"])
        left -= row.bytes
        if left < 0:
            raise TooLarge(f"the files of a request may hold {hub.settings.max_body_mb} MiB together; HUBROUTE_MAX_BODY_MB raises it")
        _put(part, row, b"".join([piece async for piece in hub.files.pieces(row)]))
    return orjson.dumps(tree)


async def _row(exchange: Exchange, file_id: str) -> FileRow:
    try:
        return await exchange.hub.files.get(file_id, exchange.caller)
    except NotFound as error:
        raise BadRequest(f"file_id: {error.message}", field="file_id", code="file_not_found") from None


def _parts(tree: Any) -> Iterator[dict[str, Any]]:
    """Every object that names a file of ours. The depth of the tree is what the JSON reader allows."""
    waiting: list[Any] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            found = cast("dict[str, Any]", node)
            file_id = found.get("file_id")
            if isinstance(file_id, str) and _OURS.fullmatch(file_id):
                yield found
            waiting += found.values()
        elif isinstance(node, list):
            waiting += cast("list[Any]", node)


def _put(part: dict[str, Any], row: FileRow, content: bytes) -> None:
    """Say the file instead of its id."""
    del part["file_id"]
    url = f"data:{row.content_type};base64,{base64.b64encode(content).decode()}"
    if part.get("type") == "input_image":
        part["image_url"] = url
    else:
        part.setdefault("filename", row.filename)
        part["file_data"] = url
