"""The gRPC binding of A2A beyond what the stock clients say (test_a2a_sdk): credentials, limits, errors, TLS, and being off."""

from __future__ import annotations

import asyncio
import ssl
import sys
import warnings
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc import aio
from pydantic import ValidationError

from hub.errors import Conflict, NotConfigured
from hub.settings import Settings
from tests.fakes.agent import agent_skills, new_gate
from tests.fakes.certificates import Authority
from tests.fakes.hub import Running, running_hub
from tests.fakes.issuer import Issuer

with warnings.catch_warnings():
    # The SDK's imports are its own affair; our warnings stay errors.
    warnings.simplefilter("ignore")
    from a2a.types import a2a_pb2 as wire
    from a2a.types.a2a_pb2_grpc import A2AServiceStub
    from google.rpc import error_details_pb2, status_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.anyio

HERE = "127.0.0.1:0"
VERSION = ("a2a-version", "1.0")
_MESSAGE: dict[str, Any] = {"message_id": "m2", "role": wire.ROLE_USER, "parts": [wire.Part(text="mine?")]}


@asynccontextmanager
async def serving(tmp_path: Path, **settings: Any) -> AsyncIterator[tuple[Running, Any]]:
    async with (
        running_hub(tmp_path, skills=agent_skills(), grpc_address=HERE, **settings) as running,
        aio.insecure_channel(running.hub.listening["GRPC"]) as channel,
    ):
        yield running, A2AServiceStub(channel)


async def metadata(running: Running, *scopes: str) -> list[tuple[str, str]]:
    return [("authorization", (await running.headers(*scopes))["authorization"]), VERSION]


def said(text: str = "hello", message_id: str = "m1", **more: Any) -> Any:
    message = wire.Message(message_id=message_id, role=wire.ROLE_USER, parts=[wire.Part(text=text)])
    message.metadata.update(more)
    return wire.SendMessageRequest(message=message)


async def refused(call: Any) -> tuple[Any, Any]:
    """Status and reason of a call that is refused."""
    with pytest.raises(aio.AioRpcError) as caught:
        await call
    trailing = dict(caught.value.trailing_metadata() or ())
    if "grpc-status-details-bin" not in trailing:
        return caught.value.code(), None
    status = status_pb2.Status.FromString(trailing["grpc-status-details-bin"])
    assert status.code == caught.value.code().value[0]
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return caught.value.code(), info.reason


async def test_an_access_token_opens_it_too(tmp_path: Path) -> None:
    """SEC-50: made for the hub or its A2A door; one for somebody else opens nothing."""
    public = "https://hub.example"
    async with (
        Issuer() as issuer,
        serving(tmp_path, public_url=public, oauth_issuers=[{"issuer": issuer.issuer}]) as (_, stub),
    ):
        for resource in (public, f"{public}/a2a"):
            token = issuer.token(resource, "mcp:connect execute:completions")
            answer = await stub.SendMessage(said(), metadata=[("authorization", f"Bearer {token}"), VERSION])
            assert answer.task.status.state == wire.TASK_STATE_COMPLETED
        for other in ("https://other.example", f"{public}/api/mcp/stream"):
            token = issuer.token(other, "mcp:connect execute:completions")
            code, _ = await refused(stub.SendMessage(said(), metadata=[("authorization", f"Bearer {token}"), VERSION]))
            assert code is grpc.StatusCode.UNAUTHENTICATED


