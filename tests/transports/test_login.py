"""The way into the dashboard over a real socket: password, pages, link, tries that are slowed down, second factor."""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from pyotp.totp import TOTP

from hub.process import welcome
from tests.fakes.clock import Still
from tests.fakes.hashes import quick_hashes
from tests.fakes.hub import Running, running_hub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from hub.records import AuditRow

pytestmark = pytest.mark.anyio

PASSWORD = "correct horse"
WRONG = {"password": "wrong pony"}


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    with quick_hashes():
        yield


@pytest.fixture(scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    async with running_hub(tmp_path_factory.mktemp("login"), clock=Still(), initial_password=PASSWORD) as hub:
        yield hub


@pytest.fixture
async def client(running: Running) -> AsyncIterator[httpx.AsyncClient]:
    """A browser that is not logged in, of which nothing is held against it."""
    await running.hub.login.lockout.unlock()
    async with browser(running) as made:
        yield made


@asynccontextmanager
async def browser(running: Running) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=running.url, headers={"sec-fetch-site": "same-origin"}, timeout=20) as made:
        yield made


def still(running: Running) -> Still:
    assert isinstance(running.hub.clock, Still)
    return running.hub.clock


async def enter(client: httpx.AsyncClient, password: str = PASSWORD, **more: str) -> httpx.Response:
    return await client.post("/api/auth/login", json={"password": password, **more})


async def logged(running: Running, skill: str) -> list[AuditRow]:
    rows, _ = await running.hub.store.audit.page(limit=20, skill=skill)
    return rows


async def test_a_login_gives_a_session_and_a_logout_ends_it_at_the_server(running: Running, client: httpx.AsyncClient) -> None:
    """SEC-06."""
    answer = await enter(client)
    assert (answer.status_code, sorted(answer.json()), answer.json()["success"]) == (200, ["csrf", "success"], True)
    cookie = answer.headers["set-cookie"]
    token = answer.cookies["auth_token"]
    assert cookie == f"auth_token={token}; Path=/; Max-Age=2592000; HttpOnly; SameSite=Lax"
    assert (await client.get("/api/keys")).status_code == 200
    assert (await client.post("/api/auth/logout")).json() == {"success": True}
    assert client.cookies.get("auth_token") is None
    client.cookies.set("auth_token", token)
    assert (await client.get("/api/keys")).status_code == 401
    row = (await logged(running, "auth-login"))[0]
    assert (row.outcome, row.target, row.door) == ("ok", "127.0.0.1", "login")
    assert (await logged(running, "auth-logout"))[0].caller == row.caller
    assert re.fullmatch(r"owner \(ses_\w+\)", row.caller)


async def test_a_logout_needs_its_page_and_without_a_session_does_nothing(running: Running, client: httpx.AsyncClient) -> None:
    """SEC-08."""
    assert (await client.post("/api/auth/logout")).status_code == 200
    await enter(client)
    assert (await client.post("/api/auth/logout", headers={"sec-fetch-site": "cross-site"})).status_code == 403
    assert (await client.get("/api/keys")).status_code == 200


async def test_the_session_rotates_at_login(client: httpx.AsyncClient) -> None:
    """SEC-06: a session that was planted before the login is worth nothing after it."""
    first = (await enter(client)).cookies["auth_token"]
    second = (await enter(client)).cookies["auth_token"]
    assert first != second
    client.cookies.clear()
    client.cookies.set("auth_token", first)
    assert (await client.get("/api/keys")).status_code == 401


