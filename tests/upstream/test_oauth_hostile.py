"""Hostile servers, authorization servers, links and browsers around a login."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from starlette.responses import JSONResponse, RedirectResponse, Response

from tests.fakes.hub import Running, running_hub
from tests.fakes.protected import Protected, protected
from tests.upstream.browser import Browser, free_port, onward
from tests.upstream.test_oauth import add, call, login, ready, user

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx

pytestmark = pytest.mark.anyio


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    async with running_hub(tmp_path, port=free_port()) as hub:
        yield hub


@pytest.fixture
async def far() -> AsyncIterator[Protected]:
    async with protected() as server:
        yield server


async def refused(running: Running, far: Protected) -> str:
    """Why the server is not added; nothing of it is kept."""
    async with user(running) as owner:
        answer = await owner.post("/api/mcp/servers", json={"name": "far", "url": far.url, "allowPrivate": True, "oauth": {}})
        assert (answer.status_code, answer.json()["code"]) == (502, "login_failed"), answer.text
        assert (await owner.get("/api/mcp/servers")).json()["total"] == 0
        return answer.json()["error"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"issuer": "https://evil.example"}, "another issuer"),
        ({"code_challenge_methods_supported": None}, "S256"),
        ({"code_challenge_methods_supported": ["plain"]}, "S256"),
        ({"token_endpoint": "http://auth.example/token"}, "not https"),
        ({"authorization_endpoint": "http://auth.example/authorize"}, "not https"),
        ({"authorization_endpoint": "javascript:alert(1)"}, "RFC 8414"),
        ({"authorization_endpoint": "data:text/html,hi"}, "RFC 8414"),
        ({"authorization_endpoint": "file:///etc/passwd"}, "RFC 8414"),
        ({"registration_endpoint": "https://auth.example./register"}, "registration_endpoint"),
        ({"revocation_endpoint": "https://user:pass@auth.example/"}, "revocation_endpoint"),
        ({"token_endpoint": None}, "RFC 8414"),
    ],
    ids=lambda value: "-".join(f"{key}-{one}"[:40] for key, one in value.items()) if isinstance(value, dict) else "",
)
async def test_metadata_that_is_not_to_be_trusted(running: Running, far: Protected, change: dict[str, Any], words: str) -> None:
    """SEC-50, SEC-52, SEC-53: a foreign issuer, no PKCE, clear-text endpoints, and addresses that are no web addresses."""
    far.issuer.changes = change
    assert words in await refused(running, far)


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ("http://169.254.169.254/", "not https"),
        ("https://10.0.0.1", "private"),
        ("https://[::ffff:127.0.0.1]:8443", "private"),
        ("https://127.0.0.1.nip.example.", "host name is not valid"),
        ("http://localhost:1", "not https"),
    ],
)
async def test_an_authorization_server_on_a_private_address(running: Running, far: Protected, named: str, words: str) -> None:
    """SEC-10, SEC-52: leave to reach one private server is no leave to reach what that server names."""
    far.metadata = {"authorization_servers": [named]}
    assert words in await refused(running, far)


async def test_resource_metadata_of_somebody_else(running: Running, far: Protected) -> None:
    """SEC-50: tokens for another resource would be somebody else's."""
    far.metadata = {"resource": "https://bank.example/mcp"}
    assert "another resource" in await refused(running, far)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda _: RedirectResponse("http://127.0.0.1:1/metadata"), "no OAuth metadata"),
        (lambda _: Response(b"{" + b" " * 100_000 + b"}", media_type="application/json"), "cannot be reached"),
        (lambda _: Response(b"[" * 60_000, media_type="application/json"), "RFC 8414"),
        (lambda _: Response(b"<html>hello</html>"), "RFC 8414"),
        (lambda _: Response(status_code=500), "answered 500"),
    ],
    ids=["redirect", "giant", "deep", "html", "500"],
)
async def test_metadata_that_is_none(running: Running, far: Protected, answer: Any, words: str) -> None:
    """SEC-12, SEC-57: redirects are not followed, documents are at most 64 KiB."""
    far.issuer.broken["metadata"] = answer
    assert words in await refused(running, far)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"client_id": "x", "redirect_uris": ["https://evil.example/cb"]}, "another redirect address"),
        ({"client_id": "x", "token_endpoint_auth_method": "private_key_jwt"}, "cannot be used"),
        ({"client_id": "x", "token_endpoint_auth_method": "client_secret_basic"}, "cannot be used"),
        ({}, "cannot be used"),
        ({"error": "invalid_redirect_uri", "error_description": "<script>alert(1)</script>"}, "&lt;script&gt;"),
    ],
    ids=["redirect", "key", "no-secret", "empty", "html"],
)
async def test_a_registration_that_is_of_no_use(running: Running, far: Protected, given: dict[str, Any], words: str) -> None:
    """RFC 7591, 3.2.1: what the server made of it is looked at before anybody is sent there. SEC-27: its words are escaped."""
    far.issuer.broken["register"] = lambda _: JSONResponse(given, status_code=400 if "error" in given else 201)
    async with user(running) as owner, Browser() as browser:
        await add(owner, far)
        page = await browser.consent((await owner.post("/api/mcp/servers/far/login")).json()["url"])
        failed = await browser.agree(page)
        assert (failed.status_code, words in failed.text, "<script>" in failed.text) == (502, True, False)
        assert "script-src" not in failed.headers["content-security-policy"]


