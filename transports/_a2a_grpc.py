"""A2A 1.0 over gRPC (specification, section 10): the service of ``lf.a2a.v1``, over the same tasks as the other bindings.

Requests and answers go through the JSON of A2A 1.0, which protocol buffers define both ways, so that nothing is read or
checked twice differently. Loaded only where the door is on; ``grpc`` has no types.
"""

from __future__ import annotations

import importlib
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from a2a.types import a2a_pb2 as wire
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.empty_pb2 import Empty
from google.protobuf.json_format import MessageToDict, ParseDict
from google.rpc import error_details_pb2, status_pb2

from agents.card import Place, card_v1, visible
from hub.errors import BadRequest, Conflict, HubError, Internal, NotConfigured
from hub.log import logger
from transports import _a2a_errors, _a2a_push, _access
from transports._a2a_agent import Agent, admit, version
from transports._a2a_params import Params
from transports._a2a_v1 import V1

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable
    from pathlib import Path
    from typing import TypeAlias

    from google.protobuf.message import Message

    from hub.call import Hub
    from hub.context import Context
    from hub.records import Caller
    from hub.tasks.task import LiveTask

    Unary: TypeAlias = Callable[["Visit", Params], Awaitable[dict[str, Any]]]
    Stream: TypeAlias = Callable[["Visit", Params], AsyncGenerator[dict[str, Any]]]

log = logger("transports.a2a_grpc")

grpc: Any = importlib.import_module("grpc")
aio: Any = importlib.import_module("grpc.aio")

SERVICE = "lf.a2a.v1.A2AService"
_V1 = V1()
_SHAPES = _a2a_push.V1Shapes()
_MIB = 1024 * 1024
#: Calls at once of one client's connection, and of all; more wait, or are refused as RESOURCE_EXHAUSTED.
_STREAMS = 128
_CALLS = 1024
#: Bytes of request metadata, as for the head of an HTTP request to the model API.
_METADATA = 16 * 1024
#: Bytes that an error may carry beside its words: clients take 8 KiB of metadata and no more.
_DETAILS = 4096
_WORDS = 1000
#: Error details name these types, and protocol buffers know only those that were loaded.
_KNOWN = (error_details_pb2.ErrorInfo, error_details_pb2.BadRequest)


class Visit:
    """One call: who asks, and what there is to know of it beside its message."""

    caller: Caller
    ctx: Context

    def __init__(self, hub: Hub, metadata: Iterable[tuple[str, str | bytes]]) -> None:
        self.hub = hub
        self._metadata = {name: value for name, value in metadata if isinstance(value, str)}
        #: Metadata to answer with.
        self.told: _a2a_push.Headers = []

    async def admit(self) -> None:
        """Find out who asks. Raises Unauthenticated, and Unavailable while nobody can say whether an access token is good.

        Tokens are made for the hub or for its A2A door over HTTP: what listens for gRPC has no address of that kind.
        """
        scheme, _, token = self.header(b"authorization").partition(" ")
        bearer = token.strip() if scheme.lower() == "bearer" else ""
        credential = bearer or self.header(b"x-api-key").strip() or None
        if credential and self.hub.oauth.takes(credential):
            known = _access.addresses(self.hub.settings, 0)
            self.caller = await self.hub.identify(credential, _access.names(known, "/a2a"))
        else:
            self.caller = self.hub.authenticate(credential)
        self.ctx = self.hub.context(self.caller, "a2a")

    def header(self, name: bytes) -> str:
        """A metadata entry by its lower-case name, empty when absent."""
        return self._metadata.get(name.decode(), "")

    def cancel_when_gone(self) -> None:
        """Nothing to do: gRPC cancels the call of a client that leaves."""


