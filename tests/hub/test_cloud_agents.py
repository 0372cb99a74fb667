"""Tasks for agents elsewhere: vendors that speak as they document it, another hub over A2A, an agent of this machine over ACP."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from hub.cloud_agents import tasks as life
from hub.cloud_agents import template
from hub.cloud_agents.records import Status
from hub.cloud_agents.vendors import vendor_rows
from tests.fakes.acp_agent import install
from tests.fakes.database import make_settings, postgres_database
from tests.fakes.hub import running_hub
from tests.fakes.sdk_agent import BINDINGS, sdk_agent
from tests.fakes.upstream import FaultUpstream, json_answer, raw, reset_before_head

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from tests.fakes.hub import Running
    from tests.fakes.upstream import Behaviour, Received

pytestmark = pytest.mark.anyio

SECRET = "very-secret-vendor-key-0123456789"
SOURCE = {"repoName": "acme/shop", "repoUrl": "https://github.com/acme/shop", "branch": "main"}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks come quickly."""
    monkeypatch.setattr(life, "FIRST_MS", 100)
    monkeypatch.setattr(life, "MOST_MS", 300)
    monkeypatch.setattr(life, "_FRESH_MS", 0)


@pytest.fixture
async def upstream() -> AsyncIterator[FaultUpstream]:
    async with FaultUpstream() as server:
        yield server


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    async with running_hub(tmp_path) as made:
        yield made


class Caller:
    """The owner over REST."""

    def __init__(self, running: Running, headers: dict[str, str]) -> None:
        self.http = httpx.AsyncClient(base_url=running.url, headers=headers, timeout=30)

    async def make(self, provider: str, *, status: int = 201, **more: Any) -> Any:
        answer = await self.http.post(
            "/api/v1/agents/tasks", json={"providerId": provider, "prompt": "Fix the bug", "source": SOURCE, **more}
        )
        assert answer.status_code == status, answer.text
        return answer.json()["data"] if status == 201 else answer.json()

    async def get(self, task_id: str) -> Any:
        answer = await self.http.get(f"/api/v1/agents/tasks/{task_id}")
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    async def act(self, task_id: str, action: str, *, status: int = 200, **more: str) -> Any:
        answer = await self.http.post(f"/api/v1/agents/tasks/{task_id}", json={"action": action, **more})
        assert answer.status_code == status, answer.text
        return answer.json()

    async def credential(self, provider: str, url: str, key: str = SECRET) -> Any:
        body = {"providerId": provider, "apiKey": key, "baseUrl": url, "allowPrivate": True}
        answer = await self.http.post("/api/v1/agents/credentials", json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()["data"]

    async def until(self, task_id: str, *states: str, read: bool = True) -> Any:
        """The task once it is in one of the states."""
        end = time.monotonic() + 15
        while time.monotonic() < end:
            if read:
                task = await self.get(task_id)
            else:
                listed = (await self.http.get("/api/v1/agents/tasks")).json()["data"]
                task = next(one for one in listed if one["id"] == task_id)
            if task["status"] in states:
                return task
            await asyncio.sleep(0.05)
        raise AssertionError(f"the task is still {task['status']}: {task['error']}")


@pytest.fixture
async def owner(running: Running) -> AsyncIterator[Caller]:
    caller = Caller(running, await running.headers("manage"))
    yield caller
    await caller.http.aclose()


class Vendor:
    """A vendor's side: its task passes through the states, one at each look, and notes what it is told."""

    def __init__(self, *states: Any) -> None:
        self.states = list(states)
        self.told: list[tuple[str, str, Any]] = []

    def look(self) -> Any:
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]

    def note(self, request: Received) -> Behaviour:
        self.told.append((request.method, request.target, json.loads(request.body) if request.body else None))
        return json_answer({})