async def asked(client: httpx.AsyncClient) -> str:
    """The address of a new login."""
    return (await client.post("/api/mcp/servers/far/login")).json()["url"]


async def test_an_answer_counts_once(running: Running, far: Protected) -> None:
    """SEC-52, SEC-55: a state that was used, and one that was never made, are refused; so is its ticket."""
    async with user(running) as owner, Browser() as browser:
        await add(owner, far)
        url = await asked(owner)
        back = await browser.answer_url(url)
        assert (await browser.get(back)).status_code == 200
        assert (await browser.get(back)).status_code == 400
        assert (await browser.get(url)).status_code == 400
        for query in ("", "state=", "state=x&code=y", "state=%00&code=y", f"{urlsplit(back).query}&code=z", "state=" + "a" * 9000):
            assert (await browser.get(f"{back.partition('?')[0]}?{query}")).status_code == 400, query
        assert len(far.issuer.requests) == 1


async def test_only_the_browser_that_agreed_can_come_back(running: Running, far: Protected) -> None:
    """SEC-51, SEC-55: another browser's answer is refused and uses nothing up; an answer without consent does not exist."""
    async with user(running) as owner, Browser() as ann, Browser() as mallory:
        await add(owner, far)
        url = await asked(owner)
        back = await ann.answer_url(url)
        assert (await mallory.get(back)).status_code == 403
        await mallory.consent(url)  # even with a cookie of its own
        assert (await mallory.get(back)).status_code == 403
        assert (await ann.get(back)).status_code == 200


async def test_consent_is_given_by_the_browser_that_saw_it(running: Running, far: Protected) -> None:
    """SEC-51: no cookie, another browser's consent, another site's form and another login's consent start nothing."""
    async with user(running) as owner, Browser() as ann, Browser() as mallory:
        await add(owner, far)
        url = await asked(owner)
        page = await ann.consent(url)
        assert (await mallory.agree(page)).status_code == 400  # no cookie
        theirs = await mallory.consent(url)
        assert (await mallory.agree(page)).status_code == 400  # ann's consent
        fields = {"ticket": parse_qs(urlsplit(url).query)["ticket"][0], "shown": "x"}
        start = f"{running.url}/api/mcp/oauth/start"
        assert (await ann.post(start, data=fields)).status_code == 400
        other = await ann.post(start, data=fields, headers={"origin": "https://evil.example"})
        assert (other.status_code, far.issuer.asked) == (403, [])
        second = await ann.consent(await asked(owner))
        assert (await ann.agree(second, ticket=fields["ticket"])).status_code == 400  # shown for another login
        assert (await mallory.agree(theirs)).status_code == 200


async def test_the_page_says_who_gets_access(running: Running, far: Protected) -> None:
    """SEC-32, SEC-51, SEC-53: who will act, with which scopes, where the login is, and that it comes back to this computer."""
    async with user(running) as owner, Browser() as browser:
        await add(owner, far, scopes=["read"])
        name = (await owner.get("/api/keys")).json()["keys"][0]["name"]
        page = await browser.consent(await asked(owner))
        for words in (name, far.url, far.issuer.url, "read, offline_access", "a program on this computer", "somebody sent you the link"):
            assert words in page.text, words
        assert page.headers["set-cookie"].endswith("HttpOnly; SameSite=Lax")
        assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
        assert page.headers["referrer-policy"] == "same-origin"


