"""Keys of issuers: rotated, flooded with unknown names, unreachable, redirected, hostile (SEC-10, 12, 50; SEC B8)."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from jwt.algorithms import OKPAlgorithm, RSAAlgorithm

from hub.call import Hub
from hub.errors import Unavailable
from hub.oauth import keycache
from hub.oauth.discovery import places
from hub.settings import Settings
from tests.fakes.issuer import Issuer, Signer, rsa_key, signer
from tests.fakes.upstream import FaultUpstream, answer_bytes, html, json_answer, silent
from tests.hub.oauth.conftest import HERE, Taker, taker
from tests.hub.oauth.test_tokens import refused

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.fakes.upstream import Behaviour

pytestmark = pytest.mark.anyio


async def unreachable(hub: Taker, token: str) -> None:
    with pytest.raises(Unavailable) as caught:
        await hub.take(token)
    assert caught.value.retry_after


def fault(hub: Taker) -> str:
    """Why the last fetch failed."""
    return next(iter(hub.oauth.caches.values())).fault


async def test_a_new_key_is_found_at_once_and_an_old_one_ends(hub: Taker, issuer: Issuer) -> None:
    """Rotation: an unknown kid has the keys fetched; a key that is gone is refused, also for tokens that were checked before."""
    old = issuer.token(HERE, exp=1_900_000_000)
    await hub.take(old)
    issuer.signers.append(signer("RS256", "new", 1))
    await hub.take(issuer.token(HERE))
    await hub.take(old)
    assert issuer.counted.keys == 2
    del issuer.signers[0]
    await hub.take(old)  # the hub cannot know yet
    hub.later(601)
    await hub.take(old)  # stale: answered once more, looked at anew meanwhile
    await hub.settled()
    assert "its key" in await refused(hub, old)
    await hub.take(issuer.token(HERE))


async def test_unknown_keys_do_not_make_the_hub_a_hammer(hub: Taker, issuer: Issuer) -> None:
    """A flood of made-up kids costs the issuer one fetch in half a minute, and good tokens go on."""
    good = issuer.token(HERE)
    await hub.take(good)
    stranger = signer("RS256", "x", 9)
    claims = issuer.claims(HERE)
    await asyncio.gather(*(refused(hub, stranger.sign(claims, kid=f"k{number}")) for number in range(100)))
    for number in range(10):
        await refused(hub, stranger.sign(claims, kid=f"again{number}"))
    assert issuer.counted.keys == 2
    assert issuer.counted.metadata == 1
    await hub.take(good)
    hub.later(31)
    await refused(hub, stranger.sign(claims, kid="k"))
    assert issuer.counted.keys == 3


async def test_one_fetch_for_all_that_wait(hub: Taker, issuer: Issuer) -> None:
    tokens = [issuer.token(HERE, jti=str(number)) for number in range(30)]
    await asyncio.gather(*(hub.take(token) for token in tokens))
    assert (issuer.counted.metadata, issuer.counted.keys) == (1, 1)


async def test_a_caller_who_leaves_does_not_end_the_fetch_of_others(hub: Taker, issuer: Issuer) -> None:
    first = asyncio.create_task(hub.take(issuer.token(HERE)))
    second = asyncio.create_task(hub.take(issuer.token(HERE)))
    await issuer.received(1)
    first.cancel()
    assert (await second).name.endswith("#alice")


async def test_an_issuer_that_is_down(hub: Taker, issuer: Issuer) -> None:
    """Without keys a token is neither good nor bad: 503, with no storm of attempts; with keys they serve for a day."""
    issuer.described = json_answer({"error": "down"}, status=500)
    token = issuer.token(HERE, exp=1_900_000_000)
    await unreachable(hub, token)
    asked = len(issuer.requests)
    await asyncio.gather(*(unreachable(hub, token) for _ in range(20)))
    assert len(issuer.requests) == asked
    assert "answers 500" in fault(hub)
    issuer.described = {}
    hub.later(11)
    await hub.take(token)
    assert fault(hub) == ""
    issuer.keys = json_answer({"error": "down"}, status=503)
    for _ in range(3):
        hub.later(7 * 3600)
        await hub.take(token)
        await hub.take(issuer.token(HERE))
        await hub.settled()
        assert "answers 503" in fault(hub)
    hub.later(4 * 3600)
    await unreachable(hub, token)
    issuer.keys = None
    hub.later(11)
    await hub.take(token)


async def test_nobody_listens_there(tmp_path: Path) -> None:
    async with Issuer() as issuer, taker(tmp_path, issuer) as hub:
        token = issuer.token(HERE)
        assert issuer._server is not None
        issuer._server.close()
        await unreachable(hub, token)
        assert "does not accept" in fault(hub)


async def test_an_issuer_that_says_nothing_holds_nobody_up(hub: Taker, issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keycache, "_WHOLE", 0.05)
    issuer.keys = silent()
    await unreachable(hub, issuer.token(HERE))
    assert "did not answer" in fault(hub)


@pytest.mark.parametrize(
    ("header", "fresh"),
    [
        ("max-age=900", 900),
        ("public, max-age=0", 60),
        ("max-age=99999999", 86_400),
        ("no-store", 600),
        ("max-age=-1", 600),
        ("s-maxage=9", 600),
    ],
)
async def test_how_long_keys_are_fresh(hub: Taker, issuer: Issuer, header: str, fresh: int) -> None:
    """What the issuer says, between a minute and a day; asked again with the ETag."""
    issuer.key_headers = {"cache-control": header}
    token = issuer.token(HERE, exp=1_900_000_000)
    await hub.take(token)
    hub.later(fresh - 1)
    await hub.take(token)
    cache = hub.oauth.caches[issuer.issuer]
    assert cache._task is None
    hub.later(1)
    caller = await hub.take(token)
    task = cache._task
    assert task is not None
    await task
    assert issuer.counted.keys == 2
    assert issuer.requests[-1].headers["if-none-match"].startswith('"')
    assert await hub.take(token) is caller  # 304: nothing changed, so nothing is checked anew
    assert cache._task is None


def public(**fields: Any) -> dict[str, Any]:
    return {**signer().public(), **fields}


UNUSABLE: dict[str, Callable[[], dict[str, Any]]] = {
    "published secret": lambda: {**RSAAlgorithm.to_jwk(rsa_key(), as_dict=True), "kid": "one", "key_ops": ["verify"]},
    "published secret of a curve": lambda: {**OKPAlgorithm.to_jwk(signer("EdDSA").private, as_dict=True), "kid": "one"},
    "small RSA": lambda: Signer(rsa_key(3, 1024), "RS256", "one").public(),
    "for encryption": lambda: public(use="enc"),
    "for signing only": lambda: public(key_ops=["sign"]),
    "shared secret": lambda: {"kty": "oct", "k": "c2VjcmV0", "kid": "one", "alg": "HS256"},
    "RSA for HMAC": lambda: public(alg="HS256"),
    "RSA for none": lambda: public(alg="none"),
    "EC with another curve's name": lambda: {**signer("ES256", "one").public(), "crv": "P-384"},
    "EC off the curve": lambda: {**signer("ES256", "one").public(), "x": "AAAA"},
    "a curve nobody takes": lambda: {**signer("ES256", "one").public(), "crv": "secp256k1", "alg": "ES256K"},
    "no numbers": lambda: {"kty": "RSA", "kid": "one"},
    "modulus one": lambda: public(n="AQ"),
    "exponent one": lambda: public(e="AQ"),
    "kty a list": lambda: public(kty=["RSA"]),
    "kid a number": lambda: public(kid=1),
    "key_ops a number": lambda: public(key_ops=5),
}


@pytest.mark.parametrize("name", UNUSABLE)
async def test_keys_that_are_not_used(hub: Taker, issuer: Issuer, name: str) -> None:
    """Left out, and the others serve; with no other the set counts as broken, and what was held goes on."""
    bad = UNUSABLE[name]()
    other = signer("ES256", "other")
    issuer.keys = json_answer({"keys": [bad, other.public(), "x", None]})
    await hub.take(other.sign(issuer.claims(HERE)))
    assert "its key" in await refused(hub, issuer.token(HERE))
    issuer.keys = json_answer({"keys": [bad]})
    hub.later(31)
    await refused(hub, issuer.token(HERE))
    assert "no key that can be used" in fault(hub)
    await hub.take(other.sign(issuer.claims(HERE)))


BROKEN: dict[str, tuple[Behaviour, str]] = {
    "a login page": (html(), "not JSON"),
    "a list": (json_answer([]), "not JSON"),
    "keys an object": (json_answer({"keys": {}}), "not JSON"),
    "not found": (json_answer({}, status=404), "answers 404"),
    "nothing": (answer_bytes(b""), "not JSON"),
    "not modified, of nothing": (answer_bytes(b"", status=304), "answers 304"),
    "too many": (json_answer({"keys": [public(kid=str(number)) for number in range(101)]}), "more than 100"),
    "too large": (answer_bytes(b" " * 300_000), "too large"),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_sets_that_are_none(hub: Taker, issuer: Issuer, name: str) -> None:
    issuer.keys, why = BROKEN[name]
    await unreachable(hub, issuer.token(HERE))
    assert why in fault(hub)


async def test_a_set_without_keys_ends_every_token(hub: Taker, issuer: Issuer) -> None:
    """An issuer that takes all its keys back means it; this is no fault."""
    token = issuer.token(HERE)
    await hub.take(token)
    issuer.keys = json_answer({"keys": []})
    hub.later(31)
    await refused(hub, signer("RS256", "x", 9).sign(issuer.claims(HERE)))
    assert "its key" in await refused(hub, token)
    assert fault(hub) == ""


async def test_redirects_are_not_followed(hub: Taker, issuer: Issuer) -> None:
    """SEC-12: neither of the keys nor of the metadata, and the fetch carries no credential that could leak."""
    async with FaultUpstream() as elsewhere:
        elsewhere.answer(answer_bytes(issuer.key_set()))
        moved = answer_bytes(b"", status=302, headers=[("location", elsewhere.url + "/keys")])
        issuer.keys = moved
        await unreachable(hub, issuer.token(HERE))
        assert "answers 302; redirects are not followed" in fault(hub)
        issuer.keys, issuer.described = None, moved
        hub.later(11)
        await unreachable(hub, issuer.token(HERE))
        assert "redirects are not followed" in fault(hub)
        assert elsewhere.requests == []
        assert all("authorization" not in request.headers for request in issuer.requests)


async def test_metadata_cannot_send_the_hub_to_private_addresses(hub: Taker, issuer: Issuer) -> None:
    """SEC-10: only the address that the operator wrote may be private; the metadata's word opens nothing."""
    async with FaultUpstream() as inside:
        inside.answer(answer_bytes(issuer.key_set()))
        port = inside.port
        for uri, why in (
            (f"http://127.0.0.1:{port}/keys", "not https"),
            (f"https://127.0.0.1:{port}/keys", "private"),
            (f"https://localhost:{port}/keys", "private"),
            (f"https://[::ffff:127.0.0.1]:{port}/keys", "private"),
            ("https://169.254.169.254/keys", "never allowed"),
            ("https://10.0.0.1/keys", "private"),
            ("http://example.com/keys", "not https"),
            ("file:///etc/passwd", "http"),
            ("https://user@example.com/keys", "user name"),
            ("", "no jwks_uri"),
        ):
            issuer.described = {"jwks_uri": uri}
            hub.later(11)
            await unreachable(hub, issuer.token(HERE))
            assert why in fault(hub), uri
        assert inside.connections == 0