def jules(vendor: Vendor) -> Callable[[Received], Behaviour]:
    """https://developers.google.com/jules/api, v1alpha."""
    plan = {"id": "p1", "steps": [{"id": "s1", "title": "Read", "index": 0}, {"id": "s2", "title": "Fix", "index": 1}]}
    activities = [
        {
            "name": "sessions/31/activities/a1",
            "id": "a1",
            "createTime": "2026-11-01T10:00:00.123456789Z",
            "originator": "agent",
            "planGenerated": {"plan": plan},
        },
        {
            "name": "sessions/31/activities/a2",
            "id": "a2",
            "createTime": "2026-11-01T10:01:00Z",
            "originator": "agent",
            "progressUpdated": {"title": "Ran tests", "description": "ok"},
        },
    ]
    last = {
        "name": "sessions/31/activities/a3",
        "id": "a3",
        "createTime": "2026-11-01T10:02:00Z",
        "originator": "agent",
        "sessionCompleted": {},
    }
    done = {"pullRequest": {"url": "https://github.com/acme/shop/pull/7", "title": "Fix it", "description": "It is fixed"}}

    def handle(request: Received) -> Behaviour:
        assert request.headers["x-goog-api-key"] == SECRET
        path, _, query = request.target.partition("?")
        if (request.method, path) == ("POST", "/sessions"):
            vendor.note(request)
            return json_answer({"name": "sessions/31", "id": "31", "prompt": "Fix the bug", "state": "QUEUED"})
        if (request.method, path) == ("GET", "/sessions/31"):
            state = vendor.look()
            return json_answer({"name": "sessions/31", "id": "31", "state": state, "outputs": [done] if state == "COMPLETED" else []})
        if (request.method, path) == ("GET", "/sessions/31/activities"):
            if "pageToken=n%26xt" in query:
                return json_answer({"activities": [last]})
            return json_answer({"activities": activities, "nextPageToken": "n&xt"})
        return vendor.note(request)

    return handle


def devin(vendor: Vendor) -> Callable[[Received], Behaviour]:
    """https://docs.devin.ai/api-reference, v1."""

    def handle(request: Received) -> Behaviour:
        assert request.headers["authorization"] == f"Bearer {SECRET}"
        if (request.method, request.target) == ("POST", "/sessions"):
            vendor.note(request)
            return json_answer({"session_id": "devin-31", "url": "https://app.devin.ai/sessions/31", "is_new_session": True})
        if (request.method, request.target) == ("GET", "/sessions/devin-31"):
            state = vendor.look()
            messages = [{"event_id": "e1", "type": "devin_message", "message": "I began", "timestamp": "2026-11-01T10:00:00+00:00"}]
            pull = {"pull_request": {"url": "https://github.com/acme/shop/pull/8"}} if state == "finished" else {"pull_request": None}
            return json_answer(
                {"session_id": "devin-31", "status": "running", "status_enum": state, "title": "Fix", "messages": messages, **pull}
            )
        return vendor.note(request)

    return handle


def codex(vendor: Vendor) -> Callable[[Received], Behaviour]:
    """The seed's paths."""

    def handle(request: Received) -> Behaviour:
        assert request.headers["authorization"] == f"Bearer {SECRET}"
        if (request.method, request.target) == ("POST", "/tasks"):
            vendor.note(request)
            return json_answer({"id": "cx_31", "status": "pending"})
        if (request.method, request.target) == ("GET", "/tasks/cx_31"):
            state = vendor.look()
            return json_answer(
                {"id": "cx_31", "status": state, "pr_url": "https://github.com/acme/shop/pull/9" if state == "done" else None}
            )
        return vendor.note(request)

    return handle


def cursor(vendor: Vendor) -> Callable[[Received], Behaviour]:
    """https://cursor.com/docs/cloud-agent/api, v0."""

    def handle(request: Received) -> Behaviour:
        assert request.headers["authorization"] == f"Bearer {SECRET}"
        agent = {
            "id": "bc_31",
            "name": "Fix",
            "source": {"repository": SOURCE["repoUrl"], "ref": "main"},
            "createdAt": "2026-11-01T10:00:00Z",
        }
        if (request.method, request.target) == ("POST", "/agents"):
            vendor.note(request)
            return json_answer({**agent, "status": "CREATING", "target": {"branchName": "x", "url": "https://cursor.com/agents?id=bc_31"}})
        if (request.method, request.target) == ("GET", "/agents/bc_31"):
            state = vendor.look()
            target = {"branchName": "x", "prUrl": "https://github.com/acme/shop/pull/10"} if state == "FINISHED" else {"branchName": "x"}
            return json_answer({**agent, "status": state, "target": target, "summary": "Fixed it" if state == "FINISHED" else None})
        if (request.method, request.target) == ("GET", "/agents/bc_31/conversation"):
            messages = [
                {"id": "m1", "type": "user_message", "text": "Fix the bug"},
                {"id": "m2", "type": "assistant_message", "text": "I look"},
            ]
            return json_answer({"id": "bc_31", "messages": messages})
        return vendor.note(request)

    return handle