async def test_over_tls_the_cookie_is_secure_and_the_host_s_own(tmp_path: Path) -> None:
    """SEC-06."""
    url = "https://hub.example.com"
    async with (
        running_hub(tmp_path, public_url=url, initial_password=PASSWORD) as running,
        httpx.AsyncClient(base_url=running.url, headers={"host": "hub.example.com", "origin": url}) as client,
    ):
        answer = await enter(client)
        cookie = answer.headers["set-cookie"]
        name, _, rest = cookie.partition("=")
        assert name == "__Host-auth_token"
        assert rest[43:] == "; Path=/; Max-Age=2592000; HttpOnly; SameSite=Lax; Secure"
        sent = {"cookie": f"{name}={rest[:43]}"}
        assert (await client.get("/api/keys", headers=sent)).status_code == 200
        assert (await client.get("/api/keys", headers={"cookie": f"auth_token={rest[:43]}"})).status_code == 401
        assert (await client.patch("/api/settings", json={"stickyRoundRobinLimit": 3}, headers=sent)).status_code == 200
        stale = {**sent, "origin": "http://hub.example.com"}
        assert (await client.patch("/api/settings", json={"stickyRoundRobinLimit": 3}, headers=stale)).status_code == 403
        assert (await client.put("/api/settings/require-login", json={"requireLogin": False}, headers=sent)).status_code == 400


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"", 400),
        (b"[]", 400),
        (b"{}", 400),
        (b'{"password": ""}', 400),
        (b'{"password": 12345678}', 400),
        (b'{"password": "correct horse", "user": "root"}', 400),
        (b'{"password": "' + b"x" * 201 + b'"}', 400),
        (b'{"password": "' + b"x" * 1024 * 1024 + b'"}', 413),
        (b"\xff\xfe", 400),
    ],
)
async def test_a_wrong_body_is_refused_before_any_hash_is_made(
    running: Running, client: httpx.AsyncClient, body: bytes, status: int
) -> None:
    """SEC-26, and no 500 for malformed JSON."""
    for path in ("/api/auth/login", "/api/auth/setup"):
        began = time.perf_counter()
        answer = await client.post(path, content=body, headers={"content-type": "application/json"})
        assert answer.status_code == status, answer.text
        assert "error" in answer.json()
        assert time.perf_counter() - began < 1
    assert await running.hub.login.lockout.unlock() is False, "nothing was counted"


async def test_a_long_password_in_the_form_is_not_hashed_either(running: Running, client: httpx.AsyncClient) -> None:
    """SEC-26."""
    guard = await form_of(client)
    answer = await client.post("/login", data={"csrf": guard, "password": "x" * 100_000})
    assert answer.status_code == 400
    assert await running.hub.login.lockout.unlock() is False


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "", "origin": "http://localhost:1"}, 403),
        ({"sec-fetch-site": "", "origin": "https://evil.example"}, 403),
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({"sec-fetch-site": ""}, 200),
    ],
)
async def test_nobody_is_logged_in_by_another_site(client: httpx.AsyncClient, headers: dict[str, str], status: int) -> None:
    """SEC-07, login CSRF."""
    answer = await client.post("/api/auth/login", json={"password": PASSWORD}, headers=headers)
    assert answer.status_code == status
    assert ("set-cookie" in answer.headers) == (status == 200)


async def form_of(client: httpx.AsyncClient, path: str = "/login") -> str:
    """The token in the form of a page."""
    found = re.search(r'name="(?:csrf|token)" value="([^"]*)"', (await client.get(path)).text)
    assert found is not None
    return found[1]


async def test_the_page_logs_in_without_javascript_and_goes_where_it_was_asked_to(client: httpx.AsyncClient) -> None:
    page = await client.get("/login", params={"next": "/api/keys?limit=1"})
    assert (page.status_code, "script" in page.text) == (200, False)
    assert "form-action 'self'" in page.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', page.text))
    wrong = await client.post("/login", data={**fields, **WRONG})
    assert (wrong.status_code, "is wrong" in wrong.text) == (401, True)
    fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', wrong.text))
    done = await client.post("/login", data={**fields, "password": PASSWORD})
    assert (done.status_code, done.headers["location"]) == (303, "/api/keys?limit=1")
    assert (await client.get(done.headers["location"])).status_code == 200
    again = await client.get("/login", params={"next": "/x"})
    assert (again.status_code, again.headers["location"]) == (303, "/x")


async def test_the_form_needs_its_browser(running: Running, client: httpx.AsyncClient) -> None:
    """Login CSRF: somebody else's form, or one without its cookie."""
    guard = await form_of(client)
    async with browser(running) as other:
        assert (await other.post("/login", data={"csrf": guard, "password": PASSWORD})).status_code == 403
        await form_of(other)
        assert (await other.post("/login", data={"csrf": guard, "password": PASSWORD})).status_code == 403
    assert (await client.post("/login", data={"password": PASSWORD})).status_code == 403
    assert (await client.post("/login", data={"csrf": guard, "password": PASSWORD})).status_code == 303


