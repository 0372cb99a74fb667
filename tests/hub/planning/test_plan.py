"""From a model string to the targets in order: who is left out and why, and what is said when nobody is left (D21)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from hub.errors import AmbiguousModel, BadRequest, Forbidden, NotConfigured, RateLimited, Unavailable, UnknownModel
from hub.money.prices import Prices
from hub.planning.plan import Planner
from hub.planning.query import Plan, Query
from hub.planning.roots import Roots
from hub.planning.senses import Senses
from hub.preferences import Preferences
from hub.providers.catalog import Catalog, ProviderRow
from hub.records import Caller, Connection, TestStatus
from hub.registry import load
from hub.resilience.quota import Quotas
from hub.routing.resolve import Resolver
from hub.routing.strategy import Facts, Option, Strategy
from hub.secret import Secret
from tests.fakes.book import Book
from tests.fakes.clock import Still

if TYPE_CHECKING:
    from collections.abc import Sequence

CALLER = Caller.anonymous(("chat",))


def provider(name: str, *models: dict[str, Any], **more: object) -> ProviderRow:
    row = {
        "id": name, "alias": name[:2], "name": name.title(), "category": "api_key", "format": "openai", "auth": {"type": "bearer"},
        "services": ["chat"], "models": models,
    }  # fmt: skip
    return msgspec.convert({**row, **more}, ProviderRow)


CATALOG = Catalog(
    [
        provider("demo", {"id": "demo"}, category="builtin", format="demo", auth={"type": "none"}),
        provider(
            "vendor",
            {"id": "picture", "kind": "image"},
            {"id": "strange", "wire": "unheard"},
            {"id": "plain"},
            {"id": "able", "caps": ["tools", "vision"]},
            passthrough_models=True,
        ),
        provider("other", {"id": "plain"}, {"id": "sage", "caps": ["tools"]}),
        provider("silent", {"id": "voice"}, format="unheard"),
        provider("pictures", {"id": "painter", "kind": "image"}),
    ]
)


def connection(name: str, place: str = "vendor", **more: Any) -> Connection:
    return Connection(id=f"con_{name}", provider=place, name=name, secret=Secret("s"), **more)


def backwards(options: Sequence[Option], facts: Facts) -> list[Option]:
    for number, option in enumerate(options):
        option.score, option.factors = float(number), {"place": float(number)}
    return list(reversed(options))


@dataclass
class Desk:
    """A planner and all that it looks at."""

    connections: list[Connection] = field(default_factory=list[Connection])
    prefixes: dict[str, str] = field(default_factory=dict[str, str])
    aliases: dict[str, str] = field(default_factory=dict[str, str])
    builtin_connected: bool = False
    builtins: bool = True
    preferences: Preferences = field(default_factory=Preferences)

    def __post_init__(self) -> None:
        self.clock = Still()
        strategies = dict(load("hub.routing.strategies", Strategy, lambda strategy: strategy.name))
        book = Book(clock=self.clock)
        ledger, self.cooldowns = book.ledger, book.resilience.cooldowns
        quotas = Quotas(self.clock)
        prices = Prices(CATALOG, dict, clock=self.clock)
        senses = Senses(
            catalog=CATALOG,
            prices=prices,
            quotas=quotas,
            resilience=book.resilience,
            telemetry=ledger.telemetry,
            board=ledger.board,
            prefixes=ledger.prefixes,
            clock=self.clock,
            running=lambda _: 0,
            last_used=lambda _: 0,
        )
        roots = Roots(
            catalog=CATALOG,
            resolver=Resolver(CATALOG, self.connected, lambda: self.prefixes, lambda: self.aliases),
            connections=lambda place: sorted((one for one in self.connections if one.provider == place), key=lambda one: one.priority),
            connected=self.connected,
            combos=lambda _: None,
            mappings=lambda: (),
            aliases=lambda: self.aliases,
            preferences=lambda: self.preferences,
            formats=frozenset({"openai", "demo"}),
            builtins=self.builtins,
        )
        self.planner = Planner(
            roots=roots,
            strategies={**strategies, "backwards": Strategy("backwards", "last first", backwards)},
            resilience=book.resilience,
            quotas=quotas,
            senses=senses,
            board=ledger.board,
            sessions=ledger.sessions,
            preferences=lambda: self.preferences,
            clock=self.clock,
        )

    def connected(self) -> frozenset[str]:
        return frozenset(one.provider for one in self.connections if one.active) | ({"demo"} if self.builtin_connected else set())

    def plan(self, model: str = "vendor/plain", caller: Caller = CALLER, **more: Any) -> Plan:
        return self.planner.plan(Query(model=model, caller=caller, **more))

    def cool(self, name: str, *, soft: bool = False, hint: float | None = 60.0) -> None:
        self.cooldowns.fail(f"con_{name}", self.clock.monotonic(), reason="429: slow down", soft=soft, hint=hint)


def tried(plan: Plan) -> list[tuple[str, str]]:
    return [(option.connection.name, option.model) for option in plan.options]


def left_out(plan: Plan) -> dict[str, str]:
    return {one.connection: one.excluded for one in plan.candidates if one.excluded}


def test_the_connections_of_a_provider_in_their_order() -> None:
    desk = Desk([connection("b", priority=2), connection("a", priority=1), connection("x", "other")])
    plan = desk.plan()
    assert tried(plan) == [("a", "plain"), ("b", "plain")]
    assert not plan.last_resort
    assert [one.connection for one in plan.candidates] == ["a", "b"]
    assert [plan.candidates[number].connection for number in plan.order] == ["a", "b"]
    assert (plan.strategy, plan.resolution.rule) == ("fill-first", "explicit")
    assert left_out(plan) == {}


def test_one_connection() -> None:
    plan = Desk([connection("a")]).plan()
    assert (tried(plan), plan.order, len(plan.candidates)) == ([("a", "plain")], [0], 1)


def test_each_exclusion_has_its_reason() -> None:
    desk = Desk(
        [
            connection("off", active=False),
            connection("dead", test_status=TestStatus.EXPIRED, last_error="401: no such key"),
            connection("broke", test_status=TestStatus.CREDITS_EXHAUSTED),
            connection("banned", test_status=TestStatus.BANNED),
            connection("hot", priority=0),
            connection("slow", test_status=TestStatus.UNAVAILABLE),
            connection("good", priority=2, test_status=TestStatus.ACTIVE),
        ]
    )
    desk.cool("hot")
    plan = desk.plan()
    assert tried(plan) == [("slow", "plain"), ("good", "plain")]
    assert left_out(plan) == {
        "off": "switched off",
        "dead": "expired: 401: no such key",
        "broke": "credits_exhausted: needs a person",
        "banned": "banned: needs a person",
        "hot": "429: slow down",
    }
    desk.clock.advance(60)
    assert tried(desk.plan())[0] == ("hot", "plain")


def test_a_request_may_name_its_connection() -> None:
    desk = Desk([connection("a"), connection("b")])
    plan = desk.plan(connection_id="con_b")
    assert tried(plan) == [("b", "plain")]
    assert left_out(plan) == {"a": "another connection was asked for"}
    with pytest.raises(Unavailable, match="another connection was asked for") as caught:
        desk.plan(connection_id="con_gone")
    assert caught.value.retry_after is None
    desk.cool("b", soft=False)
    with pytest.raises(Unavailable) as caught:
        desk.plan(connection_id="con_b")
    assert caught.value.retry_after == 60


def test_a_prefix_pins_its_connection_whatever_the_request_asks() -> None:
    desk = Desk([connection("a"), connection("b")], prefixes={"mine": "vendor/con_b"})
    plan = desk.plan("mine/whatever")
    assert tried(plan) == [("b", "whatever")]
    assert plan.resolution.connection == "con_b"
    assert tried(desk.plan("mine/whatever", connection_id="con_a")) == [("a", "whatever")]


def test_what_a_retry_may_mend_is_tried_when_nothing_else_is_left() -> None:
    """routing.md 3.3: a network fault or a 5xx does not make the only connection useless."""
    desk = Desk([connection("a"), connection("b"), connection("c", active=False), connection("d", test_status=TestStatus.BANNED)])
    desk.cool("a", soft=True)
    assert tried(desk.plan()) == [("b", "plain")]
    desk.cool("b", soft=True)
    plan = desk.plan()
    assert tried(plan) == [("a", "plain")]
    assert plan.last_resort
    assert set(left_out(plan)) == {"b", "c", "d"}


def test_a_limit_is_kept_even_when_nothing_else_is_left() -> None:
    """REL-04: no call to an account that said 429."""
    desk = Desk([connection("a"), connection("b")])
    desk.cool("a", soft=False)
    desk.cool("b", soft=True)
    assert tried(desk.plan()) == [("b", "plain")]


def test_a_switched_off_connection_is_no_last_resort() -> None:
    desk = Desk([connection("a", active=False)])
    desk.cool("a", soft=True)
    with pytest.raises(Unavailable, match="switched off") as caught:
        desk.plan()
    assert caught.value.retry_after is None


def test_all_limited_is_429_with_the_soonest_return() -> None:
    desk = Desk([connection("a"), connection("b")])
    desk.cool("a", hint=90)
    desk.cool("b", hint=30.04)
    with pytest.raises(RateLimited) as caught:
        desk.plan()
    error = caught.value
    assert (error.status, error.retry_after) == (429, pytest.approx(30.04))
    assert error.data["targets"] == [
        {"connection": "a", "provider": "vendor", "model": "plain", "reason": "429: slow down", "retryAfter": 90.0},
        {"connection": "b", "provider": "vendor", "model": "plain", "reason": "429: slow down", "retryAfter": 30.0},
    ]
    assert error.message == "no connection can take plain now (a: 429: slow down; b: 429: slow down)"


def test_some_dead_some_limited_is_503_that_still_says_when() -> None:
    desk = Desk([connection("a"), connection("b", test_status=TestStatus.EXPIRED, last_error="401: no")])
    desk.cool("a", hint=45)
    with pytest.raises(Unavailable) as caught:
        desk.plan()
    assert (caught.value.status, caught.value.retry_after) == (503, 45)
    assert [row["retryAfter"] for row in caught.value.data["targets"]] == [45.0, None]


def test_all_dead_is_503_without_a_time() -> None:
    with pytest.raises(Unavailable) as caught:
        Desk([connection("b", test_status=TestStatus.EXPIRED)]).plan()
    assert caught.value.retry_after is None


@pytest.mark.parametrize(
    ("patterns", "model", "allowed"),
    [
        ((), "vendor/plain", True),
        (("vendor/plain",), "vendor/plain", True),
        (("other/*", "vendor/*"), "vendor/plain", True),
        (("vendor/plain",), "vendor/able", False),
        (("vendor/PLAIN",), "vendor/plain", False),
        (("plain",), "auto", False),
        (("auto",), "auto", True),
        (("vendor/*",), "no/such/model", False),
    ],
)
def test_models_of_a_key(patterns: tuple[str, ...], model: str, allowed: bool) -> None:
    desk = Desk([connection("a")])
    caller = Caller(key_id="k", name="k", scopes=frozenset({"chat"}), allowed_models=patterns)
    desk.plan("vendor/plain")  # another key's plan of the same model does not open it
    desk.plan("vendor/able")
    if allowed:
        assert desk.plan(model, caller).options
        return
    with pytest.raises(Forbidden) as caught:
        desk.plan(model, caller)
    assert caught.value.field == "model"


@pytest.mark.parametrize(
    ("model", "error", "words"),
    [
        ("other/plain", NotConfigured, "no connection for Other; add one with `hubroute providers add other"),
        ("silent/voice", NotConfigured, "'voice' of Silent speaks the wire format 'unheard'.*choose another provider"),
        ("vendor/strange", NotConfigured, "'strange' of Vendor speaks the wire format 'unheard'.*choose another model"),
        ("bad\nname", BadRequest, ""),
    ],
)
def test_what_cannot_be_planned(model: str, error: type[Exception], words: str) -> None:
    """A row that misses something fails closed with a clear error."""
    desk = Desk([connection("a"), connection("s", "silent")])
    for _ in range(2):
        with pytest.raises(error, match=f"(?s){words}"):
            desk.plan(model)


def test_a_bare_model_of_several_providers_must_be_told_apart() -> None:
    with pytest.raises(AmbiguousModel):
        Desk([connection("a"), connection("b", "other")]).plan("plain")
    with pytest.raises(UnknownModel, match="connect one that does"):
        Desk([connection("a", "pictures")]).plan("plain")
    assert tried(Desk([connection("a", "other")]).plan("plain")) == [("a", "plain")]


def test_auto_takes_every_connection_that_chats_with_the_model_it_prefers() -> None:
    desk = Desk(
        [
            connection("first", priority=1),
            connection("listed", priority=2, models=("x", "able")),
            connection("unlisted", priority=3, models=("strange", "x", "y")),
            connection("default", priority=4, default_model="mine", models=("able",)),
            connection("odd", priority=5, default_model="strange"),
            connection("only-odd", priority=6, models=("strange",)),
            connection("elsewhere", "other", priority=7),
            connection("mute", "silent"),
            connection("painter", "pictures"),
            connection("gone", "no-longer-listed"),
        ]
    )
    plan = desk.plan("auto")
    assert tried(plan) == [("first", "plain"), ("listed", "able"), ("unlisted", "x"), ("default", "mine"), ("elsewhere", "plain")]
    assert plan.resolution.rule == "auto"
    assert {one.provider for one in plan.candidates} == {"vendor", "other"}


def test_auto_takes_a_model_that_can_do_what_is_needed() -> None:
    desk = Desk([connection("a"), connection("b", "other", priority=2), connection("c", "pictures")])
    assert tried(desk.plan("auto", needs=frozenset({"tools"}))) == [("a", "able"), ("b", "sage")]
    assert tried(desk.plan("auto", needs=frozenset({"tools", "vision"}))) == [("a", "able")]
    assert tried(desk.plan("auto")) == [("a", "plain"), ("b", "plain")]
    with pytest.raises(NotConfigured, match="no connection offers a model for 'auto'"):
        desk.plan("auto", needs=frozenset({"time travel"}))


def test_auto_with_nothing_connected_is_the_built_in_or_a_clear_error() -> None:
    """D3."""
    assert tried(Desk(builtin_connected=True).plan("auto")) == [("Demo", "demo")]
    with pytest.raises(NotConfigured, match="add one with `hubroute providers add`"):
        Desk().plan("auto")


def test_the_built_in_stands_behind_real_connections() -> None:
    desk = Desk([connection("a", priority=998)], builtin_connected=True)
    assert tried(desk.plan("auto")) == [("a", "plain"), ("Demo", "demo")]


def test_the_built_in_can_be_switched_off() -> None:
    assert tried(Desk([connection("a")]).plan("demo/demo")) == [("Demo", "demo")]
    with pytest.raises(NotConfigured, match="no connection for Demo"):
        Desk([connection("a")], builtins=False).plan("demo/demo")


def test_a_strategy_s_scores_are_in_the_record() -> None:
    """D21."""
    desk = Desk([connection("off", active=False), connection("a"), connection("b")])
    plan = desk.plan(strategy="backwards")
    assert tried(plan) == [("b", "plain"), ("a", "plain")]
    assert plan.order == [2, 1]
    assert [(one.connection, one.score, one.factors) for one in plan.candidates] == [
        ("off", None, {}), ("a", 0.0, {"place": 0.0}), ("b", 1.0, {"place": 1.0}),
    ]  # fmt: skip


def test_changes_are_seen_once_they_are_told() -> None:
    desk = Desk([connection("a")], aliases={"mine": "vendor/plain"})
    assert tried(desk.plan("mine")) == [("a", "plain")]
    desk.aliases["mine"] = "vendor/able"
    desk.connections.append(connection("b"))
    desk.planner.forget()
    assert tried(desk.plan("mine")) == [("a", "able"), ("b", "able")]
    assert tried(desk.plan("vendor/plain")) == [("a", "plain"), ("b", "plain")]


def test_a_cooldown_is_seen_at_once_and_so_is_its_end() -> None:
    desk = Desk([connection("a"), connection("b")])
    assert len(desk.plan().options) == 2
    desk.cool("a", hint=5)
    assert tried(desk.plan()) == [("b", "plain")]
    desk.clock.advance(5)
    assert len(desk.plan().options) == 2
    desk.cool("a", hint=5)
    desk.cooldowns.clear("con_a")
    assert len(desk.plan().options) == 2


def test_what_is_remembered_of_model_names_is_bounded() -> None:
    """SEC B8: names come from callers."""
    desk = Desk([connection("a")])
    for number in range(3000):
        desk.plan(f"vendor/model-{number}")
    assert len(desk.planner._kept) <= 1025
    assert tried(desk.plan("vendor/model-0")) == [("a", "model-0")]
