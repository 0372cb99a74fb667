"""``tools/call`` and ``tools/list`` without the SDK, where nothing is needed but the answer (performance rules 15 to 19).

A list is what the SDK answered before to a caller with these scopes, kept as bytes until the registry changes. A call reads
from memory or the hub's own store: nothing to confirm, no progress asked for, no stranger's tool. What is unusual in any way is
left to the SDK, which then answers it as if this module were not there; a differential test holds the two equal. In revisions with
sessions the answer is JSON where the SDK's is a stream of one event; clients must take both.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import orjson

from hub.errors import HubError
from hub.skill import CostClass
from hub.upstream.outcome import Outcome
from hub.version import VERSION
from transports._mcp import NAME, TITLE
from transports._mcp_tools import failure, fault

if TYPE_CHECKING:
    from collections.abc import Iterable

    from transports._http import Exchange
    from transports._mcp import Mcp
    from transports._mcp_tools import Tool

MODERN = "2026-07-28"
_MODERN = MODERN.encode()
_PREFIX = "io.modelcontextprotocol/"
_SERVER = {f"{_PREFIX}serverInfo": {"name": NAME, "title": TITLE, "version": VERSION}}
_END = b',"_meta":' + orjson.dumps(_SERVER) + b"}}"
#: How many sessions, and how many clients' declarations of what they can, are known at once.
_MOST = 4096
_DECLARATIONS = 256
_LONGEST = 8192


class _Meta(msgspec.Struct, gc=False):
    """What the revision 2026-07-28 says with every request; the declarations stay as they came."""

    version: str = msgspec.field(name=f"{_PREFIX}protocolVersion", default="")
    capabilities: msgspec.Raw = msgspec.field(name=f"{_PREFIX}clientCapabilities", default=msgspec.Raw(b""))
    client: msgspec.Raw = msgspec.field(name=f"{_PREFIX}clientInfo", default=msgspec.Raw(b"null"))
    level: msgspec.Raw = msgspec.field(name=f"{_PREFIX}logLevel", default=msgspec.Raw(b""))
    token: msgspec.Raw = msgspec.field(name="progressToken", default=msgspec.Raw(b""))


class _Params(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    name: str
    arguments: dict[str, Any] | None = None
    meta: _Meta | None = msgspec.field(name="_meta", default=None)


class _Call(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    jsonrpc: Literal["2.0"]
    id: int | str
    method: Literal["tools/call"]
    params: _Params


class _ListParams(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    meta: _Meta | None = msgspec.field(name="_meta", default=None)


class _List(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    jsonrpc: Literal["2.0"]
    id: int | str
    method: Literal["tools/list"]
    params: _ListParams = msgspec.field(default_factory=_ListParams)


_CALL = msgspec.json.Decoder(_Call)
_LIST = msgspec.json.Decoder(_List)
#: What a list depends on: the state of the registry, the caller's scopes, the profile that it shows, and the revision.
ListKey = tuple[int, bool, frozenset[str], str, bytes]
_LISTS = 256


class Fast:
    """The calls of one hub that are answered here."""

    def __init__(self, mcp: Mcp) -> None:
        self._mcp = mcp
        #: Sessions in which the SDK has answered: whose each is, and the revision it speaks.
        self._sessions: dict[bytes, tuple[str, bytes]] = {}
        #: Results of tools/list as bytes.
        self._lists: dict[ListKey, bytes] = {}
        #: Declarations that the SDK accepts.
        self._sound: set[tuple[bytes, bytes]] = set()

    async def answer(self, exchange: Exchange, data: bytes) -> bool:
        """Answer a message if it is such a call; whether it was."""
        head = exchange.head
        routing = _routing(exchange.scope["headers"])
        if routing is None or not _plain_head(head.content_type, head.accept):
            return False
        message = _decoded(data)
        if message is None:
            return False
        modern = routing.get(b"mcp-protocol-version") == _MODERN
        if not (await self._modern(message, routing) if modern else self._in_session(message, routing, exchange)):
            return False
        answer = self._listed(message, exchange) if isinstance(message, _List) else await self._called(message, exchange, modern=modern)
        if answer is None:
            return False
        await exchange.answer(200, answer)
        return True

    def learn(self, exchange: Exchange, data: bytes, status: int, answer: bytes = b"", key: ListKey | None = None) -> None:
        """Take note of a message that the SDK answered: a session that it serves can be served here from now on.

        A list is kept under the ``key`` that it had when it was asked for.
        """
        session = exchange.header(b"mcp-session-id").encode()
        if exchange.method == "DELETE" or status == 404:
            self._sessions.pop(session, None)
        elif status == 200 and (message := _decoded(data)) is not None:
            meta = message.params.meta
            if session and (meta is None or not meta.version):
                self._take(session, (exchange.caller.key_id, exchange.header(b"mcp-protocol-version").encode()))
            if isinstance(message, _List) and key is not None:
                self._keep(key, answer)

    def _take(self, session: bytes, owner: tuple[str, bytes]) -> None:
        while len(self._sessions) >= _MOST:
            del self._sessions[next(iter(self._sessions))]
        self._sessions[session] = owner

    def list_key(self, exchange: Exchange) -> ListKey:
        """What a list for this caller depends on now."""
        caller = exchange.caller
        profile = caller.limits.mcp_profile or self._mcp.hub.preferences.current.mcp_profile
        tools = self._mcp.tools
        return tools.version, tools.brief, caller.scopes, profile, exchange.header(b"mcp-protocol-version").encode()

    def _listed(self, message: _List, exchange: Exchange) -> bytes | None:
        """The list that the SDK gave before, None where it has not yet. In the test profile it always does: fixtures come and go."""
        kept = self._lists.get(self.list_key(exchange))
        if kept is None or self._mcp.hub.settings.test_profile:
            return None
        return b'{"jsonrpc":"2.0","id":%b,%b' % (msgspec.json.encode(message.id), kept)

    def _keep(self, key: ListKey, answer: bytes) -> None:
        """Keep the result of a list: all of the SDK's answer after the id of the request, if it is whole."""
        at = answer.find(b'"result":{')
        result = answer[at:].strip()
        try:
            orjson.loads(b"{" + result)
        except orjson.JSONDecodeError:
            return
        if len(self._lists) >= _LISTS:
            self._lists.clear()
        self._lists[key] = result

    async def _called(self, call: _Call, exchange: Exchange, *, modern: bool) -> bytes | None:
        """The answer to a call of a tool that only reads, None for every other."""
        tool = self._mcp.tools.by_name.get(call.params.name)
        if tool is None or not _quick(tool) or not tool.skill.scopes <= exchange.caller.scopes:
            return None
        exchange.cancel_when_gone()
        return await self._result(tool, call, exchange, modern=modern)

    async def _modern(self, message: _Call | _List, routing: dict[bytes, bytes]) -> bool:
        """Whether headers and envelope are those of an ordinary message, and say the same."""
        meta = message.params.meta
        if meta is None or meta.version != MODERN or routing.get(b"mcp-method") != message.method.encode():
            return False
        name = message.params.name.encode() if isinstance(message, _Call) else None
        if routing.get(b"mcp-name") != name or bytes(meta.level) or bytes(meta.token):
            return False
        declared = (bytes(meta.capabilities), bytes(meta.client))
        return declared in self._sound or await self._check(declared)

    async def _check(self, declared: tuple[bytes, bytes]) -> bool:
        """Whether the SDK accepts a client's declarations; what it accepted once is known by its bytes."""
        capabilities, client = declared
        if not capabilities or len(capabilities) + len(client) > _LONGEST:
            return False
        if not await self._mcp.accepts(orjson.loads(capabilities), orjson.loads(client)):
            return False
        if len(self._sound) >= _DECLARATIONS:
            self._sound.clear()
        self._sound.add(declared)
        return True

    def _in_session(self, message: _Call | _List, routing: dict[bytes, bytes], exchange: Exchange) -> bool:
        """Whether a message belongs to a session of this caller that the SDK serves, and asks for nothing besides."""
        meta = message.params.meta
        if meta is not None and (bytes(meta.token) or meta.version):
            return False
        known = self._sessions.get(routing.get(b"mcp-session-id", b""))
        return known == (exchange.caller.key_id, routing.get(b"mcp-protocol-version", b""))

    async def _result(self, tool: Tool, call: _Call, exchange: Exchange, *, modern: bool) -> bytes:
        """The whole answer. The result's text is written once and stands in it twice: quoted, and as structure."""
        ctx, head = exchange.ctx, b'{"jsonrpc":"2.0","id":%b,"result":' % msgspec.json.encode(call.id)
        try:
            output = await tool.run(self._mcp.hub, call.params.arguments or {}, ctx)
            if isinstance(output, Outcome):
                return head + _other(output.wire(), modern=modern)
            text = tool.json(output)
        except HubError as error:
            return head + _other(failure(error, ctx.request_id), modern=modern)
        except Exception as error:  # noqa: BLE001 - the transport boundary: what a view of ours raises stays in the log
            return head + _other(fault(tool, ctx, error), modern=modern)
        quoted = orjson.dumps(text.decode())
        kind, end = (b',"resultType":"complete"', _END) if modern else (b"", b"}}")
        return b'%b{"content":[{"type":"text","text":%b}],"isError":false%b,"structuredContent":%b%b' % (head, quoted, kind, text, end)