async def test_no_call_without_a_key_a_scope_and_the_version(tmp_path: Path) -> None:
    """SEC-01: every method refuses a caller without a key, before it reads anything."""
    async with serving(tmp_path) as (running, stub):
        for method in ("SendMessage", "GetTask", "ListTasks", "CancelTask", "GetExtendedAgentCard"):
            request = getattr(wire, f"{method}Request")()
            assert (await refused(getattr(stub, method)(request, metadata=[VERSION])))[0] == grpc.StatusCode.UNAUTHENTICATED, method
        wrong = [("authorization", "Bearer hr_nothing"), VERSION]
        assert (await refused(stub.GetTask(wire.GetTaskRequest(id="x"), metadata=wrong)))[0] == grpc.StatusCode.UNAUTHENTICATED
        assert (await refused(stub.SubscribeToTask(wire.SubscribeToTaskRequest(id="x"), metadata=wrong).read()))[
            0
        ] == grpc.StatusCode.UNAUTHENTICATED
        poor = await metadata(running, "chat")
        assert (await refused(stub.ListTasks(wire.ListTasksRequest(), metadata=poor)))[0] == grpc.StatusCode.PERMISSION_DENIED
        key = ("x-api-key", poor[0][1].removeprefix("Bearer "))
        assert (await refused(stub.ListTasks(wire.ListTasksRequest(), metadata=[key, VERSION])))[0] == grpc.StatusCode.PERMISSION_DENIED
        for version in ([], [("a2a-version", "0.3")], [("a2a-version", "99.0")]):
            rich = [(await metadata(running))[0], *version]
            told = await refused(stub.ListTasks(wire.ListTasksRequest(), metadata=rich))
            assert told == (grpc.StatusCode.UNIMPLEMENTED, "VERSION_NOT_SUPPORTED")


async def test_another_keys_task_does_not_exist(tmp_path: Path) -> None:
    """SEC-04."""
    async with serving(tmp_path) as (running, stub):
        task = (await stub.SendMessage(said(), metadata=await metadata(running))).task
        other = await metadata(running)
        for call in (
            stub.GetTask(wire.GetTaskRequest(id=task.id), metadata=other),
            stub.CancelTask(wire.CancelTaskRequest(id=task.id), metadata=other),
            stub.SubscribeToTask(wire.SubscribeToTaskRequest(id=task.id), metadata=other).read(),
            stub.SendMessage(wire.SendMessageRequest(message=wire.Message(task_id=task.id, **_MESSAGE)), metadata=other),
        ):
            assert await refused(call) == (grpc.StatusCode.NOT_FOUND, "TASK_NOT_FOUND")
        assert not (await stub.ListTasks(wire.ListTasksRequest(), metadata=await metadata(running))).tasks


async def test_errors_name_the_field_and_tell_no_secret(tmp_path: Path) -> None:
    async with serving(tmp_path) as (running, stub):
        mine = await metadata(running)
        assert (await refused(stub.SendMessage(wire.SendMessageRequest(), metadata=mine)))[0] == grpc.StatusCode.INVALID_ARGUMENT
        assert await refused(stub.CancelTask(wire.CancelTaskRequest(id="x" * 9000), metadata=mine)) == (
            grpc.StatusCode.NOT_FOUND,
            "TASK_NOT_FOUND",
        )
        request = wire.ListTasksRequest(page_token="?")
        with pytest.raises(aio.AioRpcError, match="pageToken"):
            await stub.ListTasks(request, metadata=mine)
        task = (await stub.SendMessage(said("bug", skill="broken"), metadata=mine)).task
        assert task.status.state == wire.TASK_STATE_FAILED
        assert "secret" not in str(task)


async def test_a_client_that_leaves_cancels_the_work(tmp_path: Path) -> None:
    """REL-06: the work of a call that waits for its end is cancelled with the call."""
    held = new_gate()
    async with serving(tmp_path) as (running, stub):
        mine = await metadata(running)
        call = stub.SendMessage(said(skill="slow"), metadata=mine)
        await asyncio.wait_for(held.entered.wait(), 5)
        call.cancel()
        await asyncio.wait_for(held.cancelled.wait(), 5)


async def test_too_large_and_compressed_messages_are_refused(tmp_path: Path) -> None:
    """REL-08: the size of a message is limited, and nothing is unpacked."""
    async with serving(tmp_path, max_body_mb=1) as (running, stub):
        mine = await metadata(running)
        assert (await refused(stub.SendMessage(said("x" * 1_100_000), metadata=mine)))[0] == grpc.StatusCode.RESOURCE_EXHAUSTED
        packed = stub.SendMessage(said("x" * 9000), metadata=mine, compression=grpc.Compression.Gzip)
        assert (await refused(packed))[0] == grpc.StatusCode.UNIMPLEMENTED
        assert (await stub.SendMessage(said("x" * 9000), metadata=mine)).task.status.state == wire.TASK_STATE_COMPLETED


