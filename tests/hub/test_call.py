"""``hub.call``: who may, what it may get wrong, and what the audit log says of it afterwards (D8, SEC-80, SEC-82)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import Field, SecretStr

from hub.call import Hub
from hub.context import Context
from hub.errors import Forbidden, Internal, InvalidInput, RateLimited, Unauthenticated, Unavailable, UnknownSkill
from hub.records import AuditRow, Caller
from hub.registry import Skills
from hub.settings import Settings
from hub.skill import Audit, CostClass, Rest, Skill, skill
from hub.wire import Done, Nothing, Wire
from tests.fakes.clock import Still

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

READER = Caller(key_id="key_reader", name="reader", scopes=frozenset({"read:health"}))


class Ask(Wire):
    text: str = Field(default="", description="A text.")
    api_key: SecretStr = Field(default=SecretStr(""), description="A secret.")
    nested: dict[str, Any] = Field(default={}, description="Anything.")


class Watch:
    """What the skills did."""

    def __init__(self, clock: Still) -> None:
        self.clock = clock
        self.ran: list[str] = []
        self.entered = asyncio.Event()
        self.go = asyncio.Event()
        self.closed = asyncio.Event()


def plain_skills(watch: Watch) -> list[Skill]:
    def made(name: str, audit: Audit, cost: CostClass = CostClass.FREE) -> Skill:
        @skill(name, scopes=["read:health"], cost=cost, audit=audit)
        async def run(ctx: Context, ask: Ask) -> Done:
            """Say it."""
            watch.ran.append(name)
            watch.clock.advance(0.25)
            return Done(message=ask.text)

        return run

    levels = [made(audit.value, audit) for audit in Audit]
    return [*levels, made("spends", Audit.NONE, CostClass.METERED)]


def odd_skills(watch: Watch) -> list[Skill]:
    @skill("waits", scopes=["read:health"], cost=CostClass.FREE)
    async def waits(ctx: Context, ask: Nothing) -> Done:
        """Wait."""
        watch.entered.set()
        await watch.go.wait()
        return Done(message="")

    @skill("breaks", scopes=["read:health"], cost=CostClass.FREE)
    async def breaks(ctx: Context, ask: Ask) -> Done:
        """Break."""
        raise {"": RuntimeError("the secret cause"), "limit": RateLimited("later", retry_after=3)}[ask.text]

    @skill("everybody", scopes=[], cost=CostClass.FREE, rest=[Rest("GET", "/x", public=True)])
    async def everybody(ctx: Context, ask: Nothing) -> Done:
        """Be public."""
        return Done(message=ctx.caller.name)

    return [waits, breaks, everybody]


def streaming_skill(watch: Watch) -> Skill:
    @skill("streams", scopes=["read:health"], cost=CostClass.FREE)
    async def streams(ctx: Context, ask: Ask) -> AsyncIterator[Done]:
        """Stream."""
        try:
            for word in ("one", "two"):
                yield Done(message=word)
                if ask.text == "limit":
                    raise RateLimited("later")
                if ask.text == "break":
                    raise RuntimeError("the secret cause")
            watch.entered.set()
            await watch.go.wait()
        finally:
            watch.closed.set()

    return streams


def make_skills(watch: Watch) -> Skills:
    return Skills({one.name: one for one in (*plain_skills(watch), *odd_skills(watch), streaming_skill(watch))})


@pytest.fixture
def clock() -> Still:
    return Still()


@pytest.fixture
async def watch(clock: Still) -> Watch:
    return Watch(clock)


@pytest.fixture
async def hub(tmp_path: Path, clock: Still, watch: Watch) -> AsyncIterator[Hub]:
    made = Hub(Settings(data_dir=tmp_path, queue_rows=100), clock=clock, skills=make_skills(watch))
    await made.open()
    yield made
    await made.close()


async def run(hub: Hub, name: str, data: object = None, caller: Caller = READER) -> Any:
    return await hub.call(hub.find(name), {} if data is None else data, hub.context(caller, "test"))


async def audit(hub: Hub) -> list[AuditRow]:
    """All rows, oldest first."""
    rows, total = await hub.store.audit.page(limit=100)
    assert len(rows) == total
    return rows[::-1]


async def last(hub: Hub) -> AuditRow:
    return (await audit(hub))[-1]


class Broken:
    """A database whose writes fail until it is mended."""

    def __init__(self, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
        self.broken = True
        original = hub.store._database.write

        async def write(work: Any, *, durable: bool = False) -> Any:
            if self.broken:
                raise Unavailable("the disk is full")
            return await original(work, durable=durable)

        monkeypatch.setattr(hub.store._database, "write", write)


# -- who calls


async def test_a_key_gives_its_caller(hub: Hub) -> None:
    key, token = await hub.store.keys.create("mine", grants=["read-only"], allowed_models=["a/*"], no_log=True)
    caller = hub.authenticate(token)
    assert (caller.key_id, caller.name, caller.allowed_models, caller.no_log) == (key.id, "mine", ("a/*",), True)
    assert caller.scopes == key.scopes


async def test_every_bad_credential_has_the_same_answer(hub: Hub, clock: Still) -> None:
    """SEC-01: the words never say whether a key is missing, unknown, off, revoked or expired."""
    make = hub.store.keys.create
    _, good = await make("good", grants=["chat"])
    revoked, revoked_token = await make("revoked", grants=["chat"])
    await hub.store.keys.revoke(revoked.id)
    off, off_token = await make("off", grants=["chat"])
    await hub.store.keys.update(off.id, active=False)
    _, expired_token = await make("expired", grants=["chat"], expires_at=clock.now_ms() + 1000)
    assert hub.authenticate(expired_token).name == "expired"
    clock.advance(1)
    words: set[str] = set()
    for token in (None, "", "x", good[:-1], good + "x", good.upper(), revoked_token, off_token, expired_token, "é" * 20, "a" * 10_000):
        with pytest.raises(Unauthenticated) as caught:
            hub.authenticate(token)
        words.add(caught.value.message)
    assert len(words) == 1
    assert hub.authenticate(good).name == "good"


async def test_without_keys_a_missing_one_opens_the_model_api_only(tmp_path: Path) -> None:
    """D4: and a wrong one is still wrong."""
    hub = Hub(Settings(data_dir=tmp_path, require_api_key=False), skills=Skills({}))
    await hub.open()
    for token in (None, ""):
        caller = hub.authenticate(token)
        assert (caller.scopes, caller.key_id) == ({"chat"}, "")
    with pytest.raises(Unauthenticated):
        hub.authenticate("wrong")
    await hub.close()


async def test_a_context_is_of_one_call(hub: Hub) -> None:
    one, two = hub.context(READER, "rest", session="s"), hub.context(READER, "mcp")
    assert (one.door, one.session, two.door, two.session) == ("rest", "s", "mcp", "")
    assert one.request_id != two.request_id
    assert one.request_id.startswith("req_")
    await one.progress(1)  # nobody listens
    told: list[tuple[float, float | None, str]] = []

    async def report(done: float, total: float | None, words: str) -> None:
        told.append((done, total, words))

    one.report = report
    await one.progress(1, 2, "half")
    assert told == [(1, 2, "half")]


async def test_unknown_skills(hub: Hub) -> None:
    with pytest.raises(UnknownSkill, match="no skill 'nope'"):
        hub.find("nope")


# -- scopes


@pytest.mark.parametrize("name", ["none", "basic", "full", "streams"])
async def test_without_the_scope_nothing_runs_and_the_attempt_is_recorded(hub: Hub, watch: Watch, name: str) -> None:
    """SEC-80: at every audit level, with no part of the input."""
    stranger = Caller(key_id="key_s", name="stranger", scopes=frozenset({"read:models"}))
    ctx = hub.context(stranger, "test")
    data = {"text": "secret", "unknown": object()}
    called = anext(hub.stream(hub.find(name), data, ctx)) if name == "streams" else hub.call(hub.find(name), data, ctx)
    with pytest.raises(Forbidden, match="needs the scope read:health") as caught:
        await called
    assert caught.value.data == {"missing": ["read:health"]}
    assert watch.ran == []
    row = await last(hub)
    assert (row.outcome, row.error_code, row.skill, row.key_id, row.caller) == ("denied", "insufficient_scope", name, "key_s", "stranger")
    assert (row.request_id, row.digest, row.detail, row.door) == (ctx.request_id, "", "", "test")


async def test_a_public_skill_needs_no_scope(hub: Hub) -> None:
    assert (await run(hub, "everybody", caller=Caller.anonymous())).message == "anonymous"
    assert (await last(hub)).key_id == ""


# -- outcomes


async def test_what_the_log_says_of_each_level(hub: Hub, clock: Still) -> None:
    data = {"text": "hi", "apiKey": "sk-canary-1234"}
    for name in ("none", "basic", "full"):
        assert (await run(hub, name, data)).message == "hi"
    basic, full = await audit(hub)
    assert (basic.skill, basic.outcome, basic.error_code, basic.detail) == ("basic", "ok", "", "")
    assert (basic.key_id, basic.caller, basic.door, basic.duration_us) == ("key_reader", "reader", "test", 250_000)
    assert basic.at == clock.now_ms() - 250
    assert len(basic.digest) == 64
    assert basic.digest == full.digest
    assert json.loads(full.detail) == {"text": "hi", "apiKey": "…"}
    assert await hub.store.audit.verify() is None


async def test_the_digest_tells_inputs_apart(hub: Hub) -> None:
    for text in ("a", "b", "a"):
        await run(hub, "basic", {"text": text})
    first, second, third = (row.digest for row in await audit(hub))
    assert first == third != second


async def test_a_wrong_input_is_named_and_recorded(hub: Hub, watch: Watch) -> None:
    with pytest.raises(InvalidInput) as caught:
        await run(hub, "full", {"text": ["not text"], "nested": 1})
    assert [detail["field"] for detail in caught.value.details] == ["text", "nested"]
    row = await last(hub)
    assert (row.outcome, row.error_code) == ("error", "bad_request")
    assert watch.ran == []


async def test_our_own_fault_is_masked_and_its_cause_logged(hub: Hub, caplog: pytest.LogCaptureFixture) -> None:
    ctx = hub.context(READER, "test")
    with pytest.raises(Internal) as caught:
        await hub.call(hub.find("breaks"), {}, ctx)
    assert "secret cause" not in caught.value.message
    assert ctx.request_id in caught.value.message
    assert isinstance(caught.value.__cause__, RuntimeError)
    (record,) = [record for record in caplog.records if record.name == "hub.call"]
    assert str(vars(record)["cause"]) == "the secret cause"
    assert vars(record)["fields"]["request_id"] == ctx.request_id
    row = await last(hub)
    assert (row.outcome, row.error_code) == ("error", "internal_server_error")


async def test_an_error_for_the_caller_goes_through_as_it_is(hub: Hub, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(RateLimited) as caught:
        await run(hub, "breaks", {"text": "limit"})
    assert caught.value.retry_after == 3
    assert (await last(hub)).error_code == "rate_limit_exceeded"
    assert not caplog.records


async def test_a_caller_that_leaves_is_recorded(hub: Hub, watch: Watch) -> None:
    """REL-06."""
    task = asyncio.create_task(run(hub, "waits"))
    await watch.entered.wait()
    watch.clock.advance(2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    row = await last(hub)
    assert (row.outcome, row.error_code, row.duration_us) == ("error", "cancelled", 2_000_000)


# -- what the log keeps of an input


@pytest.mark.parametrize(
    "data",
    [
        {"nested": {"a": {"clientSecret": "canary"}}},
        {"nested": {"list": [{"x": 1}, {"deep": [{"access_token": "canary"}]}]}},
        {"nested": {"API-Key": "canary", "proxy": {"user": "canary"}, "password": ["canary"]}},
        {"nested": {"url": "https://user:canary@host/"}},
        {"nested": {"text": "Bearer canary"}},
        {"text": "x", "unknownPassword": "canary"},
        {"nested": {"a": [[[[[[[[[{"hidden": "canary"}]]]]]]]]]}},
    ],
)
async def test_secrets_are_masked_at_every_depth(hub: Hub, data: dict[str, Any]) -> None:
    """SEC-22: by name, in mappings and lists, and by look."""
    await run(hub, "full", data)
    row = await last(hub)
    assert row.detail
    assert "canary" not in row.detail
    assert "…" in row.detail


async def test_a_ready_made_input_is_masked_too(hub: Hub) -> None:
    await run(hub, "full", Ask(text="hi", api_key=SecretStr("canary"), nested={"token": "canary"}))
    detail = json.loads((await last(hub)).detail)
    assert detail == {"text": "hi", "apiKey": "…", "nested": {"token": "…"}}


def _deep(levels: int) -> dict[str, Any]:
    return {"a": _deep(levels - 1)} if levels else {}


@pytest.mark.parametrize(
    "nested",
    [{"number": 2**70, "less": -(2**70)}, {"half": "\ud800"}, {"nan": float("nan")}, _deep(900)],
    ids=["large numbers", "half a character", "no number", "deep"],
)
async def test_no_input_breaks_the_record_of_what_was_done(hub: Hub, watch: Watch, nested: dict[str, Any]) -> None:
    """What JSON parsers of other doors let pass: the change is made, so it must be recorded and answered."""
    await run(hub, "full", {"text": "x", "nested": nested})
    assert watch.ran == ["full"]
    row = await last(hub)
    assert row.outcome == "ok"
    assert len(row.digest) == 64
    with pytest.raises(InvalidInput):
        await run(hub, "full", {"text": 1, "nested": nested})


async def test_a_long_input_is_cut_between_characters(hub: Hub) -> None:
    for shift in range(3):
        await run(hub, "full", {"nested": {"a" * (shift + 1): "é€" * 3000}})
        row = await last(hub)
        assert 4090 <= len(row.detail.encode()) <= 4096
        assert row.outcome == "ok"


async def test_an_input_that_is_no_set_of_fields(hub: Hub) -> None:
    with pytest.raises(InvalidInput):
        await run(hub, "full", ["canary"])
    row = await last(hub)
    assert (row.detail, row.digest) == ("", "")


# -- streams


async def test_a_stream_is_recorded_at_its_end(hub: Hub, watch: Watch) -> None:
    watch.go.set()
    items = hub.stream(hub.find("streams"), {}, hub.context(READER, "test"))
    assert (await anext(items)).message == "one"
    assert await audit(hub) == []
    assert [item.message async for item in items] == ["two"]
    assert (await last(hub)).outcome == "ok"
    assert watch.closed.is_set()


async def test_closing_a_stream_closes_the_skill(hub: Hub, watch: Watch) -> None:
    """REL-06: at once, not when the collector comes by."""
    items = hub.stream(hub.find("streams"), {}, hub.context(READER, "test"))
    await anext(items)
    assert not watch.closed.is_set()
    await items.aclose()
    assert watch.closed.is_set()
    row = await last(hub)
    assert (row.outcome, row.error_code) == ("error", "cancelled")


async def test_cancelling_a_stream_closes_the_skill(hub: Hub, watch: Watch) -> None:
    async def consume() -> None:
        async for _ in hub.stream(hub.find("streams"), {}, hub.context(READER, "test")):
            pass

    task = asyncio.create_task(consume())
    await watch.entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert watch.closed.is_set()
    assert (await last(hub)).error_code == "cancelled"


@pytest.mark.parametrize(
    ("text", "error", "code"), [("limit", RateLimited, "rate_limit_exceeded"), ("break", Internal, "internal_server_error")]
)
async def test_a_stream_that_fails(hub: Hub, watch: Watch, text: str, error: type[Exception], code: str) -> None:
    items = hub.stream(hub.find("streams"), {"text": text}, hub.context(READER, "test"))
    assert (await anext(items)).message == "one"
    with pytest.raises(error) as caught:
        await anext(items)
    assert "secret cause" not in str(caught.value)
    assert (await last(hub)).error_code == code
    assert watch.closed.is_set()


async def test_a_stream_with_a_wrong_input(hub: Hub, watch: Watch) -> None:
    with pytest.raises(InvalidInput):
        await anext(hub.stream(hub.find("streams"), {"text": 1}, hub.context(READER, "test")))
    assert (await last(hub)).error_code == "bad_request"


# -- a database that fails


async def test_changes_are_refused_while_the_audit_log_cannot_be_written_and_traffic_goes_on(
    hub: Hub, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SEC-82."""
    database = Broken(hub, monkeypatch)
    await run(hub, "basic")
    with pytest.raises(Unavailable):
        await hub.store.flush()
    with pytest.raises(Unavailable, match="nothing is changed"):
        await run(hub, "full")
    for name in ("basic", "none", "spends"):
        await run(hub, name)
    watch.go.set()
    assert len([item async for item in hub.stream(hub.find("streams"), {}, hub.context(READER, "test"))]) == 2
    assert watch.ran == ["basic", "basic", "none", "spends"]
    with pytest.raises(Forbidden):
        await run(hub, "full", caller=Caller.anonymous())
    database.broken = False
    await hub.store.flush()
    await run(hub, "full")
    assert [(row.skill, row.outcome) for row in await audit(hub)] == [
        ("basic", "ok"), ("basic", "ok"), ("streams", "ok"), ("full", "denied"), ("full", "ok"),
    ]  # fmt: skip
    assert await hub.store.audit.verify() is None


