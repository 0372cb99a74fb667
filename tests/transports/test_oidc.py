"""Login by an identity provider: a live one on loopback, a browser that follows redirects, and all that may be wrong with an answer."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest
from pydantic import ValidationError

from hub.settings import Settings
from tests.fakes.clock import Still
from tests.fakes.hub import Running, running_hub
from tests.fakes.issuer import Issuer, signer
from tests.fakes.upstream import json_answer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

pytestmark = pytest.mark.anyio

CLIENT, SECRET = "hub", "a secret:with %odd signs"


@pytest.fixture(scope="module")
def clock() -> Still:
    return Still()


@pytest.fixture(scope="module")
async def provider(clock: Still) -> AsyncIterator[Issuer]:
    async with Issuer(openid=True) as made:
        made.now = lambda: clock.now_ms() / 1000
        yield made


@pytest.fixture(scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory, provider: Issuer, clock: Still) -> AsyncIterator[Running]:
    settings: dict[str, Any] = {
        "oidc_issuer": provider.issuer,
        "oidc_client_id": CLIENT,
        "oidc_client_secret": SECRET,
        "oidc_allowed": "alice, Owner@Example.com",
    }
    async with running_hub(tmp_path_factory.mktemp("oidc"), clock=clock, **settings) as hub:
        provider.known(CLIENT, f"{hub.url}/api/auth/oidc/callback", SECRET)
        yield hub


@pytest.fixture(autouse=True)
def plain(provider: Issuer, clock: Still) -> None:
    clock.advance(601)  # what was kept of the provider is asked anew
    provider.subject, provider.person, provider.id_token, provider.described = "alice", {}, None, {}
    provider.signers[:] = [signer()]


@asynccontextmanager
async def browser(running: Running) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=running.url, timeout=10) as made:
        yield made


async def begun(client: httpx.AsyncClient, **query: str) -> str:
    """Where the provider sends the browser back to after the login there."""
    start = await client.get("/api/auth/oidc/start", params=query)
    assert start.status_code == 302, start.text
    async with httpx.AsyncClient() as there:  # another site: our cookies do not go there
        return (await there.get(start.headers["location"])).headers["location"]


async def test_a_login_from_the_link_to_the_session(running: Running, provider: Issuer) -> None:
    async with browser(running) as client:
        page = await client.get("/login", params={"next": "/api/keys"})
        assert 'href="/api/auth/oidc/start?next=%2Fapi%2Fkeys"' in page.text
        back = await begun(client, next="/api/keys")
        asked = provider.asked[-1]
        assert (asked["response_type"], asked["code_challenge_method"], asked["scope"]) == ("code", "S256", "openid email")
        assert len(asked["state"]) == len(asked["nonce"]) == 43
        done = await client.get(back, headers={"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"})
        assert (done.status_code, done.headers["location"]) == (303, "/api/keys")
        assert client.cookies.get("oidc_login") is None
        assert (await client.get("/api/keys")).status_code == 200
        again = await client.get(back)
        assert again.status_code == 400, "the answer is good once"
    rows, _ = await running.hub.store.audit.page(skill="auth-oidc", limit=2)
    assert [(row.outcome, row.detail) for row in rows] == [("ok", "alice")], "what anybody can send leaves no row"


@pytest.mark.parametrize(
    ("subject", "person", "status"),
    [
        ("bob", {}, 403),
        ("bob", {"email": "owner@example.com", "email_verified": True}, 303),
        ("bob", {"email": "owner@example.com", "email_verified": False}, 403),
        ("bob", {"email": "owner@example.com", "email_verified": "true"}, 403),
        ("bob", {"email": "owner@example.com"}, 403),
        ("owner@example.com", {}, 403),
        ("Alice", {}, 403),
    ],
)
async def test_only_named_people_get_in(running: Running, provider: Issuer, subject: str, person: dict[str, Any], status: int) -> None:
    provider.subject, provider.person = subject, person
    async with browser(running) as client:
        done = await client.get(await begun(client))
        assert done.status_code == status, done.text
        rows, _ = await running.hub.store.audit.page(skill="auth-oidc", limit=1)
        assert (rows[0].outcome, rows[0].error_code) == (("ok", "") if status == 303 else ("denied", "oidc_person"))
        assert (await client.get("/api/keys")).status_code == (200 if status == 303 else 401)


def _changed(**changes: Any) -> Callable[[Issuer], None]:
    def change(provider: Issuer) -> None:
        provider.person = changes

    return change


def _other_key(provider: Issuer) -> None:
    stranger = signer("ES256", "one")
    provider.id_token = lambda claims: stranger.sign(claims, typ="JWT")


def _unsigned(provider: Issuer) -> None:
    provider.id_token = lambda claims: provider.signers[-1].sign(claims, typ="JWT").rpartition(".")[0] + "."


def _missing(provider: Issuer) -> None:
    provider.id_token = lambda _: ""


@pytest.mark.parametrize(
    "wrong",
    [
        _changed(nonce="another"),
        _changed(nonce=None),
        _changed(aud="somebody"),
        _changed(aud=["hub", "somebody"]),
        _changed(azp="somebody"),
        _changed(iss="https://evil.example"),
        _changed(exp=1),
        _changed(iat=4_000_000_000),
        _changed(sub=""),
        _changed(email="owner@example.com", sub=None),
        _changed(at_hash="x" * 22),
        _other_key,
        _unsigned,
        _missing,
    ],
)
async def test_an_id_token_that_does_not_hold_is_refused(running: Running, provider: Issuer, wrong: Callable[[Issuer], None]) -> None:
    """OpenID Connect Core, 3.1.3.7."""
    wrong(provider)
    async with browser(running) as client:
        done = await client.get(await begun(client))
        assert done.status_code == 502, done.text
        assert "auth_token" not in client.cookies
        assert SECRET not in done.text


async def test_the_key_may_change_between_logins(running: Running, provider: Issuer) -> None:
    provider.signers.append(signer("ES256", "two"))
    async with browser(running) as client:
        assert (await client.get(await begun(client))).status_code == 303


@pytest.mark.parametrize("change", [{"state": "x" * 43}, {"state": ""}, {"iss": "https://evil.example"}, {"iss": ""}, {"code": ""}])
async def test_an_answer_that_was_tampered_with_is_refused(running: Running, change: dict[str, str]) -> None:
    """State, and the mix-up of RFC 9207."""
    async with browser(running) as client:
        back = urlsplit(await begun(client))
        fields = {name: values[0] for name, values in parse_qs(back.query).items()} | change
        query = urlencode({name: value for name, value in fields.items() if value})
        assert (await client.get(f"{back.path}?{query}")).status_code in (400, 403)
        assert (await client.get(f"{back.path}?{back.query}&state=x")).status_code == 400
        assert "auth_token" not in client.cookies


async def test_a_login_that_took_too_long_begins_anew(running: Running, clock: Still) -> None:
    async with browser(running) as client:
        back = await begun(client)
        clock.advance(600)
        assert (await client.get(back)).status_code == 400


async def test_the_answer_is_for_the_browser_that_began(running: Running) -> None:
    """Login CSRF: somebody else's answer opens nothing here."""
    async with browser(running) as mine, browser(running) as other:
        theirs = await begun(other)
        assert (await mine.get(theirs)).status_code == 400
        await begun(mine)
        assert (await mine.get(theirs)).status_code == 400
        mine.cookies.set("oidc_login", "A" * 100)
        assert (await mine.get(theirs)).status_code == 400


