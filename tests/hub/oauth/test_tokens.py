"""Tokens as attackers make them, each refused for the reason that it should be refused for (SEC-50)."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jwt
import pytest

from hub.access.scopes import ALL, expand
from hub.errors import Unauthenticated
from hub.oauth.claims import identity
from hub.oauth.refused import TokenRefused
from tests.fakes.issuer import Issuer, coded, raw_token, signer
from tests.fakes.upstream import FaultUpstream
from tests.hub.oauth.conftest import HERE, Taker, taker

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

Made = Callable[[Issuer], str]


async def refused(hub: Taker, token: str) -> str:
    """Why a token is refused; the caller hears the same words each time."""
    with pytest.raises(Unauthenticated) as caught:
        await hub.take(token)
    assert str(caught.value) == str(TokenRefused(""))
    assert isinstance(caught.value, TokenRefused)
    return caught.value.why


async def test_a_good_token(hub: Taker, issuer: Issuer) -> None:
    caller = await hub.take(issuer.token(HERE, "mcp:connect read:models"))
    assert caller.key_id == identity(issuer.issuer, "alice")
    assert caller.name == f"{issuer.issuer}#alice"
    assert caller.scopes == {"mcp:connect", "read:models"}
    assert (await hub.take(issuer.token(HERE, "chat"))).key_id == caller.key_id
    issuer.subject = "bob"
    assert (await hub.take(issuer.token(HERE))).key_id != caller.key_id
    assert issuer.counted.keys == 1


def claimed(**more: Any) -> Made:
    return lambda issuer: issuer.token(HERE, **more)


def headed(**head: Any) -> Made:
    return lambda issuer: issuer.signers[0].sign(issuer.claims(HERE), **head)


def unsigned(**head: Any) -> Made:
    return lambda issuer: raw_token({"typ": "at+jwt", "kid": "one", **head}, issuer.claims(HERE))


def hmac(secret: Callable[[Issuer], bytes]) -> Made:
    """HS256 with what is public as the secret. Put together by hand: the library would not sign with a public key."""

    def make(issuer: Issuer) -> str:
        head, claims, _ = raw_token({"typ": "at+jwt", "alg": "HS256", "kid": "one"}, issuer.claims(HERE)).split(".")
        algorithm: Any = jwt.get_algorithm_by_name("HS256")
        return f"{head}.{claims}.{coded(algorithm.sign(f'{head}.{claims}'.encode(), secret(issuer)))}"

    return make


def tampered(issuer: Issuer) -> str:
    head, _, signature = issuer.token(HERE).split(".")
    return f"{head}.{coded(json.dumps(issuer.claims(HERE, '*')).encode())}.{signature}"


def stripped(issuer: Issuer) -> str:
    return issuer.token(HERE).rpartition(".")[0] + "."


def payload(data: bytes) -> Made:
    """A body that is not a set of claims, well signed."""

    def make(issuer: Issuer) -> str:
        return jwt.PyJWS().encode(data, issuer.signers[0].private, algorithm="RS256", headers={"kid": "one"})

    return make


HOSTILE: dict[str, tuple[Made, str]] = {
    "alg none": (unsigned(alg="none"), "algorithm"),
    "alg None": (unsigned(alg="None"), "algorithm"),
    "alg empty": (unsigned(alg=""), "algorithm"),
    "alg a list": (unsigned(alg=["RS256"]), "algorithm"),
    "no alg": (unsigned(), "algorithm"),
    "alg nobody knows": (unsigned(alg="RS1"), "algorithm"),
    "alg in lower case": (unsigned(alg="rs256"), "algorithm"),
    "HS256 with the public key": (hmac(lambda issuer: issuer.signers[0].pem()), "algorithm"),
    "HS256 with the key's JWK": (hmac(lambda issuer: json.dumps(issuer.signers[0].public()).encode()), "algorithm"),
    "HS256 with nothing": (hmac(lambda _: b""), "algorithm"),
    "another key of that name": (lambda issuer: signer("RS256", "one", 9).sign(issuer.claims(HERE)), "signature"),
    "another algorithm of the key's kind": (lambda issuer: signer("PS256", "one").sign(issuer.claims(HERE)), "its key"),
    "an EC token with an RSA key's name": (lambda issuer: signer("ES256", "one").sign(issuer.claims(HERE)), "its key"),
    "changed claims": (tampered, "signature"),
    "no signature": (stripped, "signature"),
    "an unknown key": (lambda issuer: signer("RS256", "two", 9).sign(issuer.claims(HERE)), "its key"),
    "kid that climbs": (headed(kid="../../dev/null"), "its key"),
    "kid that selects": (headed(kid="' OR 1=1 --"), "its key"),
    "kid of a kilobyte": (headed(kid="k" * 1000), "kid"),
    "kid a number": (unsigned(alg="RS256", kid=1), "malformed"),
    "critical header": (headed(crit=["exp"], exp=1), "malformed"),
    "unencoded payload": (unsigned(alg="RS256", b64=False, crit=["b64"]), "malformed"),
    "nested": (headed(cty="JWT"), "head"),
    "compressed": (headed(zip="DEF"), "head"),
    "a logout token": (headed(typ="logout+jwt"), "head"),
    "a DPoP proof": (headed(typ="dpop+jwt"), "head"),
    "typ a list": (unsigned(alg="RS256", typ=["at+jwt"]), "head"),
    "no issuer": (claimed(iss=None), "names no issuer"),
    "issuer a list": (claimed(iss=["x"]), "names no issuer"),
    "another issuer": (claimed(iss="https://evil.example"), "none of ours"),
    "the issuer with a slash": (lambda issuer: issuer.token(HERE, iss=issuer.issuer + "/"), "none of ours"),
    "the issuer in upper case": (lambda issuer: issuer.token(HERE, iss=issuer.issuer.upper()), "none of ours"),
    "expired": (claimed(exp=1_799_999_960), "expired"),
    "no end": (claimed(exp=None), "malformed"),
    "end as text": (claimed(exp="1900000000"), "exp is no time"),
    "end true": (claimed(exp=True), "exp is no time"),
    "end beyond all time": (claimed(exp=2**70), "exp is no time"),
    "end not a number": (claimed(exp=float("nan")), "exp is no time"),
    "end infinite": (claimed(exp=float("inf")), "exp is no time"),
    "not yet": (claimed(nbf=1_800_000_040), "not valid yet"),
    "issued tomorrow": (claimed(iat=1_800_086_400), "not valid yet"),
    "an ID token": (claimed(at_hash="x"), "not a bearer"),
    "an ID token of Keycloak": (claimed(typ="ID"), "not a bearer"),
    "a refresh token": (claimed(typ="Refresh"), "not a bearer"),
    "bound to a key": (claimed(cnf={"jkt": "x"}), "not a bearer"),
    "a security event": (claimed(events={}), "not a bearer"),
    "nobody": (claimed(sub=None), "names nobody"),
    "subject a number": (claimed(sub=5), "malformed"),
    "subject empty": (claimed(sub="  "), "must not be empty"),
    "subject with a line end": (claimed(sub="alice\nowner"), "control character"),
    "subject too long": (claimed(sub="a" * 256), "longer"),
    "for nobody": (lambda issuer: issuer.signers[0].sign(issuer.claims(HERE, aud=None)), "malformed"),
    "for a number": (claimed(aud=7), "it is for"),
    "for an object": (claimed(aud={"0": HERE}), "it is for"),
    "for somebody else": (claimed(aud="https://other.example"), "it is for https://other.example"),
    "for a name like ours": (claimed(aud=HERE + ".evil.example"), "it is for"),
    "claims a list": (payload(b"[1]"), "malformed"),
    "claims a text": (payload(b'"x"'), "malformed"),
    "claims no JSON": (payload(b"\x00\xff"), "malformed"),
    "claims deep": (payload(b"[" * 5000 + b"]" * 5000), "malformed"),
    "too long": (claimed(pad="a" * 16_000), "too long"),
    "dots only": (lambda _: "..", "malformed"),
    "not base64": (lambda _: "e!J.e!J.e!J", "malformed"),
    "half characters": (lambda _: "\ud800.\ud800.\ud800", "malformed"),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_tokens(hub: Taker, issuer: Issuer, name: str) -> None:
    make, why = HOSTILE[name]
    assert why in await refused(hub, make(issuer))
    assert issuer.counted.keys <= 2


async def test_signatures_of_nothing(tmp_path: Path) -> None:
    """An ECDSA signature of zeros, of the curve's order, and one cut short."""
    key = signer("ES256", "ec")
    async with Issuer(key) as issuer, taker(tmp_path, issuer) as hub:
        good = issuer.token(HERE)
        order = bytes.fromhex("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551")
        for signature in (bytes(64), order * 2, bytes(63) + b"\x01", b"", struct.pack(">I", 1) * 16, b"x" * 63):
            assert "signature" in await refused(hub, good.rpartition(".")[0] + "." + coded(signature))
        assert (await hub.take(good)).name.endswith("#alice")