@pytest.mark.parametrize(("name", "waits"), [("basic", True), ("spends", True), ("streams", True), ("none", False)])
async def test_calls_that_add_rows_wait_while_the_queue_is_full(
    hub: Hub, watch: Watch, monkeypatch: pytest.MonkeyPatch, name: str, waits: bool
) -> None:
    """SEC B8: what waits for the database is bounded; what adds nothing goes on."""
    database = Broken(hub, monkeypatch)
    for _ in range(100):
        await run(hub, "basic")
    watch.ran.clear()
    watch.go.set()
    ctx = hub.context(READER, "test")
    work = anext(hub.stream(hub.find(name), {}, ctx)) if name == "streams" else run(hub, name)
    task = asyncio.ensure_future(work)
    with pytest.raises(Unavailable):
        await hub.store.flush()
    assert task.done() is not waits
    database.broken = False
    await hub.store.flush()
    await asyncio.wait_for(task, 5)


# -- the hub's own state


async def test_a_hub_ends_once_and_in_order(tmp_path: Path) -> None:
    hub = Hub(Settings(data_dir=tmp_path, flush_ms=5000), skills=Skills({}))
    await hub.open()
    done: list[str] = []

    async def later() -> None:
        done.append(f"close, closing={hub.closing}")

    hub.on_stop.append(lambda: done.append("stop"))
    hub.on_close.append(later)
    hub.stop()
    await hub.close()
    await hub.close()
    assert done == ["stop", "close, closing=True"]