class Service:
    """The operations, each from the request's JSON to the answer's. Raises HubError."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._agent = Agent(hub)
        self._configs = _a2a_push.Configs(hub)

    async def send(self, visit: Visit, params: Params) -> dict[str, Any]:
        """SendMessage."""
        send = await _a2a_push.prepared(visit, _V1.send(params, stream=False))
        live = await self._agent.start(visit, send)
        if isinstance(live, dict):
            return _V1.answered(live)
        live.detached |= not send.said.waits
        visit.told = _a2a_push.secret_header(send.said.push)
        return _V1.sent(await self._hub.tasks.settled(live) if send.said.waits else live.snapshot(), send.history)

    async def stream(self, visit: Visit, params: Params) -> AsyncGenerator[dict[str, Any]]:
        """SendStreamingMessage."""
        send = await _a2a_push.prepared(visit, _V1.send(params, stream=True))
        live = await self._agent.start(visit, send)
        if isinstance(live, dict):
            yield _V1.answered(live)
            return
        live.detached = True
        visit.told = _a2a_push.secret_header(send.said.push)
        async with aclosing(self._follow(live, send.history, patient=False)) as events:
            async for event in events:
                yield event

    async def subscribe(self, visit: Visit, params: Params) -> AsyncGenerator[dict[str, Any]]:
        """SubscribeToTask."""
        live = await self._agent.subscribed(visit, _V1.ref(params).id)
        async with aclosing(self._follow(live, None, patient=True)) as events:
            async for event in events:
                yield event

    async def _follow(self, live: LiveTask, history: int | None, *, patient: bool) -> AsyncGenerator[dict[str, Any]]:
        async with self._hub.tasks.following(live, patient=patient) as items:
            async for item in items:
                if item is not None:  # a sign of life; HTTP/2 has its own
                    yield _V1.event(live.row, item, history)

    async def get(self, visit: Visit, params: Params) -> dict[str, Any]:
        """GetTask."""
        ref = _V1.ref(params)
        return _V1.got((await self._agent.find(visit, ref.id)).snapshot(), ref.history)

    async def list(self, visit: Visit, params: Params) -> dict[str, Any]:
        """ListTasks."""
        page = _V1.page(params)
        rows, total = await self._hub.tasks.page(visit.caller.key_id, **page.choice)
        return _V1.listed(page, rows, total)

    async def cancel(self, visit: Visit, params: Params) -> dict[str, Any]:
        """CancelTask."""
        live = await self._agent.find(visit, _V1.ref(params).id)
        return _V1.canceled(await self._hub.tasks.cancel(live))

    async def card(self, visit: Visit, _params: Params) -> dict[str, Any]:
        """GetExtendedAgentCard: the skills that this caller's key may use."""
        place = Place(self._hub.base_url, self._hub.listening.get("GRPC", ""), self._hub.oauth.logins)
        return card_v1(place, visible(self._hub.skills, visit.caller))

    async def push_set(self, visit: Visit, params: Params) -> dict[str, Any]:
        """CreateTaskPushNotificationConfig."""
        made = await self._configs.set(visit, *_SHAPES.set(params))
        visit.told = _a2a_push.secret_header(made)
        return _SHAPES.one(made)

    async def push_get(self, visit: Visit, params: Params) -> dict[str, Any]:
        """GetTaskPushNotificationConfig."""
        return _SHAPES.one(await self._configs.get(visit, *_SHAPES.ref(params)))

    async def push_list(self, visit: Visit, params: Params) -> dict[str, Any]:
        """ListTaskPushNotificationConfigs."""
        return _SHAPES.all(await self._configs.list(visit, _SHAPES.task(params)))

    async def push_delete(self, visit: Visit, params: Params) -> dict[str, Any]:
        """DeleteTaskPushNotificationConfig."""
        await self._configs.delete(visit, *_SHAPES.ref(params))
        return {}


