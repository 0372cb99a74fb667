"""The three scopes of failure together: what blocks, who may probe, what is stored and what a restart knows (REL-04, 05, 12)."""

from __future__ import annotations

import timeit
from typing import TYPE_CHECKING, Any

import pytest

from hub.call import Hub
from hub.engine.fallback import Next, Scope
from hub.preferences import ResilienceSettings
from hub.providers.base import Failure, FailureKind
from hub.records import ConnectionRules, TestStatus
from hub.registry import Skills
from hub.resilience.resilience import rules_of
from hub.routing.breaker import BreakerState
from hub.settings import Settings
from tests.fakes.clock import Still

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from hub.records import Connection
    from hub.resilience.resilience import Resilience

pytestmark = pytest.mark.anyio
DOWN = Failure(FailureKind.SERVER, 503, "down")
FULL = Failure(FailureKind.RATE, 429, "slow down", retry_after=20.0, source="header")
#: A provider of the catalogue that passes any model on, and one that does not.
MANY, ONE = "openrouter", "groq"


class Desk:
    """A hub and one connection of a provider, whose calls end as a test says."""

    def __init__(self, hub: Hub, clock: Still) -> None:
        self.hub = hub
        self.clock = clock

    @property
    def made(self) -> Resilience:
        return self.hub.resilience

    async def connect(self, provider: str = ONE, name: str = "a", **fields: Any) -> Connection:
        return await self.hub.store.connections.create(provider=provider, name=name, secret="s", **fields)

    def now(self, connection: Connection) -> Connection:
        return self.hub.store.connections.get(connection.id)

    def fail(self, connection: Connection, failure: Failure = DOWN, model: str = "m", times: int = 1) -> None:
        for _ in range(times):
            self.made.failed(self.now(connection), connection.provider, model, failure)

    def admitted(self, connection: Connection, model: str = "m", **more: Any) -> bool:
        return self.made.admit(self.now(connection), connection.provider, model, **more)

    def blocked(self, connection: Connection, model: str = "m") -> Any:
        return self.made.blocked(self.now(connection), connection.provider, model)

    def succeed(self, connection: Connection, model: str = "m") -> None:
        self.made.succeeded(self.now(connection), connection.provider, model)

    def events(self) -> list[tuple[str, dict[str, Any]]]:
        return [(event.kind, event.data) for event in self.hub.events.recent]

    async def restarted(self, tmp_path: Path, *, wall_ms: int = 0) -> Desk:
        """The hub after a restart, its monotonic clock begun anew and its wall clock moved by ``wall_ms``."""
        await self.hub.close()
        clock = Still(self.clock.now_ms() + wall_ms)
        clock.seconds = 5.0
        hub = Hub(Settings(data_dir=tmp_path), clock=clock, skills=Skills({}))
        await hub.open()
        return Desk(hub, clock)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    clock = Still()
    hub = Hub(Settings(data_dir=tmp_path), clock=clock, skills=Skills({}))
    await hub.open()
    yield Desk(hub, clock)
    await hub.close()


async def test_nothing_failed_nothing_is_blocked(desk: Desk) -> None:
    one = await desk.connect()
    assert desk.made.quiet
    assert desk.blocked(one) is None
    assert desk.admitted(one)
    desk.succeed(one)
    assert desk.now(one).test_status is TestStatus.UNKNOWN, "a success of a healthy connection writes nothing"


async def test_a_look_costs_next_to_nothing_while_nothing_failed(desk: Desk) -> None:
    """Lowest of some rounds, with room for a busy machine: 0.3 us is the aim, 1.5 us means that the short way is lost."""
    one = await desk.connect()
    made, blocked, admit = desk.made, desk.made.blocked, desk.made.admit
    for call in (lambda: made.quiet, lambda: blocked(one, ONE, "m"), lambda: admit(one, ONE, "m")):
        assert min(timeit.repeat(call, number=2000, repeat=5)) / 2000 < 1.5e-6