def _other(result: dict[str, Any], *, modern: bool) -> bytes:
    """The end of an answer whose result is not simply an output."""
    if modern:
        result = {**result, "_meta": {**result.get("_meta", {}), **_SERVER}}
    else:
        result = {name: value for name, value in result.items() if name != "resultType"}
    return orjson.dumps(result) + b"}"


def _decoded(data: bytes) -> _Call | _List | None:
    """A message that is a tools/call or a tools/list with nothing unusual in it, else None."""
    try:
        return _LIST.decode(data) if len(data) < _LONGEST and b'"tools/list"' in data else _CALL.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def _quick(tool: Tool) -> bool:
    """Whether a tool only reads what the hub has: it asks nobody, and is done before a client would want a sign of life."""
    skill = tool.skill
    return skill.read_only and skill.cost is CostClass.FREE and not skill.streams and not skill.source


def _routing(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes] | None:
    """The protocol's own headers, None where one comes twice or repeats a parameter."""
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        if name.startswith(b"mcp-"):
            if name in found or name.startswith(b"mcp-param-"):
                return None
            found[name] = value
    return found


@lru_cache(maxsize=64)
def _plain_head(content_type: str, accept: str) -> bool:
    """Whether the body is JSON and both forms of an answer are taken."""
    kinds = {kind.partition(";")[0].strip().lower() for kind in accept.split(",")}
    return content_type.lower().startswith("application/json") and {"application/json", "text/event-stream"} <= kinds
