"""The owner's login on both databases, by one process and by two; hashes, waits and what a hub needs before others may reach it."""

from __future__ import annotations

import asyncio
import base64
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from argon2 import extract_parameters
from pydantic import ValidationError

from hub.call import Hub
from hub.errors import BadRequest, Conflict, Forbidden, HubError, NotConfigured, NotFound, RateLimited, Unauthenticated
from hub.login import check_csrf, passwords
from hub.login.lockout import ACCOUNT, FREE, wait_ms
from hub.login.login import Browser
from hub.records import Caller
from hub.settings import Settings
from tests.fakes.clock import Still
from tests.fakes.database import make_settings, postgres_database
from tests.fakes.hashes import quick_hashes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from argon2 import PasswordHasher

pytestmark = pytest.mark.anyio

PASSWORD = "correct horse"
#: Of all hubs on the one PostgreSQL database.
MASTER = base64.b64encode(bytes(32)).decode()
HERE, THERE = Browser("203.0.113.7", "a browser"), Browser("198.51.100.9", "another")


@pytest.fixture(scope="module", autouse=True)
def real() -> Iterator[PasswordHasher]:
    """The hasher of the product; the tests hash more cheaply."""
    with quick_hashes() as hasher:
        yield hasher


@pytest.fixture(scope="module")
def postgres_url() -> Iterator[str]:
    with postgres_database() as url:
        yield url


@asynccontextmanager
async def opened(settings: Settings, clock: Still) -> AsyncIterator[Hub]:
    hub = Hub(settings, clock=clock)
    await hub.open()
    try:
        yield hub
    finally:
        await hub.close()


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
async def kept(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hub]:
    url = request.getfixturevalue("postgres_url") if request.param == "postgresql" else ""
    async with opened(make_settings(tmp_path_factory.mktemp("login"), url, master_key=MASTER), Still()) as made:
        yield made


@pytest.fixture
async def hub(kept: Hub) -> Hub:
    """A hub with the password alone."""
    await kept.login.lockout.unlock()
    await kept.login.sessions.end_all()
    await kept.login.set_password(PASSWORD, current="", caller=Caller.owner())
    return kept


def clock_of(hub: Hub) -> Still:
    assert isinstance(hub.clock, Still)
    return hub.clock


async def wrong(hub: Hub, browser: Browser = HERE, times: int = 1) -> None:
    for _ in range(times):
        with pytest.raises(Unauthenticated):
            await hub.login.enter("wrong pony", "", browser)


async def test_a_session_lives_by_its_token_until_it_is_ended(hub: Hub) -> None:
    session, token = await hub.login.enter(PASSWORD, "", HERE)
    assert await hub.login.sessions.find(token) == session
    assert (session.address, session.agent) == (HERE.address, HERE.agent)
    assert token not in str(await hub.store.logins.all())
    check_csrf(session, session.csrf)
    for other in ("", "x", session.csrf + "x", "é"):
        with pytest.raises(Forbidden):
            check_csrf(session, other)
    assert [one.id for one in await hub.login.sessions.list()] == [session.id]
    assert await hub.login.lives(session.id)
    await hub.login.sessions.end(session.id)
    assert await hub.login.sessions.find(token) is None
    assert not await hub.login.lives(session.id)
    assert not await hub.login.lives(hub.login.sessions.anonymous().id), "there is a login"
    with pytest.raises(NotFound):
        await hub.login.sessions.end(session.id)
    await hub.login.leave(session, HERE)  # out already: nothing to say


async def test_the_last_use_is_noted_once_a_minute(hub: Hub) -> None:
    session, token = await hub.login.enter(PASSWORD, "", HERE)
    for seconds, noted in ((59, 0), (1, 60_000), (30, 60_000)):
        clock_of(hub).advance(seconds)
        found = await hub.login.sessions.find(token)
        assert found is not None
        assert found.last_seen - session.last_seen == noted


async def test_a_new_password_ends_other_sessions_and_the_old_one_opens_nothing(hub: Hub) -> None:
    mine, _ = await hub.login.enter(PASSWORD, "", HERE)
    _, theirs = await hub.login.enter(PASSWORD, "", THERE)
    await hub.login.set_password("another horse", current="", caller=Caller.owner(mine.id))
    assert [one.id for one in await hub.login.sessions.list()] == [mine.id]
    assert await hub.login.sessions.find(theirs) is None
    with pytest.raises(Unauthenticated):
        await hub.login.enter(PASSWORD, "", HERE)
    await hub.login.enter("another horse", "", HERE)