#: id, its side, the states it passes through, id there, first request, number of the pull request, activities, message, approve, cancel
VENDORS: dict[str, tuple[Any, ...]] = {
    "jules": (
        jules, ("QUEUED", "PLANNING", "IN_PROGRESS", "COMPLETED"), "31",
        ("/sessions", {"prompt": "Fix the bug", "title": "Fix the bug", "automationMode": "AUTO_CREATE_PR", "requirePlanApproval": True,
                       "sourceContext": {"source": "sources/github/acme/shop", "githubRepoContext": {"startingBranch": "main"}}}),
        7, [("a1", "plan", "Read\nFix"), ("a2", "command", "Ran tests"), ("a3", "completion", "The session is complete.")],
        ("POST", "/sessions/31:sendMessage", {"prompt": "go on"}), ("POST", "/sessions/31:approvePlan", {}), None,
    ),
    "devin": (
        devin, ("working", "working", "finished"), "devin-31",
        ("/sessions", {"prompt": "Fix the bug\n\nRepository: https://github.com/acme/shop (branch main)", "title": "Fix the bug"}),
        8, [("e1", "message", "I began")],
        ("POST", "/sessions/devin-31/message", {"message": "go on"}), None, ("DELETE", "/sessions/devin-31", None),
    ),
    "codex-cloud": (
        codex, ("pending", "running", "done"), "cx_31",
        ("/tasks", {"prompt": "Fix the bug", "repository_context": "https://github.com/acme/shop", "branch": "main",
                    "environment": {"setup": "make"}}),
        9, [], ("POST", "/tasks/cx_31/followup", {"message": "go on"}), None, None,
    ),
    "cursor-cloud": (
        cursor, ("CREATING", "RUNNING", "FINISHED"), "bc_31",
        ("/agents", {"prompt": {"text": "Fix the bug"}, "source": {"repository": "https://github.com/acme/shop", "ref": "main"},
                     "target": {"autoCreatePr": True}}),
        10, [("m1", "message", "Fix the bug"), ("m2", "message", "I look")],
        ("POST", "/agents/bc_31/followup", {"prompt": {"text": "go on"}}), None, ("POST", "/agents/bc_31/stop", {}),
    ),
}  # fmt: skip
OPTIONS = {"autoCreatePr": True, "planApprovalRequired": True, "environment": {"setup": "make"}}


def test_every_vendor_is_tested() -> None:
    assert {row.id for row in vendor_rows()} == set(VENDORS)
    assert {row.id: row.verified for row in vendor_rows()} == {
        "jules": "documented", "devin": "documented", "codex-cloud": "unverified", "cursor-cloud": "documented",
    }  # fmt: skip


@pytest.mark.parametrize("provider", VENDORS)
async def test_a_task_from_its_beginning_to_its_end(owner: Caller, upstream: FaultUpstream, provider: str) -> None:
    side, states, external, (path, body), number, done, *_ = VENDORS[provider]
    vendor = Vendor(*states)
    upstream.script(side(vendor))
    await owner.credential(provider, upstream.url)
    task = await owner.make(provider, options=OPTIONS)
    assert task["id"].startswith("task_")
    assert (task["status"], task["externalId"], task["result"]) == ("queued", external, None)
    assert vendor.told == [("POST", path, body)]
    # Nobody reads it: the hub looks by itself.
    ended = await owner.until(task["id"], "completed", read=False)
    assert ended["result"]["prNumber"] == number
    assert ended["result"]["prUrl"] == f"https://github.com/acme/shop/pull/{number}"
    whole = await owner.get(task["id"])
    assert [(one["id"], one["type"], one["content"]) for one in whole["activities"]] == done
    assert whole["completedAt"]
    assert whole["options"]["environment"] == {"setup": "…"}
    assert SECRET not in json.dumps(whole)


@pytest.mark.parametrize("provider", VENDORS)
async def test_what_a_vendor_can_be_told(owner: Caller, upstream: FaultUpstream, provider: str) -> None:
    side, states, *_, message, approve, cancel = VENDORS[provider]
    vendor = Vendor(states[1])
    upstream.script(side(vendor))
    await owner.credential(provider, upstream.url)
    task = await owner.make(provider)
    await owner.act(task["id"], "message", message="go on")
    assert vendor.told[-1] == message
    answer = await owner.act(task["id"], "approve", status=200 if approve else 409)
    if approve:
        assert vendor.told[-1] == approve
        assert "cancel_unsupported" not in answer
    else:
        assert answer["code"] == "approve_unsupported"
    before = len(vendor.told)
    answer = await owner.act(task["id"], "cancel")
    assert answer["data"]["status"] == "cancelled"
    assert answer["cancel_unsupported"] is (cancel is None)
    assert vendor.told[before:] == ([cancel] if cancel else [])
    assert ("cannot be told to stop" in answer["data"]["activities"][-1]["content"]) is (cancel is None)
    assert (await owner.act(task["id"], "cancel", status=409))["code"] == "task_over"
    assert (await owner.act(task["id"], "message", status=409, message="x"))["code"] == "task_over"
    assert (await owner.get(task["id"]))["status"] == "cancelled"