async def test_a_token_does_not_say_where_its_key_is(hub: Taker, issuer: Issuer) -> None:
    """SEC-50: jku, x5u and jwk are words of the attacker; nobody looks there."""
    evil = signer("RS256", "evil", 9)
    async with FaultUpstream() as attacker:
        for head in ({"jku": f"{attacker.url}/keys"}, {"x5u": f"{attacker.url}/cert"}, {"jwk": evil.public()}, {"x5c": ["AAAA"]}):
            for kid in ("one", "evil", None):
                token = evil.sign(issuer.claims(HERE), **head, kid=kid)
                assert await refused(hub, token) in ("its signature does not hold", "its key is none of its issuer's")
        assert attacker.requests == []


async def test_without_a_kid_there_must_be_no_choice(tmp_path: Path) -> None:
    one, two = signer("RS256", None), signer("RS256", None, 1)
    other = signer("ES256", None)
    async with Issuer(other, one) as issuer, taker(tmp_path, issuer) as hub:
        assert (await hub.take(issuer.token(HERE))).name.endswith("#alice")
        assert (await hub.take(other.sign(issuer.claims(HERE)))).name.endswith("#alice")
        issuer.signers.append(two)
        hub.later(700)
        await refused(hub, signer("RS256", "unknown", 2).sign(issuer.claims(HERE)))
        assert "its key" in await refused(hub, two.sign(issuer.claims(HERE)))


