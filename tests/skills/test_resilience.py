"""Resilience settings as callers see and change them, presets, and the reset of the breakers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hub.access.scopes import expand
from hub.errors import BadRequest, Forbidden, InvalidInput
from hub.preferences import ResilienceSettings
from hub.providers.base import Failure, FailureKind
from hub.records import Caller

if TYPE_CHECKING:
    from tests.skills.conftest import Desk

pytestmark = pytest.mark.anyio
DEFAULTS = ResilienceSettings().model_dump(mode="json", by_alias=True)


async def shown(desk: Desk) -> dict[str, Any]:
    return (await desk.ask("resilience-show")).model_dump(mode="json", by_alias=True)


async def test_the_defaults_and_their_older_names(desk: Desk) -> None:
    found = await shown(desk)
    legacy = found.pop("legacy")
    assert found == DEFAULTS
    assert legacy["defaults"] == {"requestsPerMinute": 100, "minTimeBetweenRequests": 200, "concurrentRequests": 10}
    assert legacy["profiles"]["apikey"] == {
        "transientCooldown": 3000, "rateLimitCooldown": 0, "maxBackoffLevel": 5, "circuitBreakerThreshold": 12,
        "circuitBreakerReset": 30_000,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("patch", "place", "value"),
    [
        ({"requestQueue": {"maxWaitMs": 0}}, ("requestQueue", "maxWaitMs"), 0),
        ({"connectionCooldown": {"oauth": {"maxBackoffSteps": 2}}}, ("connectionCooldown", "oauth", "maxBackoffSteps"), 2),
        ({"providerBreaker": {"apikey": {"failureThreshold": 4}}}, ("providerBreaker", "apikey", "failureThreshold"), 4),
        ({"waitForCooldown": {"enabled": False}}, ("waitForCooldown", "enabled"), False),
        ({"defaults": {"minTimeBetweenRequests": 7}}, ("requestQueue", "minTimeBetweenRequestsMs"), 7),
        ({"profiles": {"oauth": {"circuitBreakerReset": 9000}}}, ("providerBreaker", "oauth", "resetTimeoutMs"), 9000),
        ({"profiles": {"oauth": {"rateLimitCooldown": 900}}}, ("connectionCooldown", "oauth", "baseCooldownMs"), 900),
    ],
)
async def test_any_part_can_be_changed_alone_and_stays(desk: Desk, patch: dict[str, Any], place: tuple[str, ...], value: object) -> None:
    answer = (await desk.ask("resilience-set", **patch)).model_dump(mode="json", by_alias=True)
    assert answer.pop("ok") is True
    assert answer == await shown(desk)
    for name in place:
        answer = answer[name]
    assert answer == value
    reset: dict[str, Any] = {place[-1]: None}
    for name in reversed(place[:-1]):
        reset = {name: reset}
    await desk.ask("resilience-set", None, **reset)
    if "rateLimitCooldown" not in str(patch):
        assert {name: found for name, found in (await shown(desk)).items() if name != "legacy"} == DEFAULTS


async def test_older_names_mean_what_they_show(desk: Desk) -> None:
    await desk.ask("resilience-set", connectionCooldown={"oauth": {"useUpstreamRetryHints": False, "baseCooldownMs": 1234}})
    before = await shown(desk)
    await desk.ask("resilience-set", None, **before["legacy"])
    assert await shown(desk) == before


async def test_newer_names_win_over_older_ones(desk: Desk) -> None:
    await desk.ask("resilience-set", defaults={"concurrentRequests": 3, "requestsPerMinute": 9}, requestQueue={"concurrentRequests": 5})
    queue = (await shown(desk))["requestQueue"]
    assert (queue["concurrentRequests"], queue["requestsPerMinute"]) == (5, 9)


@pytest.mark.parametrize("patch", [{}, {"requestQueue": {}}, {"profiles": {"oauth": {}}}, {"providerBreaker": {"oauth": {}}}])
async def test_a_patch_that_changes_nothing_is_refused(desk: Desk, patch: dict[str, Any]) -> None:
    with pytest.raises(BadRequest, match="requestQueue, connectionCooldown, providerBreaker, waitForCooldown"):
        await desk.ask("resilience-set", **patch)


@pytest.mark.parametrize(
    ("patch", "field"),
    [
        ({"requestQueue": {"requestsPerMinute": 0}}, "requestQueue.requestsPerMinute"),
        ({"providerBreaker": {"oauth": {"resetTimeoutMs": 1}}}, "providerBreaker.oauth.resetTimeoutMs"),
        ({"connectionCooldown": {"local": {}}}, "connectionCooldown.local"),
        ({"waitForCooldown": {"enabled": "perhaps"}}, "waitForCooldown.enabled"),
        ({"profiles": {"oauth": {"nonsense": 1}}}, "profiles.oauth.nonsense"),
        ({"nonsense": 1}, "nonsense"),
    ],
)
async def test_a_bad_value_is_named_and_nothing_is_stored(desk: Desk, patch: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        await desk.ask("resilience-set", None, **{"waitForCooldown": {"maxRetries": 9}, **patch})
    assert [detail["field"] for detail in refused.value.details] == [field]
    assert (await shown(desk))["waitForCooldown"]["maxRetries"] == 3


@pytest.mark.parametrize(
    ("profile", "queue", "oauth", "breaker"),
    [
        ("aggressive", (180, 100, 16), (30_000, False, 4), (3, 15_000)),
        ("balanced", (100, 200, 10), (60_000, False, 8), (5, 30_000)),
        ("conservative", (60, 350, 6), (120_000, False, 10), (8, 60_000)),
    ],
)
async def test_presets(desk: Desk, profile: str, queue: tuple[int, ...], oauth: tuple[Any, ...], breaker: tuple[int, ...]) -> None:
    """mcp-tools.yaml: omniroute_set_resilience_profile."""
    operator = Caller(key_id="k", name="k", scopes=expand(["write:resilience"]))
    answer = await desk.ask("resilience-profile", operator, profile=profile)
    assert (answer.applied, answer.profile) == (True, profile)
    assert tuple(answer.settings["requestQueue"].values()) == queue
    assert tuple(answer.settings["connectionCooldown"]["oauth"].values()) == oauth
    assert tuple(answer.settings["providerBreaker"]["apikey"].values()) == breaker
    found = await shown(desk)
    assert found["requestQueue"]["maxWaitMs"] == 15_000
    assert all(found[part].items() >= values.items() for part, values in answer.settings.items())
    with pytest.raises(Forbidden):
        await desk.ask("resilience-set", operator, requestQueue={"maxWaitMs": 1})


async def test_the_reset_closes_breakers_and_counts_them(desk: Desk) -> None:
    one = await desk.connect("a")
    for _ in range(12):
        desk.hub.resilience.failed(one, "openai", "m", Failure(FailureKind.SERVER, 503, "down"))
    assert not desk.hub.resilience.admit(one, "openai", "m", last_resort=True)
    answer = (await desk.ask("resilience-reset", anything=1)).model_dump(by_alias=True)
    assert answer == {"ok": True, "resetCount": 1, "message": "1 circuit breaker reset"}
    assert desk.hub.resilience.admit(one, "openai", "m", last_resort=True)
    assert (await desk.ask("resilience-reset")).reset_count == 0
