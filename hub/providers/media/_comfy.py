"""What the formats of ComfyUI share: a graph of nodes is queued, followed in the history, and its files are fetched.

Source: ComfyUI, "Server routes" and the example of its API.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast

import msgspec

from hub.errors import BadRequest
from hub.media.reading import decoded
from hub.outbound.multipart import Multipart
from hub.providers.base import Failure, FailureKind
from hub.providers.media._address import request
from hub.providers.media._following import LEFT, broken, finished
from hub.providers.media._pictures import read

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hub.media.order import Line
    from hub.media.pictures import Picture
    from hub.outbound.base import Outgoing
    from hub.providers.base import Target

#: The most that one file may be, in bytes.
_MOST = 256 * 1024 * 1024

Graph = dict[str, dict[str, Any]]


class _Queued(msgspec.Struct):
    prompt_id: str


class _Status(msgspec.Struct):
    status_str: str = ""
    completed: bool = False
    messages: list[Any] = []


class _Run(msgspec.Struct):
    outputs: dict[str, dict[str, Any]] = {}
    status: _Status | None = None


class _Uploaded(msgspec.Struct):
    name: str
    subfolder: str = ""


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    """A node of a graph."""
    return {"class_type": kind, "inputs": inputs}


def own_graph(extra: Mapping[str, Any], prompt: str) -> Graph | None:
    """A workflow of the client's, as ComfyUI's "Export (API)" writes it, with ``%prompt%`` filled in. Raises BadRequest."""
    given: object = extra.get("workflow")
    if given is None:
        return None
    if not isinstance(given, dict):
        raise BadRequest("workflow: send the object that ComfyUI's Export (API) writes", field="workflow")
    graph = cast("dict[str, Any]", given)
    if not graph or not all(isinstance(one, dict) and "class_type" in one for one in graph.values()):
        raise BadRequest("workflow: send the object that ComfyUI's Export (API) writes", field="workflow")
    return _filled(graph, prompt)


def _filled(value: Any, prompt: str) -> Any:
    if isinstance(value, dict):
        return {name: _filled(one, prompt) for name, one in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [_filled(one, prompt) for one in cast("list[Any]", value)]
    return value.replace("%prompt%", prompt) if isinstance(value, str) else value


async def installed(target: Target, line: Line, service: str, kind: str, field: str, wanted: str) -> str:
    """The file that is meant among those that a loader node offers. Raises as a missing model does (the next target may have it)."""
    at = request(target, service, "", under=f"/object_info/{kind}", method="GET")
    found = decoded(await line.call(at), dict[str, Any], "nodes")
    offered: object = found.get(kind, {}).get("input", {}).get("required", {}).get(field, [[]])
    first: object = cast("list[Any]", offered)[0] if isinstance(offered, list) and offered else []
    names = [one for one in cast("list[Any]", first) if isinstance(one, str)] if isinstance(first, list) else []
    name = next((one for one in names if _bare(wanted) in _bare(one)), "")
    if not name:
        words = f"no {wanted} is installed there; it has {', '.join(names)[:200] or 'none'}, or send a workflow"
        raise line.refuse(Failure(FailureKind.MODEL, 404, words, code="model_not_found"))
    return name


async def put(picture: Picture, target: Target, line: Line, service: str) -> str:
    """The name under which a picture lies there."""
    file = await read(picture, line, "image")
    form = Multipart([("overwrite", "true")], [("image", "hubroute.png", file.content_type, file)])
    found = decoded(await line.call(request(target, service, "", form, under="/upload/image")), _Uploaded, "upload")
    return f"{found.subfolder}/{found.name}" if found.subfolder else found.name


async def run(graph: Graph, target: Target, line: Line, service: str, begun: Callable[[], None]) -> list[bytes]:
    """The files that a graph comes to, in the order of its nodes. It leaves the queue when nobody waits for it (REL-06)."""
    queued = decoded(await line.call(request(target, service, "", {"prompt": graph}, under="/prompt")), _Queued, "job")
    begun()

    async def look() -> _Run | None:
        at = request(target, service, "", under=f"/history/{_name(queued.prompt_id)}", method="GET")
        known = decoded(await line.call(at), dict[str, _Run], "history").get(queued.prompt_id)
        return _seen(known, line) if known is not None else None

    ended = await _followed(queued.prompt_id, look, target, line, service)
    files: list[bytes] = []
    for output in ended.outputs.values():
        for kind in ("images", "gifs", "videos", "audio"):
            named: Any = output.get(kind)
            if isinstance(named, list):
                files += [await _fetched(file, target, line, service) for file in cast("list[Any]", named)]
    return files


async def _followed(job_id: str, look: Any, target: Target, line: Line, service: str) -> _Run:
    """The ended run. What waits is deleted, what runs is interrupted, when nobody waits for it."""
    leave: Outgoing = request(target, service, "", {"delete": [job_id]}, under="/queue")
    try:
        ended: _Run = await finished(line, look, withdraw=leave)
    except LEFT:
        await line.withdraw(request(target, service, "", {"prompt_id": job_id}, under="/interrupt"))
        raise
    return ended


def _seen(run: _Run, line: Line) -> _Run | None:
    status = run.status
    if status is not None and status.status_str == "error":
        raise broken(line, _words(status.messages))
    return run if run.outputs or (status is not None and status.completed) else None


def _words(messages: list[Any]) -> str:
    """What the server says of a failed run."""
    for message in messages:
        said: object = cast("list[Any]", message)[1] if isinstance(message, list) and len(cast("list[Any]", message)) > 1 else None
        words: object = cast("dict[str, Any]", said).get("exception_message") if isinstance(said, dict) else None
        if isinstance(words, str):
            return words.strip()[:300]
    return "the workflow failed"


async def _fetched(file: Any, target: Target, line: Line, service: str) -> bytes:
    said = cast("dict[str, Any]", file) if isinstance(file, dict) else {}
    query = {name: str(said.get(name, "")) for name in ("filename", "subfolder", "type")}
    incoming = await line.open(request(target, service, "", under="/view", query=query, method="GET"), most=_MOST)
    return await incoming.read()


def _name(job_id: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "", job_id)


def _bare(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