async def test_activities_are_only_ever_added(owner: Caller, upstream: FaultUpstream) -> None:
    """REL-19: looked at again and again, each is there once, in its order, with the vendor's id and time."""
    upstream.script(jules(Vendor("IN_PROGRESS")))
    await owner.credential("jules", upstream.url)
    task = await owner.make("jules")
    for _ in range(5):
        whole = await owner.get(task["id"])
    assert [one["id"] for one in whole["activities"]] == ["a1", "a2", "a3"]
    assert whole["activities"][0]["timestamp"] == "2026-11-01T10:00:00.123Z"


async def test_looks_become_rarer_while_nothing_changes(owner: Caller, upstream: FaultUpstream) -> None:
    upstream.script(codex(Vendor("running")))
    await owner.credential("codex-cloud", upstream.url)
    task = await owner.make("codex-cloud")
    await asyncio.sleep(3)
    looks = sum(request.method == "GET" for request in upstream.requests)
    assert 2 <= looks <= 4
    assert (await owner.until(task["id"], "running"))["error"] is None


@pytest.mark.parametrize(
    "fault",
    [reset_before_head(), raw(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n"), json_answer({"error": "x"}, status=401)],
    ids=["reset", "500", "401"],
)
async def test_a_vendor_that_is_down_for_a_while(owner: Caller, upstream: FaultUpstream, fault: Behaviour) -> None:
    """REL-19: a look that fails is repeated and says so meanwhile; the task goes on."""
    vendor = Vendor("running")
    working = codex(vendor)
    down = [False]
    upstream.script(lambda request: fault if down[0] else working(request))
    await owner.credential("codex-cloud", upstream.url)
    task = await owner.make("codex-cloud")
    down[0] = True
    end = time.monotonic() + 10
    while (found := await owner.get(task["id"]))["error"] is None and time.monotonic() < end:
        await asyncio.sleep(0.05)
    assert found["status"] in ("queued", "running")
    assert "could not be looked at" in found["error"]
    down[0] = False
    vendor.states = ["done"]
    assert (await owner.until(task["id"], "completed"))["error"] is None


async def test_a_task_that_the_vendor_forgot_fails(owner: Caller, upstream: FaultUpstream) -> None:
    upstream.script(codex(Vendor("running")))
    await owner.credential("codex-cloud", upstream.url)
    task = await owner.make("codex-cloud")
    upstream.script(lambda _: json_answer({"error": "no such task"}, status=404))
    assert "no such task" in (await owner.until(task["id"], "failed"))["error"]


async def test_a_vendor_that_refuses_the_task(owner: Caller, upstream: FaultUpstream) -> None:
    """SEC-25: its words are passed on, our key is not."""
    upstream.script(lambda _: json_answer({"error": f"bad key {SECRET}"}, status=403))
    await owner.credential("devin", upstream.url)
    answer = await owner.make("devin", status=403)
    assert "Devin answered 403" in answer["error"]
    assert SECRET not in json.dumps(answer)
    listed = (await owner.http.get("/api/v1/agents/tasks", params={"status": "failed"})).json()["data"]
    assert [one["providerId"] for one in listed] == ["devin"]


async def test_links_of_a_vendor_are_kept_only_if_they_may_be_opened(owner: Caller, upstream: FaultUpstream) -> None:
    """SEC-32, SEC-53"""

    def answer(request: Received) -> Behaviour:
        links = {"pr_url": "javascript:alert(1)//pull/3", "diff_url": "file:///etc/passwd", "summary": "x"}
        return json_answer({"id": "1", "status": "done", **links})

    upstream.script(answer)
    await owner.credential("codex-cloud", upstream.url)
    task = await owner.make("codex-cloud")
    assert task["result"] == {"summary": "x"}


async def test_an_id_of_a_vendor_cannot_leave_its_place(owner: Caller, upstream: FaultUpstream) -> None:
    """SEC-13"""
    seen: list[str] = []

    def answer(request: Received) -> Behaviour:
        seen.append(request.target)
        return json_answer({"id": "a/../../admin", "status": "running"})

    upstream.script(answer)
    await owner.credential("codex-cloud", upstream.url)
    await owner.get((await owner.make("codex-cloud"))["id"])
    assert seen[1] == "/tasks/a%2F..%2F..%2Fadmin"
    upstream.script(lambda _: json_answer({"id": "a b\r\nx: y", "status": "running"}))
    assert "usable id" in (await owner.make("codex-cloud", status=502))["error"]


def test_what_is_filled_in_is_never_read_again() -> None:
    """SEC-33"""
    facts = {"prompt": "{key} {repo}", "repo": "acme/shop", "flag": True}
    assert template.fill({"a": "{prompt} in {repo}", "b": "{missing}", "c": {"d": "{missing}"}, "e": {"if": "flag", "then": 1}}, facts) == {
        "a": "{key} {repo} in acme/shop",
        "e": 1,
    }
    assert template.values({"a": [{"b": 1}, {"b": None}, {"c": 2}]}, "a.*.b|a.*.c") == [1]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"providerId": "nobody"}, "providerId"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": "x" * 10_001}, "prompt"),
        ({"source": {}}, "source.repoUrl"),
        ({"source": {"repoUrl": "file:///etc"}}, "source.repoUrl"),
        ({"source": {"repoName": "../.."}}, "source.repoUrl"),
        ({"providerId": "devin"}, "providerId"),
        ({"providerId": "a2a", "source": {}}, "source.agentUrl"),
        ({"providerId": "a2a", "source": {"agentUrl": "ftp://x"}}, "source.agentUrl"),
        ({"providerId": "acp", "source": {}}, "source.agent"),
    ],
    ids=str,
)
async def test_what_is_wrong_with_a_task_is_named(owner: Caller, upstream: FaultUpstream, body: Any, field: str) -> None:
    await owner.credential("jules", upstream.url)
    answer = await owner.make("jules", status=400, **body)
    assert answer["error"]["details"][0]["field"] == field
    assert (await owner.http.get("/api/v1/agents/tasks")).json() == {"data": []}