async def test_a_session_that_is_not_fresh_needs_the_password_to_change_it(hub: Hub) -> None:
    session, _ = await hub.login.enter(PASSWORD, "", HERE)
    caller = Caller.owner(session.id)
    clock_of(hub).advance(15 * 60 + 1)
    for current in ("", "wrong pony"):
        with pytest.raises(Forbidden, match="current password"):
            await hub.login.set_password("another horse", current=current, caller=caller)
    await hub.login.set_password("another horse", current=PASSWORD, caller=caller)
    with pytest.raises(Forbidden):
        await hub.login.set_password(PASSWORD, current="", caller=Caller.owner("open"))


async def test_waits_grow_to_their_bounds(hub: Hub) -> None:
    """SEC-06."""
    assert [wait_ms(ACCOUNT, failures) // 1000 for failures in (0, 4, 5, 6, 7, 11, 12, 1000)] == [0, 0, 10, 20, 40, 640, 900, 900]
    assert wait_ms("login:203.0.113.7", 1000) == 3_600_000
    await wrong(hub, times=FREE)
    with pytest.raises(RateLimited) as refused:
        await hub.login.enter(PASSWORD, "", HERE)
    assert refused.value.retry_after == 10
    clock_of(hub).advance(24 * 3600 + 1)
    await wrong(hub, times=FREE)  # a day later all is forgotten
    assert [one.name for one in await hub.login.lockout.locked()] == ["login:203.0.113.7", ACCOUNT]


async def test_a_stranger_elsewhere_does_not_lock_the_owner_out_where_he_is_logged_in(hub: Hub) -> None:
    """SEC-06: the account waits for everybody but an address with a session, where tries from that address alone count."""
    await hub.login.enter(PASSWORD, "", HERE)
    await wrong(hub, THERE, times=FREE)
    with pytest.raises(RateLimited):
        await hub.login.enter(PASSWORD, "", THERE)
    with pytest.raises(RateLimited):
        await hub.login.enter(PASSWORD, "", Browser("192.0.2.1", ""))
    await wrong(hub, HERE, times=FREE - 1)
    await hub.login.enter(PASSWORD, "", HERE)


@pytest.mark.parametrize(
    ("first", "second", "one"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:203.0.113.7", "203.0.113.7", True),
        ("", "", True),
        ("a name", "a name", True),
    ],
)
async def test_an_address_is_what_one_customer_has(hub: Hub, first: str, second: str, one: bool) -> None:
    rows = hub.store.logins
    await hub.login.lockout.admit(first)
    await hub.login.lockout.admit(second)
    failures = sorted([tries.failures for tries in await rows.waiting(-1)], reverse=True)
    assert failures == ([2, 2] if one else [2, 1, 1])


async def test_a_crowd_of_right_codes_and_links_gives_one_session_each(hub: Hub) -> None:
    """What is good once is good once, whoever asks at the same moment."""
    token = await hub.login.record.new_link()
    made = await asyncio.gather(*(hub.login.setup(token, PASSWORD, HERE) for _ in range(4)), return_exceptions=True)
    assert sorted(type(one).__name__ for one in made) == ["NotFound", "NotFound", "NotFound", "tuple"]
    with pytest.raises(NotFound):
        await hub.login.setup("é" * 20, PASSWORD, HERE)


async def test_no_session_survives_a_password_that_was_changed_meanwhile(hub: Hub) -> None:
    for number in range(8):
        now, new = (PASSWORD, "another horse") if number % 2 == 0 else ("another horse", PASSWORD)
        change = hub.login.set_password(new, current="", caller=Caller.owner())
        tries = [hub.login.enter(now, "", HERE) for _ in range(3)]
        await asyncio.gather(change, *tries, return_exceptions=True)
        assert await hub.login.sessions.list() == []
        await hub.login.lockout.unlock()


async def test_who_has_to_wait_writes_nothing(hub: Hub) -> None:
    """SEC B8: refused tries leave no rows, and one line of the audit log a minute."""
    await wrong(hub, times=FREE)
    before, _ = await hub.store.audit.page(skill="auth-login", limit=200)
    for number in range(20):
        with pytest.raises(RateLimited):
            await hub.login.enter(PASSWORD, "", Browser(f"192.0.2.{number}", ""))
    assert len(await hub.store.logins.waiting(-1)) == 2
    after, _ = await hub.store.audit.page(skill="auth-login", limit=200)
    assert len(after) - len(before) <= 1


async def test_an_old_hash_is_made_anew_at_login(hub: Hub, real: PasswordHasher) -> None:
    """SEC-26: parameters are stored with each hash, and raised at the next login."""
    before = (await hub.login.record.get()).password
    assert extract_parameters(before).memory_cost == 1024
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hub.login.hashing.HASHER", real)
        await hub.login.enter(PASSWORD, "", HERE)
        after = (await hub.login.record.get()).password
        parameters = extract_parameters(after)
        assert (after[:10], parameters.memory_cost, parameters.time_cost) == ("$argon2id$", 65536, 3)
        await hub.login.enter(PASSWORD, "", HERE)
        assert (await hub.login.record.get()).password == after, "and then it stays"


async def test_the_same_password_typed_another_way(hub: Hub) -> None:
    await hub.login.set_password("Zoë's café", current="", caller=Caller.owner())
    await hub.login.enter("Zoe\u0308's cafe\u0301", "", HERE)


@pytest.mark.parametrize("password", ["", "1234567", "x" * 201, "password", "CHANGEME", "12345678", "abababab"])
def test_what_is_no_password(password: str) -> None:
    """SEC-05: known ones are refused everywhere, in the settings, too."""
    assert passwords.fault(password)
    with pytest.raises(BadRequest):
        passwords.check(password)
    if password:
        with pytest.raises(ValidationError, match="initial_password"):
            Settings(initial_password=password)


async def test_two_processes_share_sessions_tries_and_password(tmp_path: Path, postgres_url: str) -> None:
    clock = Still()
    settings = make_settings(tmp_path, postgres_url, master_key=MASTER)
    async with opened(settings, clock) as one, opened(settings, clock) as two:
        await one.login.lockout.unlock()
        await one.login.set_password(PASSWORD, current="", caller=Caller.owner())
        session, token = await one.login.enter(PASSWORD, "", HERE)
        assert await two.login.sessions.find(token) == session
        await two.login.set_password("another horse", current="", caller=Caller.owner())
        assert await one.login.sessions.find(token) is None
        with pytest.raises(Unauthenticated):
            await one.login.enter(PASSWORD, "", HERE)
        tries = [hub.login.enter("wrong pony", "", THERE) for _ in range(6) for hub in (one, two)]
        done = await asyncio.gather(*tries, return_exceptions=True)
        # One wrong try of the account was counted above; from there both count in one place.
        assert sorted(type(error).__name__ for error in done) == ["RateLimited"] * 8 + ["Unauthenticated"] * 4
        await two.login.lockout.unlock()
        await one.login.enter("another horse", "", HERE)


async def test_a_first_password_is_set_once(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, initial_password=PASSWORD)
    async with opened(settings, Still()) as hub:
        await hub.login.set_password("another horse", current="", caller=Caller.owner())
    async with opened(settings, Still()) as hub:
        await hub.login.enter("another horse", "", HERE)
        with pytest.raises(Conflict):
            await hub.login.record.set_password("hash", first=True)
        assert PASSWORD not in repr(settings)


async def test_a_hub_that_others_can_reach_needs_an_owner_first(tmp_path: Path) -> None:
    """SEC B1."""

    async def exposed(**settings: Any) -> HubError | None:
        async with opened(make_settings(tmp_path, **settings), Still()) as hub:
            try:
                await hub.login.check_exposure()
            except NotConfigured as error:
                return error
        return None

    refused = await exposed(host="0.0.0.0")
    assert refused is not None
    assert "INITIAL_PASSWORD" in refused.message
    assert await exposed(host="127.0.0.1") is None
    assert await exposed(grpc_address="0.0.0.0:1") is not None
    assert await exposed(host="0.0.0.0", initial_password=PASSWORD) is None
    assert await exposed(host="0.0.0.0") is None, "it has a password now"