class Listener:
    """The server of one hub."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._server: Any = None

    async def open(self) -> None:
        """Listen. Raises Conflict when the address cannot be had, NotConfigured for a certificate that cannot be used."""
        settings = self._hub.settings
        self._server = aio.server(options=_options(settings.max_body_mb * _MIB), maximum_concurrent_rpcs=_CALLS)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, self._methods(Service(self._hub))),))
        port = self._bind(settings.grpc_address)
        await self._server.start()
        host = settings.grpc_address.rpartition(":")[0]
        self._hub.listening["GRPC"] = settings.grpc_public_address or f"{host}:{port}"
        if settings.grpc_tls_cert is None and not settings.local_only:
            log.warning("gRPC is unencrypted and can be reached from other machines; set grpc_tls_cert and grpc_tls_key")

    async def close(self, seconds: float) -> None:
        """Take no more calls, let running ones finish for so long, and end the rest."""
        self._hub.listening.pop("GRPC", None)
        await self._server.stop(seconds)

    def _bind(self, address: str) -> int:
        settings = self._hub.settings
        try:
            if settings.grpc_tls_cert and settings.grpc_tls_key:
                pair = _pem(settings.grpc_tls_key), _pem(settings.grpc_tls_cert)
                return self._server.add_secure_port(address, grpc.ssl_server_credentials([pair]))
            return self._server.add_insecure_port(address)
        except RuntimeError:
            raise Conflict(
                f"cannot listen for gRPC on {address}; choose another with HUBROUTE_GRPC_ADDRESS, and see that certificate and key fit"
            ) from None

    def _methods(self, service: Service) -> dict[str, Any]:
        """The methods by name: a message each way, and for two of them many back."""
        unary: dict[str, tuple[type[Message], type[Message], Unary]] = {
            "SendMessage": (wire.SendMessageRequest, wire.SendMessageResponse, service.send),
            "GetTask": (wire.GetTaskRequest, wire.Task, service.get),
            "ListTasks": (wire.ListTasksRequest, wire.ListTasksResponse, service.list),
            "CancelTask": (wire.CancelTaskRequest, wire.Task, service.cancel),
            "GetExtendedAgentCard": (wire.GetExtendedAgentCardRequest, wire.AgentCard, service.card),
            "CreateTaskPushNotificationConfig": (wire.TaskPushNotificationConfig, wire.TaskPushNotificationConfig, service.push_set),
            "GetTaskPushNotificationConfig": (
                wire.GetTaskPushNotificationConfigRequest,
                wire.TaskPushNotificationConfig,
                service.push_get,
            ),
            "ListTaskPushNotificationConfigs": (
                wire.ListTaskPushNotificationConfigsRequest,
                wire.ListTaskPushNotificationConfigsResponse,
                service.push_list,
            ),
            "DeleteTaskPushNotificationConfig": (wire.DeleteTaskPushNotificationConfigRequest, Empty, service.push_delete),
        }
        streams: dict[str, tuple[type[Message], Stream]] = {
            "SendStreamingMessage": (wire.SendMessageRequest, service.stream),
            "SubscribeToTask": (wire.SubscribeToTaskRequest, service.subscribe),
        }
        one, many = grpc.unary_unary_rpc_method_handler, grpc.unary_stream_rpc_method_handler
        write = {"response_serializer": _bytes}
        return {
            **{name: one(self._one(*made[1:]), request_deserializer=made[0].FromString, **write) for name, made in unary.items()},
            **{name: many(self._many(work), request_deserializer=asked.FromString, **write) for name, (asked, work) in streams.items()},
        }

    def _one(self, answer: type[Message], work: Unary) -> Callable[[Message, Any], Awaitable[Message]]:
        async def handle(request: Message, context: Any) -> Message:
            with _refusing(context):
                visit = await self._admitted(context)
                found = ParseDict(await work(visit, _params(request)), answer())
                await _tell(context, visit)
                return found
            return answer()  # not sent: the status says why

        return handle

    def _many(self, work: Stream) -> Callable[[Message, Any], Awaitable[None]]:
        async def handle(request: Message, context: Any) -> None:
            with _refusing(context):
                visit = await self._admitted(context)
                async with aclosing(work(visit, _params(request))) as events:
                    async for event in events:
                        await _tell(context, visit)
                        await context.write(ParseDict(event, wire.StreamResponse()))

        return handle

    async def _admitted(self, context: Any) -> Visit:
        """The call, once it is known who asks and in which version. Raises HubError."""
        if self._hub.addresses.active:
            self._hub.addresses.check(_peer(context.peer()))
        visit = Visit(self._hub, context.invocation_metadata() or ())
        await visit.admit()
        admit(visit)
        if version(visit.header(b"a2a-version")) != "1.0":
            raise BadRequest("this binding speaks A2A 1.0: send the metadata `a2a-version: 1.0`", code="version_not_supported")
        return visit


def _options(largest: int) -> list[tuple[str, int]]:
    """Limits of the server. ``largest`` is the size of a message in bytes."""
    return [
        ("grpc.max_receive_message_length", largest),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_metadata_size", _METADATA),
        ("grpc.absolute_max_metadata_size", _METADATA),
        ("grpc.max_concurrent_streams", _STREAMS),
        # Only what comes as it is: the limit holds for what is unpacked, but only once it has been (REL-08).
        ("grpc.compression_enabled_algorithms_bitset", 1),
        # An address that another process has is taken, and not shared.
        ("grpc.so_reuseport", 0),
        ("grpc.server_handshake_timeout_ms", 10_000),
        # A client that vanished is noticed, and its calls end.
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
    ]


def _peer(text: str) -> str:
    """The IP address in gRPC's words for a peer, such as ``ipv4:192.0.2.1:443`` or ``ipv6:[::1]:443``, where the signs may be escaped."""
    kind, _, place = unquote(text).partition(":")
    return place.rpartition(":")[0].strip("[]") if kind in ("ipv4", "ipv6") else ""