@pytest.mark.parametrize(
    "source",
    [{"repo": "acme/shop", "branch": "main"}, {"repo": "https://github.com/acme/shop.git"}, {"repoUrl": "https://github.com/acme/shop"}],
    ids=str,
)
async def test_both_spellings_of_a_source(owner: Caller, upstream: FaultUpstream, source: Any) -> None:
    vendor = Vendor("QUEUED")
    upstream.script(jules(vendor))
    await owner.credential("jules", upstream.url)
    await owner.make("jules", source=source)
    assert vendor.told[0][2]["sourceContext"]["source"] == "sources/github/acme/shop"


async def test_the_same_key_gives_the_first_task(owner: Caller, upstream: FaultUpstream) -> None:
    """REL-19: a task begins once."""
    vendor = Vendor("QUEUED")
    upstream.script(jules(vendor))
    await owner.credential("jules", upstream.url)
    made = await asyncio.gather(*(owner.make("jules", idempotencyKey="k1") for _ in range(5)))
    assert len({one["id"] for one in made}) == 1
    assert len(vendor.told) == 1


async def test_tasks_are_listed_and_deleted(owner: Caller, upstream: FaultUpstream) -> None:
    upstream.script(codex(Vendor("running")))
    await owner.credential("codex-cloud", upstream.url)
    tasks = [await owner.make("codex-cloud") for _ in range(3)]

    async def ids(**query: Any) -> list[str]:
        return [one["id"] for one in (await owner.http.get("/api/v1/agents/tasks", params=query)).json()["data"]]

    assert set(await ids()) == {one["id"] for one in tasks}
    assert await ids(provider="jules") == []
    assert len(await ids(limit=2)) == 2
    assert (await owner.http.get("/api/v1/agents/tasks", params={"limit": 501})).status_code == 400
    assert (await owner.http.delete(f"/api/v1/agents/tasks/{tasks[0]['id']}")).json() == {"success": True}
    assert (await owner.http.delete("/api/v1/agents/tasks", params={"id": tasks[1]["id"]})).json() == {"success": True}
    assert await ids() == [tasks[2]["id"]]
    for answer in (
        await owner.http.get("/api/v1/agents/tasks/nope"),
        await owner.http.delete("/api/v1/agents/tasks/nope"),
        await owner.http.post("/api/v1/agents/tasks/nope", json={"action": "cancel"}),
    ):
        assert (answer.status_code, answer.json()) == (404, {"error": "Task not found"})
    bad = await owner.http.post(f"/api/v1/agents/tasks/{tasks[2]['id']}", json={"action": "message"})
    assert bad.status_code == 400


async def test_only_the_owner_may(running: Running) -> None:
    """SEC-03"""
    async with httpx.AsyncClient(base_url=running.url, headers=await running.headers("operator", "process")) as http:
        for method, path in (
            ("GET", "tasks"), ("POST", "tasks"), ("DELETE", "tasks"), ("GET", "tasks/x"), ("POST", "tasks/x"), ("DELETE", "tasks/x"),
            ("GET", "credentials"), ("POST", "credentials"), ("DELETE", "credentials"),
        ):  # fmt: skip
            assert (await http.request(method, f"/api/v1/agents/{path}")).status_code == 403


