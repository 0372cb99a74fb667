"""Tries an operation in every way that the contract speaks of; what is not as promised comes back as lines of text."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.contract.differences import DIFFERENCES
from tests.contract.rows import ROWS, Row, filled
from tests.contract.shapes import differences, wrongs

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from tests.contract.world import World

CONTRACT: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "contract.json").read_text())
#: The bodies of errors (openapi.yaml of the original: AuthzError, ValidationError, ErrorString, OpenAIError, ManagedError).
ERRORS: dict[str, Any] = {
    "authz": {"error": {"code": "string", "message": "string", "correlation_id": "string"}},
    "fields": {"error": {"message": "string", "details": [{"field": "string", "message": "string"}]}},
    "text": {"error": "string"},
    "openai": {"error": {"message": "string", "type?": "string", "code?": "string"}},
    "typed": {"error": {"message": "string", "type": "string", "code": "string"}},
    "managed": {"error": {"message": "string", "type": "string"}, "requestId": "string"},
    "anthropic": {"type": "string", "error": {"type": "string", "message": "string"}},
    "gemini": {"error": {"code": "integer", "message": "string", "status": "string"}},
    "rpc": {"jsonrpc": "string", "error": {"code": "integer", "message": "string"}},
}
#: Doors with an error body of their dialect's own, and the statuses it is for (D23; x-better of the original).
_DIALECTS = {
    "/v1/messages": "anthropic",
    "/v1beta/": "gemini",
    "/v1/api/": "text",
    "/a2a": "rpc",
    "/api/mcp/sse": "rpc",
    "/api/mcp/stream": "rpc",
}

#: Doors whose bodies are frames of a protocol, with tests of their own.
_FRAMES = ("/a2a", "/api/mcp/sse", "/api/mcp/stream")
_UNREADABLE = (
    ("no JSON", "application/json", b'{"a": ', 400),
    ("a list", "application/json", b"[1]", 400),
    ("a form", "multipart/form-data; boundary=x", b"--x--\r\n", 415),
)


class Trial:
    """One operation at one world."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        self.method, self.template = name.split(" ")
        self.promise = CONTRACT[name]
        self.row = ROWS[name]
        self.problems: list[str] = []
        self._about = ""

    def note(self, words: str) -> None:
        self.problems.append(f"{self._about}: {words}")

    async def run(self) -> list[str]:
        """Everything that the contract promises of this operation."""
        await self.refused()
        await self.mistaken()
        await self.malformed()
        await self.unknown()
        for row in (self.row, *self.row.more):
            await self.succeeds(row)
        return self.problems

    async def succeeds(self, row: Row) -> None:
        """Status, headers and every field of the answer to a right request."""
        self._about = "success"
        status, promise = self._promised()
        made = await self.world.make(row.needs)
        async with _sent(self.world.owner, self.method, self._address(row, made), _options(row, made)) as answer:
            if answer.status_code != status:
                self.note(f"status {answer.status_code}, {status} promised: {answer.text[:300] if answer.is_closed else ''}")
                return
            for header in promise.get("headers", ()):
                if header not in answer.headers:
                    self.note(f"no header {header}")
            kind = answer.headers.get("content-type", "").partition(";")[0]
            if "kind" in promise and kind != promise["kind"]:
                self.note(f"content-type {kind}, {promise['kind']} promised")
            if promise.get("stream") and "json" not in promise and kind not in ("text/event-stream", "application/json"):
                self.note(f"content-type {kind}, a stream promised")
            self._body(row, promise, answer)

    def _body(self, row: Row, promise: dict[str, Any], answer: httpx.Response) -> None:
        if "error" in promise:
            self._error(answer, promise["error"])
        shape = promise.get("json", promise.get("ndjson"))
        if shape is None:
            return
        try:
            bodies = [json.loads(line) for line in answer.text.splitlines()] if "ndjson" in promise else [answer.json()]
        except ValueError:
            self.note(f"no JSON: {answer.text[:100]}")
            return
        for body in bodies:
            for found in differences(body, shape):
                self.note(found)
        for name in row.fields:
            if name not in bodies[0]:
                self.note(f".{name}: missing")

    def _promised(self) -> tuple[int, dict[str, Any]]:
        """The success of an operation; of one that has none, its one refusal."""
        answers = self.promise["answers"]
        own = [status for status in answers if status[0] in "23"] or ["405"]
        return int(own[0]), answers[own[0]]

    async def refused(self) -> None:
        """Nobody gets 401, a key without the right gets 403; both before anything is read."""
        if self.promise["auth"] == "none":
            return
        made = {"n": "0"}
        for client, status in ((self.world.nobody, 401), (self.world.poor, 403)):
            self._about = f"{status}"
            async with _sent(client, self.method, self._address(self.row, made, absent=True), self._plain(made)) as answer:
                if answer.status_code != status:
                    self.note(f"status {answer.status_code}: {answer.text[:300] if answer.is_closed else ''}")
                    continue
                self._error(answer, self._kind(str(status), "authz"))

    def _plain(self, made: dict[str, str]) -> dict[str, Any]:
        options = _options(self.row, made)
        return {name: value for name, value in options.items() if name not in ("files", "data")}

    async def mistaken(self) -> None:
        """Each field wrong in each way: 400 with its name, and nothing stored."""
        asked = self.promise.get("body", {}).get("fields", {})
        queried = {name[6:]: field for name, field in self.promise.get("parameters", {}).items() if name.startswith("query:")}
        if not asked and not queried:
            return
        made = await self.world.make(self.row.needs)
        before = self.world.stored()
        meant = tuple(DIFFERENCES.get(self.name, ()))
        wrong = [(f"wrong {where}{field}", field, options) for field, where, options in self._wrong(asked, queried, made)]
        taken = [one for one in wrong if f"{one[0]}: status 200".startswith(meant) or f"{one[0]}: status 201".startswith(meant)]
        for about, field, options in (one for one in wrong if one not in taken):
            await self._mistake(about, field, options, made)
        self._about = "wrong"
        after = self.world.stored()
        changed = [table for table in after if after[table] != before.get(table)]
        if changed:
            self.note(f"stored by a wrong request: {changed}")
        for about, field, options in taken:
            await self._mistake(about, field, options, made)

    def _wrong(self, asked: dict[str, Any], queried: dict[str, Any], made: dict[str, str]) -> Iterator[tuple[str, str, dict[str, Any]]]:
        formed = bool(self.row.sends.get("files"))
        for field, value in wrongs(asked):
            options = _options(self.row, made)
            if formed:
                if value is ... and (field in options["data"] or field in options["files"]):
                    options["data"].pop(field, None)
                    options["files"].pop(field, None)
                    yield field, "", {**options, **({"files": {"other": b"x"}} if not options["files"] else {})}
            elif isinstance(options.get("json"), dict):
                _set(options["json"], field, value)
                yield field, "", options
        for field, value in wrongs(queried):
            strings = queried[field]["type"] == "string" and "enum" not in queried[field] and value is not ...
            if strings or (value is ... and field not in self.row.query):
                continue
            options = _options(self.row, made)
            options["params"] = dict(options.get("params", {}))
            _set(options["params"], field, value)
            yield field, "?", options

    async def _mistake(self, about: str, field: str, options: dict[str, Any], made: dict[str, str]) -> None:
        self._about = about
        answer = await self.world.owner.request(self.method, self._address(self.row, made), **options)
        if answer.status_code != 400:
            self.note(f"status {answer.status_code}: {answer.text[:150]}")
            return
        self._error(answer, self._kind("400", "fields"))
        body = answer.json()
        if "error" in body and field not in json.dumps(body):
            self.note(f"the field is not named: {answer.text[:200]}")

    async def malformed(self) -> None:
        """What is no JSON is 400, what is no JSON by its own account 415, another method 405 with those that there are."""
        made = {"n": "0"}
        address = self._address(self.row, made, absent=True)
        self._about = "another method"
        offered = self._offered()
        other = next((one for one in ("PUT", "PATCH", "DELETE", "POST") if one not in offered), "")
        if other and offered:
            answer = await self.world.owner.request(other, address)
            if (answer.status_code, set(answer.headers.get("allow", "").split(", "))) != (405, offered):
                self.note(f"{other} is {answer.status_code}, Allow: {answer.headers.get('allow')}, not {sorted(offered)}")
            self._error(answer, self._kind("405", "text|managed|gemini"))
        if self.promise.get("body", {}).get("kind") != "application/json" or self.template in _FRAMES:
            return
        for about, kind, body, status in _UNREADABLE:
            self._about = about
            options = {**self._plain(made), "content": body}
            options["headers"] = {**options.get("headers", {}), "content-type": kind}
            options.pop("json", None)
            answer = await self.world.owner.request(self.method, address, **options)
            if answer.status_code not in (400, status):
                self.note(f"status {answer.status_code}, not {status}: {answer.text[:150]}")
            else:
                self._error(answer, self._kind(str(answer.status_code), "text|fields|openai"))

    def _offered(self) -> set[str]:
        """The methods of the address here."""
        routes = self.world.running.hub.kept["routes"]
        spelled = self.template.removeprefix("/api") if self.template.startswith("/api/v1/") else self.template
        found = {self.template, spelled, re.sub(r"/(cloudflared|ngrok)$", "/{kind}", self.template)}
        shapes = {re.sub(r"{\w+(:path)?}", "{}", path) for path in found}
        return {method for route in routes if re.sub(r"{\w+(:path)?}", "{}", route.path) in shapes for method in route.methods}

    async def unknown(self) -> None:
        """What is not there is 404."""
        self._about = "404"
        row = self.row
        path = "{" in self.template and not self.template.endswith("{path}")
        if not path and not row.found_by:
            return
        made = await self.world.make(row.needs)
        options = _options(row, made)
        if row.found_by:
            holder = options["params"] if row.found_by in options.get("params", {}) or not options.get("json") else options["json"]
            holder[row.found_by] = row.absent
        answer = await self.world.owner.request(self.method, self._address(row, made, absent=not row.found_by), **options)
        if answer.status_code != 404:
            self.note(f"status {answer.status_code}: {answer.text[:200]}")
            return
        self._error(answer, self._kind("404", "text"))

    def _kind(self, status: str, usual: str) -> str:
        """The promised body of an error of this operation."""
        for start, kind in _DIALECTS.items():
            if self.template.startswith(start):
                return kind
        promised = self.promise["answers"].get(status, {}).get("error", "")
        if self.template.startswith("/v1/"):
            return "typed"
        return promised if promised and promised != "bare" else usual

    def _error(self, answer: httpx.Response, kind: str) -> None:
        try:
            body = answer.json()
        except ValueError:
            self.note(f"no JSON: {answer.text[:100]}")
            return
        # Where the original has a sentence ours may name the field as well.
        kinds = [*kind.split("|"), *(["fields"] if "text" in kind else [])]
        found = [list(differences(body, ERRORS[one])) for one in kinds]
        if all(found):
            self.note(f"error body is not {kind}: {min(found, key=len)} {answer.text[:200]}")

    def _address(self, row: Row, made: dict[str, str], *, absent: bool = False) -> str:
        def part(match: re.Match[str]) -> str:
            name = match.group(1)
            if absent and name not in ("action", "path"):
                return row.absent
            return filled(row.path[name], made)

        return re.sub(r"\{(\w+)\}", part, self.template)