@pytest.mark.parametrize(
    "place", ["//evil.example", "https://evil.example", "/\\evil.example", "", "/a\nb", "x", "javascript:alert(1)", "/é"]
)
async def test_the_way_on_is_a_page_of_this_hub(client: httpx.AsyncClient, place: str) -> None:
    guard = await form_of(client)
    done = await client.post("/login", data={"csrf": guard, "password": PASSWORD, "next": place})
    assert done.headers["location"] == "/"


async def test_the_page_s_logout_needs_the_session_s_token(client: httpx.AsyncClient) -> None:
    """SEC-08."""
    csrf = (await enter(client)).json()["csrf"]
    assert (await client.post("/logout", data={"csrf": "x"})).status_code == 403
    assert (await client.get("/logout")).status_code == 405
    assert (await client.get("/api/keys")).status_code == 200
    done = await client.post("/logout", data={"csrf": csrf})
    assert (done.status_code, done.headers["location"]) == (303, "/login")
    assert (await client.get("/api/keys")).status_code == 401


async def test_five_wrong_tries_then_a_wait_that_grows(running: Running, client: httpx.AsyncClient) -> None:
    """SEC-06: the same words whatever was wrong; the right password waits, too; success forgets."""
    for _ in range(5):
        wrong = await client.post("/api/auth/login", json=WRONG)
        assert (wrong.status_code, wrong.json()["error"]) == (401, "the password or the code is wrong")
    waits: list[int] = []
    for _ in range(4):
        locked = await enter(client)
        assert (locked.status_code, locked.json()["code"]) == (429, "login_locked")
        waits.append(int(locked.headers["retry-after"]))
        still(running).advance(waits[-1])
        assert (await client.post("/api/auth/login", json=WRONG)).status_code == 401
    assert waits == [10, 20, 40, 80]
    page = await client.post("/login", data={"csrf": await form_of(client), "password": PASSWORD})
    assert (page.status_code, page.headers["retry-after"]) == (429, "160")
    still(running).advance(160)
    assert (await enter(client)).status_code == 200
    assert (await client.post("/api/auth/login", json=WRONG)).status_code == 401, "it begins anew"
    assert {row.outcome for row in await logged(running, "auth-login")} == {"ok", "denied"}
    assert {row.error_code for row in await logged(running, "auth-login")} == {"", "login_failed", "login_locked"}


async def test_a_crowd_of_tries_at_once_gets_no_more_of_them(running: Running, client: httpx.AsyncClient) -> None:
    """SEC-06."""
    answers = await asyncio.gather(*(client.post("/api/auth/login", json=WRONG) for _ in range(20)))
    assert sorted({answer.status_code for answer in answers}) == [401, 429]
    assert sum(answer.status_code == 401 for answer in answers) == 5


async def test_the_owner_sees_locked_logins_and_unlocks_them(running: Running, client: httpx.AsyncClient) -> None:
    """SEC-06: at the same place as keys that a limit refuses."""
    owner = await running.headers("manage")
    await running.hub.login.sessions.end_all()
    for _ in range(5):
        await client.post("/api/auth/login", json=WRONG)
    listed = (await client.get("/api/policies", headers=owner)).json()["lockedIdentifiers"]
    assert [(one["identifier"], one["reason"]) for one in listed] == [("login:127.0.0.1", "login_locked"), ("login:owner", "login_locked")]
    assert all(one["until"] for one in listed)
    assert (await enter(client)).status_code == 429
    for one in listed:
        done = await client.post("/api/policies", headers=owner, json={"action": "unlock", "identifier": one["identifier"]})
        assert done.json() == {"success": True, "action": "unlock", "identifier": one["identifier"]}
    assert (await enter(client)).status_code == 200
    for _ in range(5):
        await client.post("/api/auth/login", json=WRONG)
    assert (await client.delete("/api/policies", headers=owner)).status_code == 200
    assert (await enter(client)).status_code == 200
    assert (await client.post("/api/policies", headers=owner, json={"action": "unlock", "identifier": "login:x"})).status_code == 404