async def test_credentials_are_masked_sealed_and_sent_nowhere_else(owner: Caller, running: Running, upstream: FaultUpstream) -> None:
    """SEC-14, SEC-22, SEC-26"""
    made = await owner.credential("jules", upstream.url)
    assert made["apiKey"] == "…6789"
    listed = (await owner.http.get("/api/v1/agents/credentials")).json()
    assert [one["providerId"] for one in listed["data"]] == ["jules"]
    assert {one["id"]: one["verified"] for one in listed["providers"]} == {
        "jules": "documented", "devin": "documented", "codex-cloud": "unverified", "cursor-cloud": "documented",
        "a2a": "tested", "acp": "tested",
    }  # fmt: skip
    assert SECRET not in json.dumps(listed)
    files = [path.read_bytes() for path in running.hub.settings.data_dir.iterdir() if path.is_file()]
    assert not any(SECRET.encode() in data for data in files)
    rows, _ = await running.hub.store.audit.page(skill="agent-credentials-set")
    assert SECRET not in rows[0].detail
    # The same name replaces key and address together.
    await owner.credential("jules", f"{upstream.url}/other", "another-key-abcdefgh")
    listed = (await owner.http.get("/api/v1/agents/credentials")).json()["data"]
    assert [(one["apiKey"], one["baseUrl"]) for one in listed] == [("…efgh", f"{upstream.url}/other")]
    assert (await owner.http.delete("/api/v1/agents/credentials", params={"id": made["id"]})).json() == {"success": True}
    assert (await owner.make("jules", status=400))["error"]["code"] == "no_credentials"


async def test_private_addresses_only_where_the_credential_says_so(owner: Caller, upstream: FaultUpstream) -> None:
    """SEC-10"""
    body = {"providerId": "jules", "apiKey": SECRET, "baseUrl": upstream.url}
    assert (await owner.http.post("/api/v1/agents/credentials", json=body)).status_code == 201
    assert "private" in (await owner.make("jules", status=502))["error"]
    answer = await owner.make("a2a", status=502, source={"agentUrl": upstream.url})
    assert "private" in answer["error"]
    assert not upstream.requests


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "sqlite":
        yield ""
        return
    with postgres_database() as made:
        yield made


async def test_tasks_survive_a_restart(tmp_path: Path, upstream: FaultUpstream, url: str) -> None:
    """REL-19: what a stopped hub left is looked after by the next one; what never got an id there fails."""
    from hub.call import Hub
    from hub.cloud_agents.records import CloudTask

    vendor = Vendor("working")
    upstream.script(devin(vendor))
    settings = make_settings(tmp_path, url)
    first = Hub(settings)
    await first.open()
    await first.cloud_tasks.credentials.put("devin", "main", SECRET, base_url=upstream.url, allow_private=True)
    task = await first.cloud_tasks.create("devin", "Fix", SOURCE, {})
    now = first.clock.now_ms()
    half = CloudTask(
        id="task_half", provider_id="devin", status=Status.QUEUED, prompt="x", source=SOURCE, options={}, created_at=now, updated_at=now,
        credential_id=task.credential_id, next_poll_at=now if url else now + 120_000, wait_ms=100,
    )  # fmt: skip
    await first.cloud_tasks.close()
    await first.store.cloud_tasks.create(half)
    await first.close()
    vendor.states = ["finished"]
    second = Hub(settings)
    await second.open()
    try:
        end = time.monotonic() + 15
        while time.monotonic() < end:
            found = [await second.store.cloud_tasks.get(one) for one in (task.id, half.id)]
            if all(one is not None and one.over for one in found):
                break
            await asyncio.sleep(0.1)
        assert [one.status for one in found if one] == [Status.COMPLETED, Status.FAILED]
        assert found[1] is not None
        assert "before the agent had confirmed" in found[1].error
        assert [one.id for one in await second.store.cloud_tasks.activities(task.id)] == ["e1"]
        assert await second.store.cloud_tasks.prune(second.clock.now_ms() + 1) == 2
        assert await second.store.cloud_tasks.activities(task.id) == []
    finally:
        await second.close()


