"""Vendors of pictures: each refuses what its real API would, so that a wrong request fails the test."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from typing import TYPE_CHECKING, Any

from python_multipart.multipart import parse_options_header

from tests.fakes.media import bearer, expect, only, path_of, strict
from tests.fakes.upstream import Behaviour, json_answer

if TYPE_CHECKING:
    from tests.fakes.upstream import Exchange, Received


def png(width: int = 2, height: int = 2, *, alpha: int | None = None, tone: int = 0) -> bytes:
    """A real PNG, grey; with ``alpha`` it has that everywhere, but for its first pixel, which is opaque."""
    bytes_each = 1 if alpha is None else 4
    rows = b""
    for row in range(height):
        line = b"".join(bytes([tone] * 3 + [alpha if row or column else 255]) for column in range(width)) if alpha is not None else b""
        rows += b"\0" + (line or bytes([tone]) * (width * bytes_each))
    head = struct.pack(">IIBBBBB", width, height, 8, 0 if alpha is None else 6, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    chunks = [struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


PNG = png()
JPEG = b"\xff\xd8\xff\xe0" + bytes(60)
B64 = base64.b64encode(PNG).decode()
#: Tokens of one picture as OpenAI counts them.
TOKENS = {
    "input_tokens": 50,
    "input_tokens_details": {"text_tokens": 50, "image_tokens": 0},
    "output_tokens": 4160,
    "total_tokens": 4210,
}
_OPENAI = (
    "model", "prompt", "n", "size", "quality", "background", "output_format", "output_compression", "moderation", "user",
    "stream", "partial_images", "input_fidelity", "safety_identifier",
)  # fmt: skip


def form_of(request: Received) -> tuple[dict[str, Any], dict[str, list[tuple[str, str, bytes]]]]:
    """The texts of a form, and its files as (name, content type, content)."""
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    expect(kind == b"multipart/form-data", "send a form", 415)
    texts: dict[str, Any] = {}
    files: dict[str, list[tuple[str, str, bytes]]] = {}
    for part in request.body.split(b"--" + options[b"boundary"])[1:-1]:
        head, _, content = part[2:-2].partition(b"\r\n\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head.decode().split("\r\n"))}
        said = parse_options_header(headers["content-disposition"])[1]
        name = said[b"name"].decode()
        if b"filename" in said:
            files.setdefault(name, []).append((said[b"filename"].decode(), headers.get("content-type", ""), content))
        else:
            texts[name] = content.decode()
    return texts, files


def events(*given: dict[str, Any], end: bool = True) -> Behaviour:
    """Server-sent events, one at a time."""

    async def run(exchange: Exchange) -> None:
        await exchange.head(headers=[("content-type", "text/event-stream")])
        for event in given:
            await exchange.chunk(f"event: {event['type']}\ndata: ".encode() + json.dumps(event).encode() + b"\n\n")
        if end:
            await exchange.chunk(b"")

    return Behaviour(run)


@strict
def openai_images(request: Received) -> Behaviour:
    """Base64 always; a field that the models do not know is refused."""
    bearer(request)
    editing = path_of(request) == "/v1/images/edits"
    expect(editing or path_of(request) == "/v1/images/generations", "no such path", 404)
    kind = "image_edit" if editing else "image_generation"
    if editing:
        body, files = form_of(request)
        pictures = files.get("image", []) + files.get("image[]", [])
        expect(pictures, "image is required")
        expect(all(kind in ("image/png", "image/jpeg", "image/webp") for _, kind, _ in pictures), "unsupported file type")
        expect(files.get("mask", [("", "image/png", b"")])[0][1] == "image/png", "mask must be a PNG")
        body |= {"n": int(body.get("n", 1))}
    else:
        body = request.json()
    only(body, *_OPENAI)
    expect(body.get("prompt"), "prompt is required")
    expect("blood" not in body["prompt"], "Your request was rejected by the safety system")
    if body.get("stream") in (True, "true"):
        shared = {"b64_json": B64, "created_at": 1, "size": "1024x1024", "quality": "high", "background": "opaque", "output_format": "png"}
        partial = {"type": f"{kind}.partial_image", "partial_image_index": 0, **shared}
        return events(partial, {"type": f"{kind}.completed", "usage": TOKENS, **shared})
    made = [{"b64_json": B64} for _ in range(body.get("n", 1))]
    return json_answer({"created": 1, "background": "opaque", "data": made, "size": "1024x1024", "usage": TOKENS, "x_new": 1})