async def test_a_restart_frees_nobody(tmp_path: Path) -> None:
    """SEC-06."""
    clock = Still()
    async with running_hub(tmp_path, clock=clock, initial_password=PASSWORD) as running, browser(running) as client:
        for _ in range(5):
            await client.post("/api/auth/login", json=WRONG)
    clock.advance(9)
    async with running_hub(tmp_path, clock=clock) as running, browser(running) as client:
        assert (await enter(client)).status_code == 429
        clock.advance(1)
        assert (await enter(client)).status_code == 200


async def test_sessions_end_when_idle_and_in_any_case(running: Running, client: httpx.AsyncClient) -> None:
    clock = still(running)
    await enter(client)
    for _ in range(4):
        clock.advance(167 * 3600)
        assert (await client.get("/api/keys")).status_code == 200
    clock.advance(167 * 3600)
    assert (await client.get("/api/keys")).status_code == 401, "30 days are over"
    await enter(client)
    clock.advance(168 * 3600)
    assert (await client.get("/api/keys")).status_code == 401, "not used for a week"
    assert (await running.hub.retention.sweep()).get("login_sessions", 0) >= 1


async def link_token(running: Running) -> str:
    return (await welcome.owner_link(running.hub)).partition("token=")[2]


async def test_the_owner_link_sets_a_password_once_and_is_good_until_then(running: Running, client: httpx.AsyncClient) -> None:
    await enter(client)
    token = await link_token(running)
    async with browser(running) as other:
        for _ in range(2):
            assert await form_of(other, f"/owner?token={token}") == token
        for password, words in (("short", "8 to 200"), ("password1", "tried first"), ("aaaaaaaa", "tried first"), ("", "8 to 200")):
            refused = await other.post("/owner", data={"token": token, "password": password})
            assert (refused.status_code, words in refused.text) == (400, True), password
        done = await other.post("/owner", data={"token": token, "password": PASSWORD})
        assert (done.status_code, done.headers["location"]) == (303, "/dashboard/start")
        assert (await other.get("/api/keys")).status_code == 200
        assert (await client.get("/api/keys")).status_code == 401, "a new password logs every browser out"
        assert (await other.get("/owner", params={"token": token})).status_code == 404
        assert (await other.post("/owner", data={"token": token, "password": PASSWORD})).status_code == 404


async def test_the_link_for_programs(running: Running, client: httpx.AsyncClient) -> None:
    token = await link_token(running)
    ask = {"token": token, "password": PASSWORD}
    assert (await client.post("/api/auth/setup", json={**ask, "password": "password"})).status_code == 400
    assert (await client.post("/api/auth/setup", json={**ask, "token": "x"})).status_code == 404
    assert (await client.post("/api/auth/setup", json=ask, headers={"sec-fetch-site": "cross-site"})).status_code == 403
    answers = await asyncio.gather(*(client.post("/api/auth/setup", json=ask) for _ in range(3)))
    assert sorted(answer.status_code for answer in answers) == [200, 404, 404], "of two that come with one link, one gets in"
    assert (await enter(client)).status_code == 200
    assert (await logged(running, "auth-setup"))[0].outcome == "ok"


async def test_a_link_ends_after_a_day_and_when_another_is_made(running: Running, client: httpx.AsyncClient) -> None:
    first, second = await link_token(running), await link_token(running)
    assert (await client.get("/owner", params={"token": first})).status_code == 404
    assert (await client.get("/owner", params={"token": second})).status_code == 200
    still(running).advance(24 * 3600)
    assert (await client.get("/owner", params={"token": second})).status_code == 404
    assert (await client.get("/owner")).status_code == 404