async def test_two_processes_look_at_a_task_in_turn(tmp_path: Path) -> None:
    """D24: a claim is won once; a task that runs inside another process is left to it, until that one is gone."""
    from hub.call import Hub
    from hub.cloud_agents.records import CloudTask

    with postgres_database() as database:
        hubs = [Hub(make_settings(tmp_path, database)) for _ in range(2)]
        try:
            for hub in hubs:
                await hub.open()
            now = hubs[0].clock.now_ms()
            fields: dict[str, Any] = {"prompt": "x", "source": {}, "options": {}, "created_at": now, "updated_at": now, "external_id": "e"}
            rows = [
                CloudTask(id=one, provider_id="acp", status=Status.RUNNING, next_poll_at=at, wait_ms=1, **fields)
                for one, at in (("later", now + 10**7), ("theirs", now - 1000), ("lost", now - life.LOST_MS - 1000))
            ]
            for row in rows:
                await hubs[0].store.cloud_tasks.create(row)
            found = [await hub.store.cloud_tasks.get("later") for hub in hubs]
            won = await asyncio.gather(*(hub.store.cloud_tasks.claim(row, 9**15) for hub, row in zip(hubs, found, strict=True) if row))
            assert sorted(won) == [False, True]
            hubs[1].cloud_tasks._wake.set()
            await asyncio.sleep(2)
            states = {one: (await hubs[0].store.cloud_tasks.get(one)) for one in ("theirs", "lost")}
            assert {one: row.status for one, row in states.items() if row} == {"theirs": Status.RUNNING, "lost": Status.FAILED}
        finally:
            for hub in hubs:
                await hub.close()


# ---------------------------------------------------------------------- another hub over A2A


@pytest.fixture
async def other(tmp_path: Path) -> AsyncIterator[Running]:
    async with running_hub(tmp_path / "other") as made:
        yield made


async def a2a(owner: Caller, other: Running, *scopes: str) -> None:
    await owner.credential("a2a", other.url, await other.key(*(scopes or ("operator",))))


async def test_another_hub_is_given_a_task(owner: Caller, other: Running) -> None:
    await a2a(owner, other)
    task = await owner.make("a2a", source={}, prompt="Hello there")
    ended = await owner.until(task["id"], "completed", read=False)
    assert ended["result"]["summary"]
    whole = await owner.get(task["id"])
    assert whole["activities"][-1]["type"] == "completion"
    assert whole["externalId"]


async def test_another_hub_s_task_is_cancelled_there(owner: Caller, other: Running) -> None:
    await a2a(owner, other)
    words = "word " * 400
    source = {"metadata": {"skill": "smart-routing", "model": "demo/demo-slow"}, "agentUrl": other.url}
    task = await owner.make("a2a", source=source, prompt=words)
    answer = await owner.act(task["id"], "cancel")
    assert (answer["data"]["status"], answer["cancel_unsupported"]) == ("cancelled", False)
    there = await other.hub.tasks.find(task["externalId"], None)
    assert there.state.value == "canceled"