def _options(row: Row, made: dict[str, str]) -> dict[str, Any]:
    options = copy.deepcopy(filled(row.sends, made))
    if isinstance(options.get("content"), str):
        options["content"] = options["content"].encode("latin-1")
        options["headers"] = {"content-type": "application/octet-stream"}
    if row.body is not None:
        options["json"] = copy.deepcopy(filled(row.body, made))
    options["params"] = dict(filled(row.query, made))
    return options


def _set(where: dict[str, Any], field: str, value: Any) -> None:
    if value is ...:
        where.pop(field, None)
    else:
        where[field] = value


class _sent:
    """A request; the body of its answer is read unless it is a stream without an end."""

    def __init__(self, client: httpx.AsyncClient, method: str, address: str, options: dict[str, Any]) -> None:
        self._endless = options.pop("stream", False)
        self._client, self._args, self._options = client, (method, address), options

    async def __aenter__(self) -> httpx.Response:
        if not self._endless:
            self._answer = await self._client.request(*self._args, **self._options)
        else:
            request = self._client.build_request(*self._args, **self._options)
            self._answer = await self._client.send(request, stream=True)
            if not self._answer.is_success:
                await self._answer.aread()
        return self._answer

    async def __aexit__(self, *_: object) -> None:
        await self._answer.aclose()
