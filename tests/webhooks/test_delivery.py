"""Deliveries: receivers that misbehave, the log, switching off, sending again, two processes, and kills."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from hub import delivery
from hub.outbound.client import Outbound
from hub.store import webhooks as rows
from hub.webhooks import webhooks
from tests.fakes.certificates import Authority
from tests.fakes.command import answer as command
from tests.fakes.command import serving
from tests.fakes.hub import running_hub
from tests.fakes.receiver import Receiver, signed_by
from tests.fakes.upstream import Behaviour, answer_bytes, drip, json_answer, reset_before_head, silent

if TYPE_CHECKING:
    from pathlib import Path

    from tests.webhooks.conftest import Desk

pytestmark = pytest.mark.anyio
both = pytest.mark.parametrize("database_url", ["sqlite", "postgres"], indirect=True)

BUSY, OK = json_answer({}, status=503), json_answer({})


def warn(desk: Desk, **data: Any) -> None:
    desk.running.hub.events.emit("budget.warning", budget="hub", **data)


async def until(check: Any, seconds: float = 5.0) -> Any:
    async with asyncio.timeout(seconds):
        while not (found := await check()):
            await asyncio.sleep(0.01)
    return found


async def ended(desk: Desk, hook: Any, count: int = 1) -> list[Any]:
    async def look() -> list[Any]:
        log = await desk.log(hook)
        return log if len(log) >= count and all(one["endedAt"] for one in log) else []

    return await until(look)


@both
async def test_what_fails_is_tried_again_until_it_is_taken(desk: Desk, receiver: Receiver) -> None:
    """The same id with every try, a fresh signature, and each try in the log."""
    receiver.answer(reset_before_head(), BUSY, json_answer({}, status=429), OK)
    hook = await desk.hook("budget.*")
    warn(desk, spent_usd=1.5)
    [entry] = await ended(desk, hook)
    assert {signed_by(request, hook["secret"]) for request in receiver.requests} == {entry["messageId"]}
    assert [one["status"] for one in entry["attempts"]] == [0, 503, 429, 200]
    assert entry["attempts"][0]["error"]
    assert (entry["state"], entry["tries"], entry["nextTryAt"]) == ("delivered", 4, None)
    body = receiver.requests[-1].json()
    assert (body["event"], body["data"]) == ("budget.warning", {"budget": "hub", "spentUsd": 1.5})
    shown = (await desk.ask("GET", f"/api/webhooks/{hook['id']}"))["webhook"]
    assert (shown["failure_count"], shown["last_status"]) == (0, 200)
    assert shown["last_triggered_at"]


@pytest.mark.parametrize(
    "refusal",
    [json_answer({}, status=400), json_answer({}, status=404), json_answer({}, status=302, headers=[("location", "http://127.0.0.1:1/")])],
)
async def test_a_refusal_is_final(desk: Desk, receiver: Receiver, refusal: Behaviour) -> None:
    """SEC-12: nor is a redirect followed."""
    receiver.answer(refusal, OK)
    hook = await desk.hook("budget.*")
    warn(desk)
    [entry] = await ended(desk, hook)
    assert (entry["state"], entry["tries"]) == ("failed", 1)
    assert len(receiver.requests) == 1
    warn(desk)
    assert [one["state"] for one in await ended(desk, hook, 2)] == ["delivered", "failed"]


async def test_a_receiver_that_is_slow_or_says_too_much(desk: Desk, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """A try has an end whatever the receiver does; of an answer only the first words are kept."""
    monkeypatch.setattr(delivery, "_TRY_SECONDS", 0.15)
    receiver.answer(silent(), drip(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n" + b"x" * 500, every=0.01), answer_bytes(b"y" * 60_000))
    hook = await desk.hook("budget.*")
    warn(desk)
    [entry] = await ended(desk, hook)
    tries = entry["attempts"]
    assert [one["status"] for one in tries] == [0, 0, 200]
    assert "no whole answer" in tries[0]["error"]
    assert len(tries[2]["response"]) == 512


async def test_one_slow_receiver_keeps_nobody_else(desk: Desk, receiver: Receiver) -> None:
    slow = Receiver()
    async with slow:
        slow.answer(silent())
        await desk.ask("POST", "/api/webhooks", 201, json={"url": slow.hook.replace("127.0.0.1", "localhost"), "events": ["budget.*"]})
        await desk.hook("budget.*")
        receiver.answer(OK)
        for number in range(20):
            warn(desk, number=number)
        await receiver.received(20)
        assert len(slow.requests) == 8


async def test_a_dead_receiver_is_switched_off_and_others_are_told(desk: Desk, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "MOST_FAILURES", 3)
    receiver.answer(json_answer({}, status=400))
    async with Receiver() as watching:
        watching.answer(OK)
        await desk.ask("POST", "/api/webhooks", 201, json={"url": watching.hook, "events": ["webhook.*"]})
        hook = await desk.hook("*")
        for _ in range(3):
            warn(desk)
            await ended(desk, hook)
        await watching.received(1)
    told = watching.requests[0].json()
    assert (told["event"], told["data"]["webhook"], told["data"]["failures"]) == ("webhook.disabled", hook["id"], 3)
    place = f"/api/webhooks/{hook['id']}"
    shown = (await desk.ask("GET", place))["webhook"]
    assert (shown["enabled"], shown["failure_count"]) == (False, 3)
    assert "3 deliveries" in shown["disabled_reason"]
    before = len(receiver.requests)
    warn(desk)
    receiver.answer(OK)
    again = (await desk.ask("PUT", place, json={"enabled": True}))["webhook"]
    assert (again["failure_count"], again["disabled_reason"], again["disabled_at"]) == (0, "", None)
    warn(desk, after=True)
    await receiver.received(before + 1)
    assert receiver.requests[before].json()["data"]["after"] is True


async def test_a_receiver_that_is_gone_is_switched_off_at_once(desk: Desk, receiver: Receiver) -> None:
    receiver.answer(json_answer({}, status=410))
    hook = await desk.hook("budget.*")
    warn(desk)

    async def off() -> bool:
        return not (await desk.ask("GET", f"/api/webhooks/{hook['id']}"))["webhook"]["enabled"]

    await until(off)


async def test_a_success_clears_the_count(desk: Desk, receiver: Receiver) -> None:
    receiver.answer(json_answer({}, status=400), OK)
    hook = await desk.hook("budget.*")
    for count in (1, 2):
        warn(desk)
        await ended(desk, hook, count)
    assert (await desk.ask("GET", f"/api/webhooks/{hook['id']}"))["webhook"]["failure_count"] == 0


async def test_what_was_sent_can_be_sent_again(desk: Desk, receiver: Receiver) -> None:
    receiver.answer(json_answer({}, status=400), OK)
    hook = await desk.hook("budget.*")
    warn(desk)
    [entry] = await ended(desk, hook)
    place = f"/api/webhooks/{hook['id']}/deliveries"
    again = (await desk.ask("POST", f"{place}/{entry['id']}/replay", 202))["delivery"]
    assert (again["messageId"], again["payload"]) == (entry["messageId"], entry["payload"])
    await receiver.received(2)
    assert len({signed_by(request, hook["secret"]) for request in receiver.requests}) == 1
    assert receiver.requests[0].body == receiver.requests[1].body
    log = await ended(desk, hook, 2)
    assert {one["state"] for one in log} == {"delivered", "failed"}
    assert len(await desk.log(hook, "failed")) == 1
    await desk.ask("POST", f"{place}/nothing/replay", 404)
    await desk.ask("PUT", f"/api/webhooks/{hook['id']}", json={"enabled": False})
    assert "switched off" in str(await desk.ask("POST", f"{place}/{entry['id']}/replay", 400))


async def test_the_queue_of_a_webhook_is_bounded(desk: Desk, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "MOST_WAITING", 10)
    receiver.answer(silent())
    hook = await desk.hook("budget.*")
    for _ in range(25):
        warn(desk)
    assert (await desk.ask("GET", f"/api/webhooks/{hook['id']}"))["webhook"]["dropped_events"] == 15
    assert (await desk.ask("DELETE", f"/api/webhooks/{hook['id']}"))["success"]


async def test_an_address_is_judged_again_with_each_delivery(tmp_path: Path, receiver: Receiver) -> None:
    """SEC-11: what the owner no longer lists gets nothing."""
    async with running_hub(tmp_path, push_allowed_hosts="127.0.0.1") as running:
        headers = await running.headers("manage")
        async with httpx.AsyncClient(base_url=running.url, headers=headers) as http:
            made = (await http.post("/api/webhooks", json={"url": receiver.hook})).json()["webhook"]
    async with running_hub(tmp_path) as running, httpx.AsyncClient(base_url=running.url, headers=headers) as http:
        told = (await http.post(f"/api/webhooks/{made['id']}/test")).json()
    assert told["delivered"] is False
    assert "push_allowed_hosts" in told["error"]
    assert receiver.requests == []


async def test_tls_is_checked_and_never_given_up(desk: Desk, tmp_path: Path) -> None:
    """REL-21: a receiver whose certificate nobody trusts gets no word, neither encrypted nor plain; one that is trusted does."""
    authority = Authority(tmp_path)
    deliverer = desk.running.hub.webhooks.deliverer
    async with Receiver(tls=authority.server("127.0.0.1")) as secure:
        secure.answer(OK)
        hook = (await desk.ask("POST", "/api/webhooks", 201, json={"url": secure.hook, "events": ["budget.*"]}))["webhook"]
        told = await desk.ask("POST", f"/api/webhooks/{hook['id']}/test")
        assert (told["delivered"], told["status"]) == (False, 0)
        assert secure.requests == []
        before, deliverer.outbound = deliverer.outbound, Outbound(tls=authority.client)
        await before.aclose()
        assert (await desk.ask("POST", f"/api/webhooks/{hook['id']}/test"))["delivered"] is True


@both
async def test_old_deliveries_go_and_what_waits_stays(desk: Desk, receiver: Receiver) -> None:
    receiver.answer(OK)
    hook = await desk.hook("budget.*")
    warn(desk)
    [entry] = await ended(desk, hook)
    rows_ = desk.running.hub.webhooks.rows
    waiting = rows.Delivery(
        id="msg_w", webhook_id=hook["id"], event="x", message_id="msg_w", body="{}", created_at=1, due_at=4 * 10**12, state=rows.WAITING
    )
    old = rows.Delivery(
        id="msg_o",
        webhook_id=hook["id"],
        event="x",
        message_id="msg_o",
        body="{}",
        created_at=1,
        due_at=None,
        state=rows.FAILED,
        ended_at=2,
    )
    for one in (waiting, old):
        await rows_.add(one)
    assert await desk.running.hub.webhooks.sweep(1) == 1
    assert {one["id"] for one in await desk.log(hook)} == {entry["id"], "msg_w"}


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
async def test_two_processes_send_each_event_once(tmp_path: Path, database_url: str, receiver: Receiver) -> None:
    receiver.answer(OK)
    options = {"database_url": database_url, "push_allowed_hosts": "127.0.0.1"}
    async with running_hub(tmp_path, **options) as one, running_hub(tmp_path, **options) as two:
        async with httpx.AsyncClient(base_url=one.url, headers=await one.headers("manage")) as http:
            hook = (await http.post("/api/webhooks", json={"url": receiver.hook, "events": ["budget.*"]})).json()["webhook"]

        async def known() -> bool:
            return two.hub.webhooks.documents.peek(hook["id"]) is not None

        await until(known)
        for number in range(15):
            one.hub.events.emit("budget.warning", number=number)
            two.hub.events.emit("budget.warning", number=100 + number)
        await receiver.received(30)
        await asyncio.sleep(0.1)
    numbers = sorted(request.json()["data"]["number"] for request in receiver.requests)
    assert numbers == [*range(15), *range(100, 115)]


@both
async def test_a_lease_that_ran_out_is_taken_over(desk: Desk, receiver: Receiver) -> None:
    """A process died with a delivery in its hands: another sends it, under the same id."""
    receiver.answer(OK)
    hook = await desk.hook("budget.*")
    now = desk.running.hub.clock.now_ms()
    left = rows.Delivery(
        id="msg_left",
        webhook_id=hook["id"],
        event="budget.warning",
        message_id="msg_left",
        body='{"event":"budget.warning","timestamp":"2026-11-27T00:00:00.000Z","data":{}}',
        created_at=now,
        owner="prc_dead",
        due_at=now + 100,
    )
    await desk.running.hub.webhooks.rows.add(left)
    warn(desk)
    await receiver.received(2)
    assert "msg_left" in {signed_by(request, hook["secret"]) for request in receiver.requests}


async def test_a_kill_between_two_tries_loses_nothing(tmp_path: Path) -> None:
    """REL-09: the event is stored before its first try, and its next try is made by the process after this one."""
    async with Receiver() as receiver:
        receiver.answer(BUSY, OK)
        folder, env = tmp_path / "data", {"HUBROUTE_PUSH_ALLOWED_HOSTS": "127.0.0.1"}
        with serving(folder, **env) as served:
            body = f'{{"url": "{receiver.hook}", "events": ["key.created"]}}'
            made = await asyncio.to_thread(command, folder, "call", "webhooks-create", body)
            await asyncio.to_thread(command, folder, "keys", "create", "app")
            await receiver.received(1)
            first = time.monotonic()
            os.kill(served.process.pid, signal.SIGKILL)
            served.process.wait()
        with serving(folder, **env):
            await receiver.received(2, timeout=10)
            assert time.monotonic() - first < 10
        ids = {signed_by(request, made["webhook"]["secret"]) for request in receiver.requests}
    assert len(ids) == 1
    assert receiver.requests[0].body == receiver.requests[1].body
    assert receiver.requests[0].json()["event"] == "key.created"