async def test_the_demo_stands_in_as_the_setting_says(tmp_path: Path) -> None:
    """D3."""
    for demo, alone, beside in (("auto", {"demo"}, {"groq"}), ("on", {"demo"}, {"demo", "groq"}), ("off", set(), {"groq"})):
        hub = Hub(Settings(data_dir=tmp_path / demo, demo=demo), skills=Skills({}))
        await hub.open()
        assert hub.directory.connected() == alone
        made = await hub.store.connections.create(provider="groq", name="a", secret="gsk_x")
        assert hub.directory.connected() == beside
        await hub.store.connections.update(made.id, active=False)
        assert hub.directory.connected() == alone
        await hub.close()


async def test_prefixes_and_models_of_connections(hub: Hub) -> None:
    make = hub.store.connections.create
    one = await make(provider="groq", name="a", secret="s", data={"prefix": "mine"}, models=["x", "y"])
    await make(provider="groq", name="b", secret="s", data={"prefix": "shared"}, models=["y", "z"])
    await make(provider="groq", name="c", secret="s", data={"prefix": "shared"})
    off = await make(provider="groq", name="d", secret="s", data={"prefix": "off"})
    await hub.store.connections.update(off.id, active=False)
    assert hub.directory.prefixes() == {"mine": f"groq/{one.id}", "shared": "groq"}
    assert hub.directory.discovered() == {"groq": {"x", "y", "z"}}