async def test_a_refusal_there_says_nothing_of_its_own_words_here(running: Running) -> None:
    async with browser(running) as client:
        back = urlsplit(await begun(client))
        state = parse_qs(back.query)["state"][0]
        iss = parse_qs(back.query)["iss"][0]
        query = urlencode({"state": state, "iss": iss, "error": "access_denied", "error_description": "<b>call 555 now</b>"})
        done = await client.get(f"{back.path}?{query}")
        assert (done.status_code, "555" in done.text) == (403, False)


async def test_a_provider_that_is_not_itself_is_not_asked(running: Running, provider: Issuer, clock: Still) -> None:
    async with browser(running) as client:
        for described in (
            {"issuer": "https://evil.example"},
            {"authorization_endpoint": "http://example.com/authorize"},
            {"authorization_endpoint": ""},
        ):
            clock.advance(601)
            provider.described = described
            answer = await client.get("/api/auth/oidc/start")
            assert answer.status_code == 502, described
        clock.advance(601)
        provider.described = json_answer({}, status=500)
        assert (await client.get("/api/auth/oidc/start")).status_code == 502


async def test_without_a_provider_nothing_is_offered(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as running, browser(running) as client:
        assert (await client.get("/api/auth/oidc/start")).status_code == 404
        assert (await client.get("/api/auth/oidc/callback")).status_code == 404
        assert "identity provider" not in (await client.get("/login")).text


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"oidc_issuer": "https://id.example"}, "oidc_client_id"),
        ({"oidc_issuer": "https://id.example", "oidc_client_id": "x", "oidc_allowed": " , "}, "oidc_allowed"),
        ({"oidc_issuer": "http://id.example", "oidc_client_id": "x", "oidc_allowed": "a"}, "https"),
        ({"oidc_issuer": "https://id.example", "oidc_client_id": "x", "oidc_allowed": "a", "oidc_scopes": "email"}, "openid"),
    ],
)
def test_settings_that_would_let_anybody_in_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Settings(**settings)
