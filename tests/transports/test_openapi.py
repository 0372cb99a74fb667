"""The OpenAPI document: whole, true, and what a fuzzer makes of it."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from jsonschema import Draft202012Validator
from schemathesis import GenerationMode

from tests.fakes.hub import Running, running_hub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio
#: Addresses that end the hub, or that another test ends: what they do is tested where they are.
_ENDS = ("/api/restart", "/api/shutdown")
#: Statuses above 499 that an answer may have: somebody else failed, or something is to be set up.
_THEIRS = frozenset({501, 502, 503, 504})
_QUICK = settings(
    max_examples=2, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck), derandomize=True
)


@pytest.fixture(scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    async with running_hub(tmp_path_factory.mktemp("openapi"), first_byte_timeout=2.0, request_seconds=5.0, connect_timeout=1.0) as hub:
        yield hub


@pytest.fixture(scope="module")
async def document(running: Running) -> dict[str, Any]:
    async with httpx.AsyncClient(base_url=running.url) as client:
        answer = await client.get("/openapi.json", headers=await running.headers("manage"))
    assert answer.status_code == 200
    return answer.json()


async def test_it_needs_a_credential(running: Running) -> None:
    async with httpx.AsyncClient(base_url=running.url) as client:
        assert (await client.get("/openapi.json")).status_code == 401
        assert (await client.get("/openapi.json", headers=await running.headers("read:models"))).status_code == 200


async def test_every_address_of_every_skill_is_in_it(running: Running, document: dict[str, Any]) -> None:
    told = {(method.upper(), path) for path, operations in document["paths"].items() for method in operations}
    for skill in running.hub.skills:
        for address in skill.rest:
            path = address.path.replace(":path}", "}")
            assert address.moved or (address.method, path) in told, (skill.name, address.path)


async def test_its_schemas_are_schemas_and_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    names: set[str] = set()

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            reference = node.get("$ref")
            if isinstance(reference, str):
                assert reference.startswith("#/components/schemas/"), reference
                names.add(reference.removeprefix("#/components/schemas/"))
            for inner in node.values():
                walk(inner)
        elif isinstance(node, list):
            for inner in node:
                walk(inner)

    walk(document)
    assert names <= document["components"]["schemas"].keys()
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    identities = [one["operationId"] for operations in document["paths"].values() for one in operations.values()]
    assert len(identities) == len(set(identities))


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["as-it-says", "against-it"])
@pytest.mark.parametrize("part", range(8))
async def test_whatever_is_sent_nothing_breaks(running: Running, document: dict[str, Any], mode: GenerationMode, part: int) -> None:
    """What fits the document and what does not: never an error of ours, always JSON that says what is wrong."""
    schema = schemathesis.openapi.from_dict(document)
    headers = await running.headers("manage")
    operations = [found.ok() for found in schema.get_all_operations()]
    chosen = [one for one in operations[part::8] if one.path not in _ENDS]

    def attack() -> None:
        with httpx.Client(base_url=running.url, headers=headers, timeout=30) as client:
            for operation in chosen:
                fuzz(client, operation, mode)

    await anyio.to_thread.run_sync(attack)
    async with httpx.AsyncClient(base_url=running.url) as client:
        assert (await client.get("/health")).status_code == 200


def fuzz(client: httpx.Client, operation: Any, mode: GenerationMode) -> None:
    @given(case=operation.as_strategy(generation_mode=mode))
    @_QUICK
    def send(case: Any) -> None:
        if case.media_type not in (None, "application/json"):
            return  # forms have tests of their own
        sent = case.as_transport_kwargs(base_url=str(client.base_url))
        own = {name: value for name, value in (sent.get("headers") or {}).items() if name.lower() == "content-type"}
        body = {"content": sent["data"]} if isinstance(sent.get("data"), (bytes, str)) else {"json": sent["json"]} if "json" in sent else {}
        with client.stream(sent["method"], sent["url"], params=sent.get("params"), headers=own, **body) as answer:
            if "event-stream" in answer.headers.get("content-type", ""):
                return  # it goes on for as long as somebody listens
            said = answer.read()
        assert answer.status_code < 500 or answer.status_code in _THEIRS, (operation.label, answer.status_code, said[:500])
        assert b"Traceback" not in said
        if answer.status_code >= 400:
            assert b"message" in said or b"error" in said, (operation.label, said[:300])

    with suppress(Unsatisfiable):  # an address without anything to get wrong
        send()
