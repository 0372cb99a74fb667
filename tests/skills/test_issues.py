"""Reports of failed issuance: always logged, opened where that is set up, never with a secret or a prompt in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.fakes.hub import running_hub
from tests.fakes.upstream import json_answer, reset_before_head

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fakes.hub import Running
    from tests.fakes.upstream import FaultUpstream

pytestmark = pytest.mark.anyio

TOKEN = "ghp_abcdefghijklmnopqrstuvwxyz0123456789"
REPORT = {
    "title": "no key for openai",
    "provider": "openai",
    "accountId": "acc",
    "requestId": "req_1",
    "errorCode": "PROVIDER_QUOTA_EXCEEDED",
    "labels": ["quota"],
    "details": {
        "attempts": 3,
        "note": "sent with Authorization: Bearer sk-abcdefghijklmnopqrstuvwxyz123456",
        "apiKey": "sk-topsecret",
        "messages": [{"role": "user", "content": "my private words"}],
        "nested": {"prompt": "my private words", "status": 429},
    },
}


def configured(upstream: FaultUpstream) -> dict[str, Any]:
    return {
        "github_issues_repo": "owner/name",
        "github_issues_token": TOKEN,
        "github_api_url": f"http://127.0.0.1:{upstream.port}/api",
        "allow_private": True,
    }


async def send(running: Running, report: Any = None) -> httpx.Response:
    async with httpx.AsyncClient(base_url=running.url, headers=await running.headers("chat")) as client:
        return await client.post("/v1/issues/report", json=report or REPORT)


async def logged(running: Running) -> str:
    rows, _ = await running.hub.store.audit.page(skill="issues-report")
    return rows[0].detail


async def test_without_a_repository_it_is_logged_and_says_what_to_set(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as running:
        answer = await send(running)
        assert answer.status_code == 202
        told = answer.json()
        assert (told["logged"], told["githubIssueCreated"]) == (True, False)
        assert "HUBROUTE_GITHUB_ISSUES_REPO and HUBROUTE_GITHUB_ISSUES_TOKEN" in told["reason"]
        detail = await logged(running)
        assert "no key for openai" in detail
        assert "PROVIDER_QUOTA_EXCEEDED" in detail
        assert "private words" not in detail
        assert "sk-" not in detail


async def test_the_seeds_variables_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ISSUES_REPO", "owner/name")
    async with running_hub(tmp_path) as running:
        assert (await send(running)).json()["missing"] == ["HUBROUTE_GITHUB_ISSUES_TOKEN"]


async def test_an_issue_is_opened_without_secrets_and_prompts(tmp_path: Path, upstream: FaultUpstream) -> None:
    """SEC-25."""
    upstream.answer(json_answer({"html_url": "https://tracker.example/1", "number": 1}, status=201))
    async with running_hub(tmp_path, **configured(upstream)) as running:
        answer = await send(running)
        assert answer.status_code == 200
        body = answer.json()
        assert (body["logged"], body["githubIssueCreated"], body["issueNumber"]) == (True, True, 1)
        assert body["removed"] == ["details.apiKey", "details.messages", "details.nested.prompt"]
        assert TOKEN not in answer.text
    (request,) = upstream.requests
    assert (request.method, request.target) == ("POST", "/api/repos/owner/name/issues")
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    sent = request.json()
    assert (sent["title"], sent["labels"]) == ("no key for openai", ["quota"])
    assert '"attempts": 3' in sent["body"]
    assert '"status": 429' in sent["body"]
    for word in ("private words", "sk-", TOKEN):
        assert word not in request.body.decode()


@pytest.mark.parametrize(
    ("behaviour", "reason"), [(json_answer({"message": "no"}, status=403), "answered 403"), (reset_before_head(), "cannot be reached")]
)
async def test_a_refusal_is_a_207_with_its_reason(tmp_path: Path, upstream: FaultUpstream, behaviour: Any, reason: str) -> None:
    upstream.answer(behaviour)
    async with running_hub(tmp_path, **configured(upstream)) as running:
        answer = await send(running)
        assert answer.status_code == 207
        assert (answer.json()["logged"], answer.json()["githubIssueCreated"]) == (True, False)
        assert reason in answer.json()["reason"]
        assert TOKEN not in answer.text
        assert await logged(running)


async def test_reports_are_limited_by_the_hour(tmp_path: Path, upstream: FaultUpstream) -> None:
    upstream.answer(json_answer({}, status=201))
    async with (
        running_hub(tmp_path, **configured(upstream)) as running,
        httpx.AsyncClient(base_url=running.url, headers=await running.headers("chat")) as client,
    ):
        statuses = [(await client.post("/v1/issues/report", json=REPORT)).status_code for _ in range(6)]
        assert statuses == [200] * 5 + [429]
        others = [(await send(running)).status_code for _ in range(16)]
        assert others == [200] * 15 + [429]
    assert len(upstream.requests) == 20


@pytest.mark.parametrize(
    ("wrong", "field"),
    [({"title": ""}, "title"), ({"surprise": 1}, "surprise"), ({"provider": "x" * 81}, "provider"), ({"details": []}, "details")],
)
async def test_a_bad_report_names_its_field(tmp_path: Path, wrong: dict[str, Any], field: str) -> None:
    async with running_hub(tmp_path) as running:
        answer = await send(running, {**REPORT, **wrong})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, field)
