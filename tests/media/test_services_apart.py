"""The services of one account fail apart: what a server does to one leaves the others in service, what the account is told concerns all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.fakes import upstream as faults
from tests.fakes.hub import impatient

if TYPE_CHECKING:
    import httpx

    from tests.fakes.hub import Running
    from tests.fakes.upstream import Behaviour, Received
    from tests.media.conftest import Join

pytestmark = pytest.mark.anyio

VECTORS, CHATS = "/v1/embeddings", "/v1/chat/completions"
EMBED = {"model": "openai/text-embedding-3-small", "input": "x"}
CHAT = {"model": "openai/gpt-5.4-mini", "messages": [{"role": "user", "content": "hello"}]}
SAID: dict[str, Any] = {
    "id": "c",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}
VECTOR = {"object": "list", "data": [{"index": 0, "embedding": [1.0]}], "usage": {"prompt_tokens": 1, "total_tokens": 1}}


class Vendor:
    """Chats and embeddings of one account; each fails as a test says."""

    def __init__(self) -> None:
        self.faults: dict[str, Behaviour] = {}

    def __call__(self, request: Received) -> Behaviour:
        service = "embeddings" if request.target.endswith("/embeddings") else "chat"
        return self.faults.get(service) or faults.json_answer(VECTOR if service == "embeddings" else SAID)


@pytest.fixture
async def vendor(running: Running, joined: Join) -> Vendor:
    made = Vendor()
    await joined("openai", made)
    await impatient(running)
    return made


async def _locks(client: httpx.AsyncClient) -> list[tuple[str, str]]:
    items = (await client.get("/api/resilience/model-cooldowns")).json()["items"]
    return [(one["provider"], one["model"]) for one in items]


@pytest.mark.parametrize(
    "fault",
    [
        faults.json_answer({}, status=500),
        faults.json_answer({}, status=503, headers=[("retry-after", "60")]),
        faults.json_answer({"error": {"message": "no such endpoint"}}, status=404),
        faults.json_answer({"error": {"message": "this key may not embed"}}, status=403),
        faults.close_before_head(),
        faults.html(),
    ],
)
async def test_a_service_that_fails_leaves_chats_alone(client: httpx.AsyncClient, vendor: Vendor, fault: Behaviour) -> None:
    vendor.faults["embeddings"] = fault
    assert (await client.post(VECTORS, json=EMBED)).status_code >= 400
    for _ in range(20):  # more than the breaker of the provider counts
        await client.post(VECTORS, json=EMBED)
    answer = await client.post(CHATS, json=CHAT)
    assert answer.status_code == 200, answer.text
    rows = (await client.get("/api/providers")).json()["connections"]
    assert {row["testStatus"] for row in rows} <= {"unknown", "active"}
    vendor.faults.clear()
    assert (await client.get("/api/monitoring/health")).json()["providerHealth"]["openai"]["state"] == "CLOSED"


async def test_the_lock_of_a_service_is_shown_taken_away_and_ended_by_success(client: httpx.AsyncClient, vendor: Vendor) -> None:
    vendor.faults["embeddings"] = faults.json_answer({}, status=503, headers=[("retry-after", "60")])
    await client.post(VECTORS, json=EMBED)
    assert await _locks(client) == [("openai", "service:embeddings")]
    health = (await client.get("/api/monitoring/health")).json()["lockouts"]
    assert [(one["model"], one["reason"][:3]) for one in health] == [("service:embeddings", "503")]
    cleared = await client.request("DELETE", "/api/resilience/model-cooldowns", json={"provider": "openai", "model": "service:embeddings"})
    assert cleared.status_code == 200, cleared.text
    assert await _locks(client) == []
    await client.post(VECTORS, json=EMBED)
    assert await _locks(client) == [("openai", "service:embeddings")]
    vendor.faults.clear()
    # Nobody else is left, so it is tried all the same, and works.
    assert (await client.post(VECTORS, json=EMBED)).status_code == 200
    assert await _locks(client) == []


@pytest.mark.parametrize("status", [401, 402, 429])
async def test_what_the_account_is_told_concerns_chats_too(client: httpx.AsyncClient, vendor: Vendor, status: int) -> None:
    vendor.faults["embeddings"] = faults.json_answer({"error": {"message": "no"}}, status=status, headers=[("retry-after", "60")])
    await client.post(VECTORS, json=EMBED)
    answer = await client.post(CHATS, json=CHAT)
    assert answer.status_code in (429, 503), answer.text
    assert await _locks(client) == []


async def test_chats_that_fail_in_passing_leave_services_alone(client: httpx.AsyncClient, vendor: Vendor) -> None:
    vendor.faults["chat"] = faults.json_answer({}, status=503, headers=[("retry-after", "60")])
    for _ in range(14):
        await client.post(CHATS, json=CHAT)
    assert (await client.post(VECTORS, json=EMBED)).status_code == 200
    rows = (await client.get("/api/providers")).json()["connections"]
    assert [row["testStatus"] for row in rows] == ["unavailable"]  # an embedding that works proves nothing of chats