def _params(request: Message) -> Params:
    """A request in the JSON of A2A. Raises BadRequest for one that has no JSON, such as text that is nested too deep."""
    try:
        return Params(MessageToDict(request))
    except (ValueError, TypeError, RecursionError) as error:
        raise BadRequest(f"the message has no JSON form: {error}", code="invalid_request") from None


def _bytes(message: Message) -> bytes:
    return message.SerializeToString()


def _pem(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise NotConfigured(f"cannot read {path} for gRPC ({error.strerror}); check grpc_tls_cert and grpc_tls_key") from None


async def _tell(context: Any, visit: Visit) -> None:
    """Send what the caller alone may learn, before the first message."""
    if visit.told:
        told, visit.told = visit.told, []
        await context.send_initial_metadata([(name.decode(), value.decode()) for name, value in told])


@contextmanager
def _refusing(context: Any) -> Generator[None]:
    """The transport boundary: an error becomes the call's status."""
    try:
        yield
    except HubError as error:
        _refuse(context, error)
    except Exception as error:
        log.error("call failed", exc_info=error)
        _refuse(context, Internal("the hub failed on this call; the log has the cause"))


def _refuse(context: Any, error: HubError) -> None:
    """End the call with an error's status and details (google.rpc.Status, section 10.6)."""
    code, words = grpc.StatusCode[_a2a_errors.fault_of(error).grpc], error.message[:_WORDS]
    status = status_pb2.Status(
        code=code.value[0], message=words, details=[ParseDict(one, AnyMessage()) for one in _a2a_errors.details(error)]
    )
    if status.ByteSize() > _DETAILS:
        del status.details[1:]
    metadata: list[tuple[str, str | bytes]] = [("grpc-status-details-bin", status.SerializeToString())]
    if error.retry_after is not None:
        metadata.append(("retry-after", str(max(1, round(error.retry_after)))))
    context.set_code(code)
    context.set_details(words)
    context.set_trailing_metadata(metadata)