async def test_a_caller_learns_the_secret_of_its_push_config(tmp_path: Path) -> None:
    async with serving(tmp_path, push_allowed_hosts="127.0.0.1") as (running, stub):
        mine = await metadata(running)
        task = (await stub.SendMessage(said(), metadata=mine)).task
        config = wire.TaskPushNotificationConfig(task_id=task.id, id="c1", url="http://127.0.0.1:9/hook", token="t")
        call = stub.CreateTaskPushNotificationConfig(config, metadata=mine)
        assert (await call).id == "c1"
        assert dict(await call.initial_metadata())["x-hubroute-signing-secret"].startswith("whsec_")
        listed = wire.ListTaskPushNotificationConfigsRequest(task_id=task.id)
        assert [one.id for one in (await stub.ListTaskPushNotificationConfigs(listed, metadata=mine)).configs] == ["c1"]
        gone = wire.DeleteTaskPushNotificationConfigRequest(task_id=task.id, id="c1")
        await stub.DeleteTaskPushNotificationConfig(gone, metadata=mine)
        asked = wire.GetTaskPushNotificationConfigRequest(task_id=task.id, id="c1")
        assert (await refused(stub.GetTaskPushNotificationConfig(asked, metadata=mine)))[0] == grpc.StatusCode.NOT_FOUND


async def test_over_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    authority.server("localhost", "127.0.0.1")
    pem = tmp_path / "server1.pem"
    async with running_hub(tmp_path, skills=agent_skills(), grpc_address=HERE, grpc_tls_cert=pem, grpc_tls_key=pem) as running:
        roots = ssl.DER_cert_to_PEM_cert(authority.client().get_ca_certs(binary_form=True)[0]).encode()
        address, mine = running.hub.listening["GRPC"], await metadata(running)
        async with aio.secure_channel(address, grpc.ssl_channel_credentials(roots)) as channel:
            assert (await A2AServiceStub(channel).SendMessage(said(), metadata=mine)).task.id
        async with aio.insecure_channel(address) as channel:
            assert (await refused(A2AServiceStub(channel).SendMessage(said(), metadata=mine)))[0] == grpc.StatusCode.UNAVAILABLE


async def test_where_it_cannot_listen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tmp_path) as (running, _):
        taken = running.hub.listening["GRPC"]
        with pytest.raises(Conflict, match="HUBROUTE_GRPC_ADDRESS"):
            async with running_hub(tmp_path / "two", skills=agent_skills(), grpc_address=taken):
                pass
    with pytest.raises(NotConfigured, match=r"nowhere\.pem"):
        async with running_hub(
            tmp_path / "three", grpc_address=HERE, grpc_tls_cert=tmp_path / "nowhere.pem", grpc_tls_key=tmp_path / "nowhere.pem"
        ):
            pass
    monkeypatch.delitem(sys.modules, "transports._a2a_grpc")
    monkeypatch.setitem(sys.modules, "grpc", None)
    with pytest.raises(NotConfigured, match=r"hubroute\[grpc\]"):
        async with running_hub(tmp_path / "four", grpc_address=HERE):
            pass


async def test_off_by_default(tmp_path: Path) -> None:
    async with running_hub(tmp_path, skills=agent_skills()) as running:
        assert not running.hub.listening


def test_settings(tmp_path: Path) -> None:
    """An address beyond loopback counts as one of HTTP does: no fixtures, no open model API, no programs."""
    for bad in ("nowhere", "http://x:1", "x:", ":1"):
        with pytest.raises(ValidationError, match="grpc_address"):
            Settings(data_dir=tmp_path, grpc_address=bad)
    with pytest.raises(ValidationError, match="go together"):
        Settings(data_dir=tmp_path, grpc_tls_cert=tmp_path)
    with pytest.raises(ValidationError, match="loopback"):
        Settings(data_dir=tmp_path, grpc_address="0.0.0.0:1", test_profile="conformance")
    with pytest.raises(ValidationError, match="loopback"):
        Settings(data_dir=tmp_path, grpc_address="[::]:1", require_api_key=False)
    assert not Settings(data_dir=tmp_path, grpc_address="0.0.0.0:1").programs_allowed
    assert Settings(data_dir=tmp_path, grpc_address="[::1]:1").programs_allowed