async def test_metadata_of_somebody_else(hub: Taker, issuer: Issuer) -> None:
    """RFC 8414, 3.3: who speaks for another issuer is not believed, keys and all."""
    for described, why in (
        ({"issuer": "https://other.example"}, "not of"),
        ({"issuer": issuer.issuer + "/"}, "exactly as it names itself"),
        ({"issuer": 5}, "not the metadata"),
        ({"jwks_uri": ["x"]}, "not the metadata"),
        (html(), "not the metadata"),
        (json_answer([1]), "not the metadata"),
        (answer_bytes(b" " * 70_000), "too large"),
    ):
        issuer.described = described
        hub.later(11)
        await unreachable(hub, issuer.token(HERE))
        assert why in fault(hub), described
    assert issuer.counted.keys == 0


@pytest.mark.parametrize("openid", [False, True])
@pytest.mark.parametrize("path", ["", "/realms/a", "/t/"])
async def test_where_metadata_may_be(tmp_path: Path, path: str, openid: bool) -> None:
    if path.endswith("/"):
        path = path if openid else path.rstrip("/")
    async with Issuer(path=path.rstrip("/"), openid=openid) as issuer, taker(tmp_path, issuer) as hub:
        await hub.take(issuer.token(HERE))
        assert issuer.counted.metadata == 1