async def test_two_issuers_with_keys_of_one_name(tmp_path: Path) -> None:
    """Mix-up: each issuer's tokens are checked with its own keys, whatever they are called and whoever signed."""
    mine, theirs = signer("RS256", "same"), signer("RS256", "same", 9)
    async with Issuer(mine) as one, Issuer(theirs) as two, taker(tmp_path, one, two) as hub:
        first, second = await hub.take(one.token(HERE)), await hub.take(two.token(HERE))
        assert first.key_id != second.key_id
        assert "signature" in await refused(hub, theirs.sign(one.claims(HERE)))
        assert "signature" in await refused(hub, mine.sign(two.claims(HERE)))


@pytest.mark.parametrize("scope", ["*", "manage", "process", "owner", "operator", "read:*", "m*", "read-only", "Manage", "manage chat *"])
async def test_words_of_a_token_are_no_wildcards(hub: Taker, issuer: Issuer, scope: str) -> None:
    """SEC-03: what counts in a key's grants does not count in a token."""
    caller = await hub.take(issuer.token(HERE, scope))
    assert caller.scopes == ({"chat"} if "chat" in scope else frozenset())


async def test_scopes_roles_and_groups_are_mapped(tmp_path: Path) -> None:
    async with Issuer() as issuer:
        mapping: dict[str, Any] = {"hub.use": ["operator"], "hub.admin": ["manage"], "All Staff": ["read-only"]}
        async with taker(tmp_path, issuer, scopes=mapping) as hub:
            assert (await hub.take(issuer.token(HERE, "hub.use"))).scopes == expand(["operator"])
            assert (await hub.take(issuer.token(HERE, "openid hub.admin"))).scopes == ALL
            assert (await hub.take(issuer.token(HERE, "read:models chat *"))).scopes == frozenset()
            assert (await hub.take(issuer.token(HERE, None, scp=["All Staff", 7]))).scopes == expand(["read-only"])
            assert (await hub.take(issuer.token(HERE, None))).scopes == frozenset()
        options: dict[str, Any] = {"scope_claim": "realm_access.roles", "scopes": mapping, "grants": ["chat"], "principal_claim": "email"}
        async with taker(tmp_path, issuer, **options) as hub:
            roles = {"realm_access": {"roles": ["All Staff"]}, "email": "a@b.example"}
            caller = await hub.take(issuer.token(HERE, "hub.admin", **roles))
            assert caller.scopes == expand(["read-only", "chat"])
            assert caller.key_id == identity(issuer.issuer, "a@b.example")
            for odd in ({"realm_access": "x"}, {"realm_access": {"roles": {"a": 1}}}, {"realm_access": None}):
                assert (await hub.take(issuer.token(HERE, "hub.admin", **{**roles, **odd}))).scopes == {"chat"}
            assert "names nobody" in await refused(hub, issuer.token(HERE))


async def test_a_token_ends_when_it_says_and_is_looked_at_once(hub: Taker, issuer: Issuer) -> None:
    """What is remembered of a token goes no further than its end, half a minute of clock difference apart."""
    token = issuer.token(HERE)
    caller = await hub.take(token)
    assert await hub.take(token) is caller
    assert caller.ends_ms == hub.clock.now_ms() + 330_000
    assert hub.oauth.still(caller, renewed=False)
    hub.later(329)
    assert await hub.take(token) is caller
    hub.later(1)
    assert not hub.oauth.still(caller, renewed=False)
    assert hub.oauth.still(caller, renewed=True)
    assert "expired" in await refused(hub, token)


async def test_what_is_remembered_is_bounded(hub: Taker, issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    """SEC B8."""
    monkeypatch.setattr("hub.oauth.resource._REMEMBERED", 3)
    tokens = [issuer.token(HERE, jti=str(number)) for number in range(6)]
    callers = [await hub.take(token) for token in tokens]
    assert await hub.take(tokens[-1]) is callers[-1]
    assert await hub.take(tokens[0]) is not callers[0]