async def test_a_built_in_provider_has_no_marks(hub: Hub) -> None:
    hub.mark("demo", test_status="active", cooldown_until=1)
    assert hub.store.connections.all() == []


async def cooled(hub: Hub, *, soft: bool) -> str:
    """A connection that fails, as the ledger records it; returns its id."""
    made = await hub.store.connections.create(provider="groq", name="a", secret="gsk_x")
    now = hub.clock.monotonic()
    state = hub.resilience.cooldowns.fail(made.id, now, reason="503: no", soft=soft, hint=60)
    hub.mark(
        made.id, test_status="unavailable", last_error="503: no", cooldown_until=hub.clock.now_ms() + round((state.until - now) * 1000)
    )
    return made.id


async def test_a_change_elsewhere_leaves_a_cooldown_as_it_is(hub: Hub, clock: Still) -> None:
    """A new key must not turn a 5xx, which a retry may survive, into a limit; nor a jump of the wall clock move it (REL-12)."""
    identity = await cooled(hub, soft=True)
    before = hub.resilience.cooldowns.of(identity, clock.monotonic())
    clock.wall_ms -= 3_600_000
    await hub.store.keys.create("new", grants=["chat"])
    assert hub.resilience.cooldowns.of(identity, clock.monotonic()) is before
    clock.advance(60)
    await hub.store.keys.create("newer", grants=["chat"])
    assert hub.resilience.cooldowns.of(identity, clock.monotonic()) is None