async def test_a_connection_cools_and_comes_back_with_one_probe_at_a_time(desk: Desk) -> None:
    """REL-05."""
    one = await desk.connect()
    desk.fail(one, FULL)
    block = desk.blocked(one)
    assert (block.scope, block.reason, block.soft, block.source) == ("connection", "429: slow down", False, "header")
    assert 20.0 <= block.until - desk.clock.monotonic() <= 22.0
    row = desk.now(one)
    assert (row.test_status, row.last_error, row.backoff_level) == (TestStatus.UNAVAILABLE, "429: slow down", 0)
    assert row.cooldown_until == desk.clock.now_ms() + round((block.until - desk.clock.monotonic()) * 1000)
    assert not desk.admitted(one, last_resort=True)
    desk.clock.advance(22)
    assert desk.blocked(one) is None
    assert [desk.admitted(one), desk.admitted(one)] == [True, False]
    desk.made.release(desk.now(one), ONE, "m")
    assert [desk.admitted(one), desk.admitted(one)] == [True, False]
    desk.succeed(one)
    assert desk.made.quiet
    assert [desk.admitted(one), desk.admitted(one)] == [True, True]
    row = desk.now(one)
    assert (row.test_status, row.last_error, row.cooldown_until) == (TestStatus.ACTIVE, "", None)


async def test_a_passing_failure_is_tried_as_a_last_resort(desk: Desk) -> None:
    one = await desk.connect()
    desk.fail(one)
    assert desk.blocked(one).soft
    assert not desk.admitted(one)
    assert desk.admitted(one, last_resort=True)


async def test_a_breaker_opens_by_requests_and_not_by_calls(desk: Desk) -> None:
    """routing.md 3.2: once a request; what is no fault of the provider's never counts."""
    connections = [await desk.connect(name=str(number)) for number in range(3)]
    for kind, status in ((FailureKind.RATE, 429), (FailureKind.QUOTA, 429), (FailureKind.MODEL, 404), (FailureKind.CALLER, 400)):
        for _ in range(20):
            desk.fail(connections[0], Failure(kind, status, "x"))
    for _ in range(20):
        desk.made.failed(connections[0], ONE, "m", Failure(FailureKind.NETWORK, 502, "no route"), reached=False)
    assert desk.made.breakers() == []
    for number in range(1, 13):
        request: set[str] = set()
        for one in connections:
            desk.made.failed(one, ONE, "m", DOWN, request=request)
        assert request == {ONE}
        assert desk.made.breaker(ONE) is (BreakerState.OPEN if number == 12 else BreakerState.CLOSED)
    (shown,) = desk.made.breakers()
    assert (shown.provider, shown.state, shown.level, shown.reason, shown.source) == (ONE, "OPEN", 12, "503: down", "backoff")
    assert (shown.since, shown.until) == (desk.clock.now_ms(), desk.clock.now_ms() + 30_000)
    opened = {"provider": ONE, "failures": 12, "until": shown.until, "reason": "503: down"}
    assert desk.events() == [("breaker.open", opened)]


async def test_an_open_breaker_blocks_every_connection_and_probes_one_by_one(desk: Desk) -> None:
    """REL-05: half-open probes are single-flight; the traffic of other providers goes on."""
    one, two, other = await desk.connect(), await desk.connect(name="b"), await desk.connect("openai", "c")
    desk.fail(one, times=12)
    assert desk.blocked(two).scope == "provider"
    assert not desk.blocked(two).soft
    assert not desk.admitted(two, last_resort=True)
    assert desk.blocked(other) is None
    assert desk.admitted(other)
    desk.clock.advance(30)
    assert desk.made.breaker(ONE) is BreakerState.HALF_OPEN
    assert [desk.admitted(two), desk.admitted(one), desk.admitted(two)] == [True, False, False]
    desk.fail(two)
    assert desk.made.breaker(ONE) is BreakerState.OPEN
    desk.clock.advance(30)
    assert desk.admitted(two)
    desk.succeed(two)
    assert desk.made.breaker(ONE) is BreakerState.CLOSED
    assert [kind for kind, _ in desk.events()] == ["breaker.open", "breaker.closed"]
    assert desk.events()[-1][1] == {"provider": ONE, "failures": 13, "by": "success"}


async def test_a_probe_that_ends_as_the_caller_s_fault_makes_way(desk: Desk) -> None:
    one = await desk.connect()
    desk.fail(one, times=12)
    desk.clock.advance(40)
    assert desk.admitted(one)
    assert not desk.admitted(one)
    rule = desk.made.failed(desk.now(one), ONE, "m", Failure(FailureKind.CALLER, 400, "bad"))
    assert (rule.next, rule.scope) == (Next.STOP, Scope.NONE)
    assert desk.admitted(one)