async def test_a_code_that_belongs_to_another_login(running: Running, far: Protected) -> None:
    """SEC-52: a code put into somebody else's answer does not fit their verifier."""
    async with user(running) as owner, user(running, "execute:tools") as bob, Browser() as ann, Browser() as mallory:
        await add(owner, far)
        victim = await ann.answer_url(await asked(owner))
        stolen = parse_qs(urlsplit(await mallory.answer_url(await asked(bob))).query)["code"][0]
        query = {**{name: one[0] for name, one in parse_qs(urlsplit(victim).query).items()}, "code": stolen}
        failed = await ann.get(f"{victim.partition('?')[0]}?{urlencode(query)}")
        assert (failed.status_code, "invalid_grant" in failed.text) == (502, True)
        assert (await owner.get("/api/mcp/servers/far/logins")).json()["logins"] == []


@pytest.mark.parametrize("change", [{"iss": ["https://evil.example"]}, {"iss": []}, {"iss": [""]}], ids=["other", "none", "empty"])
async def test_an_answer_of_another_issuer(running: Running, far: Protected, change: dict[str, list[str]]) -> None:
    """SEC-52 (RFC 9207): the code is not sent anywhere when the answer names another issuer, or none though it should."""
    async with user(running) as owner, Browser() as browser:
        await add(owner, far)
        back = await browser.answer_url(await asked(owner))
        query = urlencode({**parse_qs(urlsplit(back).query), **change}, doseq=True)
        assert (await browser.get(f"{back.partition('?')[0]}?{query}")).status_code == 502
        assert far.issuer.requests == []


async def test_an_answer_at_another_issuers_address(running: Running, far: Protected) -> None:
    """SEC-52 (RFC 9700, 4.4): where issuers do not name themselves, each still has a redirect address of its own."""
    far.issuer.says_iss = False
    async with user(running) as owner, Browser() as browser:
        await add(owner, far)
        back = await browser.answer_url(await asked(owner))
        path, _, query = back.partition("?")
        for other in (path.rpartition("/")[0], f"{path[:-1]}{'0' if path[-1] != '0' else '1'}"):
            assert (await browser.get(f"{other}?{query}")).status_code == 403
        assert far.issuer.requests == []
        assert (await browser.get(back)).status_code == 200


async def test_a_refusal_with_markup_in_it(running: Running, far: Protected) -> None:
    """SEC-27: what an authorization server says is text on our page, and one line of plain ASCII in our log and answers."""
    async with user(running) as owner, Browser() as browser:
        await add(owner, far)
        words = {"error": "access_denied", "error_description": "<script>alert(1)</script>\r\n\u202eevil"}

        def deny(request: Any) -> Response:
            asked_ = request.query_params
            return RedirectResponse(
                f"{asked_['redirect_uri']}?{urlencode({**words, 'state': asked_['state'], 'iss': far.issuer.url})}", status_code=302
            )

        far.issuer.broken["authorize"] = deny
        page = await browser.log_in(await asked(owner))
        assert (page.status_code, "<script>" in page.text, "access_denied" in page.text, "\u202e" in page.text) == (502, False, True, False)
        rows, _ = await running.hub.store.audit.page(skill="mcp-login")
        assert (rows[0].outcome, rows[0].error_code) == ("error", "login_failed")


@pytest.mark.parametrize(
    "given",
    [
        {"access_token": "a\r\nx: y", "token_type": "bearer"},
        {"access_token": "a" * 20_000, "token_type": "bearer"},
        {"access_token": "abc", "token_type": "mac"},
        {"token_type": "bearer"},
        {"access_token": "abc", "token_type": "bearer", "expires_in": "soon"},
        ["access_token"],
    ],
    ids=["crlf", "long", "mac", "none", "expiry", "list"],
)
async def test_tokens_that_are_none(running: Running, far: Protected, given: Any) -> None:
    """SEC-29: what cannot be sent in a header, or is no bearer token, is not kept."""
    async with user(running) as owner, Browser() as browser:
        await add(owner, far)
        far.issuer.broken["token"] = lambda _: JSONResponse(given)
        assert (await browser.log_in(await asked(owner))).status_code == 502
        assert (await owner.get("/api/mcp/servers/far/logins")).json()["logins"] == []