async def test_without_a_password_the_login_says_how_to_get_one(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as running, browser(running) as client:
        answer = await enter(client)
        assert (answer.status_code, answer.json()["needsSetup"]) == (403, True)
        assert "hubroute owner link" in (await client.get("/login")).text
        assert (await client.get("/api/settings/require-login")).json()["hasPassword"] is False


async def second_factor(client: httpx.AsyncClient, clock: Still) -> tuple[TOTP, list[str]]:
    """Set one up; the app, and the recovery codes."""
    made = await client.post("/api/auth/totp")
    assert made.status_code == 201, made.text
    shown = made.json()
    assert shown["uri"].startswith("otpauth://totp/HubRoute:127.0.0.1?secret=" + shown["secret"])
    assert shown["svg"].startswith("<svg ")
    app = TOTP(shown["secret"])
    assert (await client.get("/api/auth/totp")).json()["enabled"] is False
    assert (await client.post("/api/auth/totp/confirm", json={"code": "000000"})).status_code in (400,)
    confirmed = await client.post("/api/auth/totp/confirm", json={"code": app.at(clock.now_ms() // 1000)})
    assert confirmed.status_code == 200, confirmed.text
    return app, confirmed.json()["recoveryCodes"]


async def test_a_second_factor_from_the_first_code_to_the_last(running: Running, client: httpx.AsyncClient) -> None:
    clock = still(running)
    await enter(client)
    assert (await client.post("/api/auth/totp/confirm", json={"code": "123456"})).status_code == 409
    app, recovery = await second_factor(client, clock)
    assert (len(set(recovery)), all(re.fullmatch(r"[a-z2-7]{5}-[a-z2-7]{5}", code) for code in recovery)) == (10, True)
    assert (await client.post("/api/auth/totp")).status_code == 409
    assert (await client.get("/api/auth/totp")).json() == {"enabled": True, "recoveryCodesLeft": 10}
    async with browser(running) as other:
        needed = await enter(other)
        assert (needed.status_code, needed.json()["totpRequired"], needed.json()["code"]) == (401, True, "totp_needed")
        assert 'name="code"' in (await other.get("/login")).text
        used = app.at(clock.now_ms() // 1000)
        assert (await enter(other, code=used)).status_code == 401, "the code that confirmed it is used up"
        clock.advance(30)
        fresh = app.at(clock.now_ms() // 1000)
        assert (await enter(other, "wrong pony", code=fresh)).status_code == 401
        assert (await enter(other, code=f"{fresh[:3]} {fresh[3:]}")).status_code == 200
        assert (await enter(other, code=fresh)).status_code == 401, "a code is not taken twice"
        assert (await enter(other, code=recovery[3].upper())).status_code == 200
        assert (await enter(other, code=recovery[3])).status_code == 401, "nor is a recovery code"
        assert (await client.get("/api/auth/totp")).json()["recoveryCodesLeft"] == 9
        await running.hub.login.lockout.unlock()
        for _ in range(6):  # what is not wrong does not count
            assert (await enter(other)).json()["totpRequired"] is True
        clock.advance(60)
        answers = await asyncio.gather(*(enter(other, code=app.at(clock.now_ms() // 1000)) for _ in range(4)))
        assert sorted(answer.status_code for answer in answers) == [200, 401, 401, 401], "not by two at once either"
    await running.hub.login.lockout.unlock()
    for body in ({}, {"password": "wrong pony"}):
        refused = await client.request("DELETE", "/api/auth/totp", json=body)
        assert (refused.status_code, refused.json()["error"]["details"]["code"]) == (403, "password_needed")
    assert (await client.request("DELETE", "/api/auth/totp", json={"password": PASSWORD})).status_code == 200
    assert (await client.request("DELETE", "/api/auth/totp", json={"password": PASSWORD})).status_code == 409
    assert (await enter(client)).status_code == 200


async def test_the_second_factor_s_secret_is_stored_sealed_and_recovery_codes_hashed(running: Running, client: httpx.AsyncClient) -> None:
    """SEC-22."""
    await enter(client)
    made = (await client.post("/api/auth/totp")).json()
    stored = await running.hub.store.logins.owner()
    assert made["secret"] not in stored
    assert PASSWORD not in stored
    assert "$argon2id$" in stored
    await running.hub.store.flush()
    rows, _ = await running.hub.store.audit.page(limit=100)
    assert made["secret"] not in "".join(row.detail for row in rows)
    await running.hub.login.second.disable()


async def test_tries_at_the_password_inside_a_session_are_slowed_down_too(running: Running, client: httpx.AsyncClient) -> None:
    """SEC-06: a stolen session is no place to guess."""
    await enter(client)
    await client.post("/api/auth/totp")
    answers: list[Any] = [await client.request("DELETE", "/api/auth/totp", json=WRONG) for _ in range(6)]
    assert [answer.status_code for answer in answers] == [403] * 5 + [429]
    await running.hub.login.lockout.unlock()
    await running.hub.login.second.disable()