async def test_a_model_is_locked_and_the_others_of_its_account_go_on(desk: Desk) -> None:
    """routing.md 3.5."""
    one, two = await desk.connect(MANY), await desk.connect(MANY, "b")
    desk.fail(one, Failure(FailureKind.RATE, 429, "slow"), model="x")
    desk.fail(one, Failure(FailureKind.MODEL, 404, "none"), model="y")
    assert [desk.blocked(one, model) and desk.blocked(one, model).scope for model in ("x", "y", "z")] == ["model", "model", None]
    assert desk.blocked(two, "x") is None
    assert [desk.admitted(one, "x"), desk.admitted(one, "z"), desk.admitted(two, "x")] == [False, True, True]
    assert (desk.now(one).test_status, desk.made.cooldowns.quiet) == (TestStatus.UNKNOWN, True)
    first, second = desk.made.lockouts()
    assert (first.provider, first.connection, first.model, first.level) == (MANY, one.id, "x", 1)
    assert 2.7 <= first.seconds <= 3.3
    assert (second.model, second.source) == ("y", "backoff")
    assert 108 <= second.seconds <= 132
    desk.clock.advance(4)
    assert [desk.admitted(one, "x"), desk.admitted(one, "x")] == [True, False]
    desk.succeed(one, "x")
    assert [desk.admitted(one, "x"), desk.admitted(one, "x")] == [True, True]
    assert [lock.model for lock in desk.made.lockouts()] == ["y"]


async def test_whose_quotas_count_by_model_is_the_owner_s_word_first(desk: Desk) -> None:
    account = await desk.connect(MANY, rules=ConnectionRules(model_quotas=False))
    models = await desk.connect(ONE, rules=ConnectionRules(model_quotas=True))
    desk.fail(account, FULL)
    desk.fail(models, FULL)
    assert (desk.blocked(account).scope, desk.blocked(models).scope) == ("connection", "model")


async def test_a_daily_quota_lasts_until_midnight_utc_or_as_the_provider_says(desk: Desk) -> None:
    one = await desk.connect(MANY)
    desk.fail(one, Failure(FailureKind.QUOTA, 429, "daily", code="daily_quota"), model="x")
    desk.fail(one, Failure(FailureKind.QUOTA, 429, "daily", code="daily_quota", retry_after=60.0, source="text"), model="y")
    short, long = desk.made.lockouts()
    midnight = -(-desk.clock.now_ms() // 86_400_000) * 86_400_000
    assert (long.model, long.source, 0 <= long.until - midnight <= 30_000) == ("x", "rule", True)
    assert (short.model, short.source, 60_000 <= short.until - desk.clock.now_ms() <= 66_000) == ("y", "text", True)


async def test_a_provider_that_is_down_is_told_before_the_longer_cooldown_it_caused(desk: Desk) -> None:
    one = await desk.connect()
    for _ in range(12):
        desk.fail(one)
        desk.clock.advance(100)
    desk.fail(one)
    block, cooling = desk.blocked(one), desk.made.cooldowns.of(one.id, desk.clock.monotonic())
    assert cooling is not None
    assert (cooling.soft, cooling.until > block.until) == (True, True)
    assert (block.scope, block.soft, block.until - desk.clock.monotonic()) == ("provider", False, pytest.approx(30.0))


async def test_the_longest_of_several_reasons_is_told_and_soft_only_when_all_are(desk: Desk) -> None:
    one = await desk.connect(MANY)
    desk.fail(one, FULL)
    desk.fail(one)
    block = desk.blocked(one)
    assert (block.scope, block.soft) == ("model", False)
    assert not desk.admitted(one, last_resort=True)
    desk.clock.advance(23)
    assert desk.blocked(one) is None


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (Failure(FailureKind.AUTH, 401, "no such key"), TestStatus.EXPIRED),
        (Failure(FailureKind.AUTH, 403, "closed", code="account_deactivated"), TestStatus.BANNED),
        (Failure(FailureKind.CREDIT, 402, "pay"), TestStatus.CREDITS_EXHAUSTED),
    ],
)
async def test_what_a_person_has_to_mend_is_told_once_and_no_timer_brings_it_back(desk: Desk, failure: Failure, status: TestStatus) -> None:
    """routing.md 3.3: terminal states are never overwritten by a cooldown."""
    one = await desk.connect()
    desk.fail(one)
    desk.fail(one, failure, times=2)
    desk.made.failed(one, ONE, "m", FULL)
    desk.made.succeeded(one, ONE, "m")
    row = desk.now(one)
    assert (row.test_status, row.cooldown_until, row.last_error) == (status, None, f"{failure.status}: {failure.message}")
    assert desk.made.cooling() == []
    told = {"connection": one.id, "name": "a", "provider": ONE, "status": status.value, "reason": row.last_error}
    assert desk.events() == [("connection.ended", told)]