async def test_odd_lifetimes(running: Running, far: Protected) -> None:
    """A token that is said to last for ever or no time at all is a token still."""
    async with user(running) as owner:
        await add(owner, far)
        far.issuer.life = 10**12
        await login(owner)
        assert (await owner.post("/api/mcp/servers/far/sync")).status_code == 200
        far.issuer.life = None
        await login(owner)
        shown = (await owner.get("/api/mcp/servers/far/logins")).json()["logins"][0]
        assert (shown["state"], shown["expiresAt"]) == ("connected", None)


async def test_a_ticket_that_is_over(running: Running, far: Protected, monkeypatch: pytest.MonkeyPatch) -> None:
    """SEC-55: ten minutes, unchanged, and for a key that is still valid."""
    async with user(running) as owner, Browser() as browser:
        made = (await owner.post("/api/keys", json={"name": "bob", "scopes": ["execute:tools"]})).json()
        await add(owner, far)
        theirs = (await owner.post("/api/mcp/servers/far/login", headers={"authorization": f"Bearer {made['key']}"})).json()["url"]
        url = await asked(owner)
        assert (await browser.get(url[:-2] + ("A" if url[-2] != "A" else "B") + url[-1])).status_code == 400
        assert (await browser.get(url.partition("?")[0])).status_code == 400
        back = await browser.answer_url(theirs)
        await owner.delete(f"/api/keys/{made['id']}")
        revoked = await browser.get(back)
        assert revoked.status_code in (400, 403), revoked.text
        back = await browser.answer_url(url)
        now = running.hub.clock.now_ms
        monkeypatch.setattr(running.hub.clock, "now_ms", lambda: now() + 601_000)
        assert (await browser.get(back)).status_code == 400
        assert (await browser.get(url)).status_code == 400
        assert far.issuer.requests == []


async def test_a_token_leaves_for_its_own_server_only(running: Running, far: Protected) -> None:
    """SEC-12, SEC-50: neither the hub's key nor the token goes anywhere but to the server that it was made for."""
    async with user(running) as owner:
        await ready(owner, far)
        key = owner.headers["authorization"].removeprefix("Bearer ")
        assert await call(owner) == "ann"
        assert key not in far.seen
        assert {token[:14] for token in far.seen if token} == {"canary-access-"}


async def test_a_login_comes_back_over_https_or_to_this_computer(tmp_path: Path, far: Protected) -> None:
    """RFC 9700: a code never travels in the clear; the error says which setting to mend."""
    async with running_hub(tmp_path, port=free_port(), public_url="http://hub.example") as running, user(running) as owner:
        await add(owner, far)
        answer = await owner.post("/api/mcp/servers/far/login")
        assert (answer.status_code, "HUBROUTE_PUBLIC_URL" in answer.json()["error"]) == (503, True)


async def test_a_client_that_is_named_by_our_document(tmp_path: Path, far: Protected) -> None:
    """Client id metadata documents: with an https address of our own nothing is registered; the document names its redirect address."""
    far.issuer.changes = {"client_id_metadata_document_supported": True}
    async with (
        running_hub(tmp_path, port=free_port(), public_url="https://hub.example") as running,
        user(running) as owner,
        Browser() as ann,
    ):
        await add(owner, far)
        ticket = urlsplit(await asked(owner)).query
        page = await ann.consent(f"{running.url}/api/mcp/oauth/start?{ticket}")
        assert page.headers["set-cookie"].endswith("Secure")
        cookie = page.headers["set-cookie"].partition(";")[0]
        ann.headers["cookie"] = cookie
        on = await ann.agree(page)
        query = parse_qs(urlsplit(onward(on)).query)
        document = (await ann.get(running.url + urlsplit(query["client_id"][0]).path)).json()
        assert (document["client_id"], document["redirect_uris"]) == (query["client_id"][0], query["redirect_uri"])
        assert document["token_endpoint_auth_method"] == "none"
        assert far.issuer.clients == {}
        assert (await ann.get(f"{running.url}/api/mcp/oauth/clients/nothing")).status_code == 404