def test_places() -> None:
    assert [url for url, _ in places("https://a.example/")] == [url for url, _ in places("https://a.example")]
    assert places("https://a.example:8/x/y") == [
        ("https://a.example:8/.well-known/oauth-authorization-server/x/y", False),
        ("https://a.example:8/.well-known/openid-configuration/x/y", True),
        ("https://a.example:8/x/y/.well-known/openid-configuration", True),
    ]


async def test_keys_from_the_settings_need_no_metadata(tmp_path: Path) -> None:
    async with Issuer() as issuer, taker(tmp_path, issuer, jwks_url=f"{issuer.url}/keys") as hub:
        await hub.take(issuer.token(HERE))
        assert (issuer.counted.metadata, issuer.counted.keys) == (0, 1)


async def test_closing_ends_a_fetch(tmp_path: Path, issuer: Issuer) -> None:
    """A hub that starts asks its issuers in the background; one that does not answer delays neither start nor stop."""
    issuer.described = silent()
    hub = Hub(Settings(data_dir=tmp_path, oauth_issuers=issuer.issuer))  # pyright: ignore[reportArgumentType] - as the environment gives it
    await hub.open()
    await issuer.received(1)
    await hub.close()


async def test_a_key_set_is_read_as_one(issuer: Issuer) -> None:
    """Two keys of one name and kind are a choice, so neither is taken."""
    from hub.oauth.keyset import KeySet

    twins = KeySet(json.dumps({"keys": [public(), signer("RS256", "one", 9).public()]}).encode())
    assert (twins.find("RS256", "one"), twins.find("RS256", None)) == (None, None)
    free = KeySet(json.dumps({"keys": [{name: value for name, value in public().items() if name != "alg"}]}).encode())
    assert free.algorithms == ["PS256", "PS384", "PS512", "RS256", "RS384", "RS512"]
    assert free.find("PS512", "one") is not None