async def test_a_lenient_connection_cools(desk: Desk) -> None:
    one = await desk.connect(rules=ConnectionRules(lenient=True))
    desk.fail(one, Failure(FailureKind.AUTH, 401, "not now"))
    assert desk.now(one).test_status is TestStatus.UNAVAILABLE
    (shown,) = desk.made.cooling()
    assert (shown.scope, shown.connection, shown.reason, shown.source) == ("connection", one.id, "401: not now", "backoff")
    assert shown.since == desk.clock.now_ms()


async def test_a_storm_of_failures_is_one_step_and_the_herd_is_spread(desk: Desk) -> None:
    """REL-04: fifty calls that fail at once cool once; connections that failed at one moment come back at different ones."""
    connections = [await desk.connect(name=str(number)) for number in range(20)]
    for one in connections:
        desk.fail(one, FULL, times=50)
        assert desk.now(one).backoff_level == 0
    ends = {round(one.until) for one in desk.made.cooling()}
    assert len(ends) > 15
    assert all(20_000 <= end - desk.clock.now_ms() <= 22_000 for end in ends)


async def test_hands_clear_each_scope_alone(desk: Desk) -> None:
    one = await desk.connect(MANY)
    desk.fail(one, times=12)
    desk.fail(one, FULL, model="x")
    desk.fail(one, FULL, model="y")
    assert desk.made.clear_breakers() == 1
    assert (desk.made.breaker(MANY), len(desk.made.cooling()), len(desk.made.lockouts())) == (BreakerState.CLOSED, 1, 2)
    assert desk.events()[-1] == ("breaker.closed", {"provider": MANY, "failures": 12, "by": "reset"})
    assert desk.made.clear_lockout(MANY, "x") == 1
    assert desk.made.clear_lockout(MANY, "nothing") == 0
    assert [lock.model for lock in desk.made.lockouts()] == ["y"]
    assert desk.made.clear_connection(one.id) == 2
    assert desk.made.quiet
    row = desk.now(one)
    assert (row.test_status, row.cooldown_until) == (TestStatus.UNKNOWN, None)
    desk.fail(one, FULL, model="z")
    assert (desk.made.clear_lockouts(), desk.made.clear_lockouts(), desk.made.clear_breakers()) == (1, 0, 0)


async def test_a_service_is_locked_apart_and_known_after_a_restart(desk: Desk, tmp_path: Path) -> None:
    """One of its calls at a time probes it when the wait is over; chats never know."""
    connection = await desk.connect()
    desk.made.failed(connection, ONE, "e", DOWN, service="embeddings")
    ask = (connection, ONE, "other")
    assert desk.made.blocked(*ask) is None
    assert desk.made.blocked(*ask, "rerank") is None
    block = desk.made.blocked(*ask, "embeddings")
    assert block is not None
    assert (block.scope, block.soft, block.reason) == ("model", True, "503: down")
    assert not desk.made.admit(*ask, "embeddings")
    await desk.hub.store.flush()
    again = Hub(Settings(data_dir=tmp_path), clock=desk.clock, skills=Skills.load())
    await desk.hub.close()
    await again.open()
    known = again.resilience.blocked(*ask, "embeddings")
    assert known is not None
    assert known.reason == "503: down"
    assert again.resilience.blocked(*ask) is None
    desk.clock.advance(10)
    assert again.resilience.admit(*ask, "embeddings")
    assert not again.resilience.admit(*ask, "embeddings")
    again.resilience.succeeded(*ask, "embeddings")
    assert again.resilience.quiet
    await again.close()


async def test_a_restart_knows_what_was_out_of_action(desk: Desk, tmp_path: Path) -> None:
    """Breakers and locks by the learned state, cooldowns by the connection's row; times by wall clock."""
    one, two = await desk.connect(MANY), await desk.connect(name="b")
    desk.fail(one, Failure(FailureKind.RATE, 429, "slow", retry_after=600.0), model="x")
    desk.fail(two, times=12)
    lock, cooled = desk.made.lockouts()[0], desk.made.cooling()[0]
    again = await desk.restarted(tmp_path, wall_ms=2000)
    assert again.made.breaker(ONE) is BreakerState.OPEN
    assert again.blocked(two).until - again.clock.monotonic() == pytest.approx(28.0)
    (kept,) = again.made.lockouts()
    assert (kept.model, kept.until, kept.since, kept.level, kept.source) == ("x", lock.until, lock.since, 1, "header")
    (row,) = again.made.cooling()
    assert (row.until, row.since, row.source, row.reason) == (cooled.until, cooled.since, "stored", "503: down")
    again.clock.advance(30)
    assert [again.admitted(two), again.admitted(two)] == [True, False], "after a restart too the provider is probed, not stormed"
    again.succeed(two)
    assert again.made.clear_lockouts() == 1
    third = await again.restarted(tmp_path)
    assert third.made.quiet, "what ended is not brought back"
    await third.hub.close()