async def test_a_key_is_not_sent_to_another_address(owner: Caller, other: Running, upstream: FaultUpstream) -> None:
    """SEC-14: the address of a task chooses the credential of that address, or none."""
    await a2a(owner, other)
    card = {"supportedInterfaces": [{"url": f"{other.url}/a2a", "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}]}
    upstream.answer(json_answer(card))
    answer = await owner.make("a2a", source={"agentUrl": upstream.url}, status=502)
    assert "private" in answer["error"]
    await owner.credential("a2a", upstream.url)  # replaces the other by name
    answer = await owner.make("a2a", source={"agentUrl": upstream.url}, status=502)
    assert "another host" in answer["error"]
    assert all("authorization" not in request.headers for request in upstream.requests)


@pytest.mark.parametrize("answer", [{"supportedInterfaces": []}, {"url": "http://x/a2a", "protocolVersion": "0.9"}, [], "card"], ids=str)
async def test_cards_that_say_nothing_to_us(owner: Caller, upstream: FaultUpstream, answer: Any) -> None:
    """SEC-57"""
    upstream.answer(json_answer(answer))
    await owner.credential("a2a", upstream.url)
    error = (await owner.make("a2a", source={}, status=502))["error"]
    assert "no interface" in error or "no JSON object" in error


async def test_an_agent_that_wants_a_key(owner: Caller, other: Running) -> None:
    await owner.credential("a2a", other.url, "hr_wrong")
    answer = await owner.make("a2a", source={}, status=503)
    assert "hr_wrong" not in json.dumps(answer)
    assert "wants a credential" in answer["error"]


@pytest.mark.parametrize(("binding", "version"), BINDINGS)
async def test_a_remote_agent_of_the_hub_by_name(owner: Caller, binding: str, version: str) -> None:
    """An agent that was added and allowed does tasks, with its own credential, in whatever it speaks."""
    async with sdk_agent(binding, version) as remote:
        await owner.make("a2a", source={"agent": "far"}, status=404)
        added = {"name": "far", "url": remote.url, "allowPrivate": True, "credential": "hush-hush-1"}
        assert (await owner.http.post("/api/agents", json=added)).status_code == 201
        await owner.make("a2a", source={"agent": "far"}, status=503)
        await owner.http.post("/api/agents/far/approve")
        task = await owner.make("a2a", source={"agent": "far"}, prompt="ask")
        await owner.until(task["id"], "awaiting_approval")
        await owner.act(task["id"], "message", message="echo Paris")
        ended = await owner.until(task["id"], "completed")
        assert "Paris" in ended["result"]["summary"]
        sent = [headers["authorization"] for path, headers in remote.seen if path != "/.well-known/agent-card.json"]
        assert set(sent) == {"Bearer hush-hush-1"}


# ---------------------------------------------------------------------- an agent of this machine over ACP


@pytest.fixture
async def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Running, Caller]]:
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    install(tmp_path / "bin", "gemini")
    async with running_hub(tmp_path, acp_enabled=True) as running:
        caller = Caller(running, await running.headers("manage"))
        yield running, caller
        await caller.http.aclose()


HERE = {"agent": "gemini-cli"}


async def test_an_agent_here_is_given_a_task(local: tuple[Running, Caller]) -> None:
    _, owner = local
    task = await owner.make("acp", source=HERE, prompt="hello")
    ended = await owner.until(task["id"], "completed", read=False)
    assert ended["result"] == {"summary": "Hello, wörld"}
    whole = await owner.get(task["id"])
    assert [(one["type"], one["content"]) for one in whole["activities"]] == [
        ("plan", "[pending] say hello"), ("message", "Look around (completed)"), ("completion", "Hello, wörld"),
    ]  # fmt: skip


async def test_a_person_approves_what_an_agent_here_does(local: tuple[Running, Caller]) -> None:
    _, owner = local
    for action, answer in (("approve", "yes"), ("message", "and this too")):
        task = await owner.make("acp", source=HERE, prompt="permission execute", options={"planApprovalRequired": True})
        waiting = await owner.until(task["id"], "awaiting_approval")
        assert "waits for approval to use Run make" in waiting["activities"][-1]["content"]
        await owner.act(task["id"], action, **({"message": answer} if action == "message" else {}))
        ended = await owner.until(task["id"], "completed")
        assert ended["result"]["summary"] == answer
    assert (await owner.act(task["id"], "approve", status=409))["code"] == "task_over"


async def test_without_a_person_to_ask_tools_are_refused(local: tuple[Running, Caller]) -> None:
    _, owner = local
    task = await owner.make("acp", source=HERE, prompt="permission execute")
    ended = await owner.until(task["id"], "completed")
    assert ended["result"]["summary"] == "no"
    assert "refused" in ended["activities"][0]["content"]


async def test_an_agent_here_is_cancelled_and_gone(local: tuple[Running, Caller]) -> None:
    """REL-18, REL-19"""
    running, owner = local
    task = await owner.make("acp", source=HERE, prompt="slow")
    assert running.hub.agents.running == 1
    answer = await owner.act(task["id"], "cancel")
    assert (answer["data"]["status"], answer["cancel_unsupported"]) == ("cancelled", False)
    assert running.hub.agents.running == 0
    task = await owner.make("acp", source=HERE, prompt="slow")
    assert (await owner.http.delete(f"/api/v1/agents/tasks/{task['id']}")).status_code == 200
    assert running.hub.agents.running == 0


async def test_an_agent_here_that_fails_or_cannot_start(local: tuple[Running, Caller]) -> None:
    _, owner = local
    task = await owner.make("acp", source=HERE, prompt="crash")
    assert "the disk is full" in (await owner.until(task["id"], "failed"))["error"]
    assert (await owner.make("acp", source={"agent": "nobody"}, status=404))["error"].startswith("there is no agent")
    assert (await owner.make("acp", source={**HERE, "folder": "/"}, status=403))["error"]["details"]["code"] == "acp_folder_not_allowed"


async def test_a_hub_that_stops_says_so_in_its_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """REL-18, REL-19: no task stays running, no process stays."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    install(tmp_path / "bin", "gemini")
    from hub.call import Hub
    from hub.settings import Settings

    settings = Settings(data_dir=tmp_path / "data", acp_enabled=True)
    hub = Hub(settings)
    await hub.open()
    task = await hub.cloud_tasks.create("acp", "slow", HERE, {})
    lost = await hub.cloud_tasks.create("acp", "slow", HERE, {})
    await hub.close()
    hub = Hub(settings)
    await hub.open()
    try:
        for one in (task, lost):
            found = await hub.store.cloud_tasks.get(one.id)
            assert found is not None
            assert (found.status, found.error) == (Status.FAILED, "the hub stopped while it worked on this")
    finally:
        await hub.close()


async def test_what_is_told_through_mcp(local: tuple[Running, Caller]) -> None:
    running, _ = local
    hub = running.hub
    tools = {
        "hubroute_agent_tasks",
        "hubroute_agent_task_create",
        "hubroute_agent_task_get",
        "hubroute_agent_task_act",
        "hubroute_agent_prompt",
    }
    assert tools <= set(hub.skills.by_tool)