async def test_a_new_credential_starts_without_a_cooldown(hub: Hub, clock: Still) -> None:
    identity = await cooled(hub, soft=False)
    await hub.store.connections.update(identity, secret="gsk_new")
    assert hub.resilience.cooldowns.of(identity, clock.monotonic()) is None


async def test_a_cooldown_outlives_a_restart(tmp_path: Path) -> None:
    """routing.md 3.3: by wall time, with its level; one that has passed meanwhile is gone."""
    first = Still()
    hub = Hub(Settings(data_dir=tmp_path), clock=first, skills=Skills({}))
    await hub.open()
    identity = await cooled(hub, soft=True)
    hub.mark(identity, backoff_level=2)
    await hub.close()
    for seconds, left in ((45.0, 15.0), (61.0, None)):
        clock = Still(first.now_ms() + round(seconds * 1000))
        clock.seconds = 5.0
        again = Hub(Settings(data_dir=tmp_path), clock=clock, skills=Skills({}))
        await again.open()
        state = again.resilience.cooldowns.of(identity, clock.monotonic())
        assert (state and state.until - 5.0) == left
        if state is not None:
            assert (state.level, state.reason) == (2, "503: no")
        await again.close()


async def test_what_is_worked_out_holds_until_something_changes(hub: Hub) -> None:
    """SEC-05: a caller is kept for its key and no longer."""
    key, token = await hub.store.keys.create("k", grants=["chat"])
    caller = hub.authenticate(token)
    assert hub.authenticate(token) is caller
    assert hub.directory.connected() is hub.directory.connected()
    await hub.store.keys.update(key.id, grants=["manage"])
    assert "manage" not in caller.scopes
    assert "manage" in hub.authenticate(token).scopes
    await hub.store.keys.revoke(key.id)
    with pytest.raises(Unauthenticated):
        hub.authenticate(token)
    made = await hub.store.connections.create(provider="groq", name="a", secret="gsk_x", models=["one"])
    assert "groq" in hub.directory.connected()
    assert "one" in hub.directory.discovered()["groq"]
    await hub.store.connections.update(made.id, active=False, models=["two"])
    assert "groq" not in hub.directory.connected()
    assert "two" in hub.directory.discovered()["groq"]