@pytest.mark.parametrize("jump", [-86_400_000, -30 * 86_400_000])
async def test_a_clock_that_jumped_back_makes_no_wait_longer_than_it_was_made(desk: Desk, tmp_path: Path, jump: int) -> None:
    """REL-12."""
    one, two = await desk.connect(MANY), await desk.connect(name="b")
    desk.fail(one, Failure(FailureKind.RATE, 429, "slow", retry_after=600.0), model="x")
    desk.fail(two, times=12)
    again = await desk.restarted(tmp_path, wall_ms=jump)
    now = again.clock.monotonic()
    assert again.made.breaker(ONE) is BreakerState.OPEN
    assert 600 <= again.blocked(one, "x").until - now <= 630
    assert again.made.cooldowns.active(now)[two.id].until - now <= 3.4
    again.clock.advance(31)
    assert again.made.breaker(ONE) is BreakerState.HALF_OPEN
    await again.hub.close()


async def test_a_jump_of_the_wall_clock_while_running_moves_nothing(desk: Desk) -> None:
    """REL-12: waits are monotonic."""
    one = await desk.connect()
    desk.fail(one, FULL)
    before = desk.blocked(one)
    for jump in (3_600_000, -86_400_000):
        desk.clock.wall_ms += jump
        await desk.hub.store.keys.create(f"key {jump}", grants=["chat"])  # every change has the rows looked at again
        assert desk.blocked(one) == before


async def test_a_connection_that_is_gone_leaves_nothing_behind(desk: Desk) -> None:
    one = await desk.connect()
    desk.fail(one, FULL)
    await desk.hub.store.connections.delete(one.id)
    assert desk.made.quiet


async def test_what_nobody_asks_for_again_is_forgotten(desk: Desk) -> None:
    """So that plans may be kept again."""
    one, other = await desk.connect(MANY), await desk.connect("openai", "b")
    desk.fail(one, FULL, model="x")
    desk.fail(one, Failure(FailureKind.PERMISSION, 403, "no"))
    desk.clock.advance(100)
    assert desk.blocked(other) is None
    assert desk.made.lockouts() == []
    assert not desk.made.quiet, "the connection's cooldown is remembered for an hour"
    desk.clock.advance(3600)
    assert desk.blocked(other) is None
    assert desk.made.quiet


async def test_settings_count_from_the_next_failure_on(desk: Desk) -> None:
    one = await desk.connect()
    await desk.hub.preferences.change(
        {
            "resilienceSettings": {
                "connectionCooldown": {"apikey": {"baseCooldownMs": 50_000, "useUpstreamRetryHints": False, "maxBackoffSteps": 1}},
                "providerBreaker": {"apikey": {"failureThreshold": 2, "resetTimeoutMs": 90_000}},
            }
        }
    )
    desk.fail(one, FULL)
    assert 45 <= desk.blocked(one).until - desk.clock.monotonic() <= 55
    desk.fail(one, times=2)
    assert desk.blocked(one).until - desk.clock.monotonic() == 90


async def test_profiles() -> None:
    rules = rules_of(ResilienceSettings())
    assert {name: (backoff.base, backoff.steps, backoff.hints) for name, (backoff, _) in rules.items()} == {
        "local": (2.0, 3, True), "oauth": (5.0, 8, True), "apikey": (3.0, 5, True),
    }  # fmt: skip
    assert {name: (trip.threshold, trip.reset) for name, (_, trip) in rules.items()} == {
        "local": (2, 15.0), "oauth": (8, 60.0), "apikey": (12, 30.0),
    }  # fmt: skip


async def test_whose_profile(desk: Desk) -> None:
    profile = desk.hub.catalog.profile
    assert (profile("ollama"), profile("openai"), profile("nobody")) == ("local", "apikey", "apikey")
    logins = [row.id for row in desk.hub.catalog.providers.values() if row.category == "oauth"]
    assert {profile(name) for name in logins} == {"oauth"}
