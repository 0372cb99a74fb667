"""Requests that are signed: AWS's published vectors, Google's service accounts, and both over a real socket."""

from __future__ import annotations

import calendar
import re
from typing import Any

import jwt
import orjson
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from hub.chat import ChatRequest, Message, Role, Text
from hub.errors import NotConfigured
from hub.outbound.base import Origin, Outgoing
from hub.outbound.client import Outbound
from hub.providers import _service_account, _sigv4
from hub.providers._sigv4 import Scope, authorization, signed
from hub.providers.base import Target
from hub.providers.catalog import Auth, Catalog, ProviderRow
from hub.providers.gemini import adapter as GEMINI
from hub.providers.openai import OPENAI
from hub.secret import Secret
from tests.fakes.upstream import FaultUpstream

#: The credentials, moment and place of AWS's "Signature Version 4 Test Suite".
SUITE = Scope("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "us-east-1", "service")
MOMENT = "20150830T123600Z"
UNRESERVED = "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
FORM = (b"Content-Type", b"application/x-www-form-urlencoded")
HELLO = ChatRequest("m", [Message(Role.USER, [Text("hi")])])


@pytest.mark.parametrize(
    ("method", "target", "headers", "body", "signature"),
    [
        ("GET", "/", [], b"", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        ("POST", "/", [], b"", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        ("GET", "/?Param2=value2&Param1=value1", [], b"", "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"),
        ("GET", "/\u1234", [], b"", "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"),
        ("GET", "/?\u1234=bar", [], b"", "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04"),
        ("GET", f"/{UNRESERVED}", [], b"", "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f"),
        ("GET", f"/?{UNRESERVED}={UNRESERVED}", [], b"", "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197"),
        ("POST", "/?Param1=value1", [], b"", "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11"),
        ("POST", "/", [FORM], b"Param1=value1", "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"),
    ],
    ids=["get", "post", "query order", "utf-8 path", "utf-8 query", "unreserved path", "unreserved query", "post query", "form"],
)
def test_the_published_vectors(method: str, target: str, headers: list[Any], body: bytes, signature: str) -> None:
    request = Outgoing(Origin("https", "example.amazonaws.com", 443), method, target, [], body)
    names = "content-type;host;x-amz-date" if headers else "host;x-amz-date"
    found = authorization(request, [*headers, (b"X-Amz-Date", MOMENT.encode())], SUITE, MOMENT)
    assert found == (
        f"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders={names}, Signature={signature}"
    )


def test_temporary_keys_send_their_token_and_nothing_is_signed_twice() -> None:
    request = Outgoing(Origin("https", "example.amazonaws.com", 443), "GET", "/", (), sign=lambda one: one)
    made = signed(request, Scope("AKIDEXAMPLE", "s", "us-east-1", "service", "tok"), calendar.timegm((2015, 8, 30, 12, 36, 0)))
    headers = dict(made.headers)
    assert (headers[b"x-amz-date"], headers[b"x-amz-security-token"], made.sign) == (MOMENT.encode(), b"tok", None)
    assert b"SignedHeaders=host;x-amz-date;x-amz-security-token" in headers[b"authorization"]


def aws(secret: str, base_url: str = "https://polly.us-east-1.amazonaws.com", **data: str) -> Target:
    row = ProviderRow(id="a", alias="a", name="A", category="api_key", format="openai", auth=Auth("aws-sigv4", param="polly"))
    return Target(row, "m", None, "c", base_url, Secret(secret), data)


@pytest.mark.parametrize(
    ("target", "field"),
    [
        (aws("secret-alone"), "data.access_key_id"),
        (aws("AKID:"), "data.access_key_id"),
        (aws("AKID:secret", "https://example.com"), "data.region"),
        (aws(""), "api_key"),
    ],
)
def test_what_a_connection_lacks_is_named(target: Target, field: str) -> None:
    with pytest.raises(NotConfigured) as caught:
        OPENAI.prepare(HELLO, target)
    assert caught.value.field == field
    assert "secret" not in caught.value.message.replace("id:secret[:token]", "")


@pytest.mark.parametrize(
    "target", [aws("AKID:s/+cret"), aws("s/+cret", access_key_id="AKID"), aws("AKID:s/+cret", "https://x", region="us-east-1")]
)
def test_keys_may_stand_together_or_apart(target: Target) -> None:
    made = OPENAI.prepare(HELLO, target).outgoing
    assert made.sign is not None
    sent = dict(made.sign(made).headers)
    assert re.fullmatch(rb"AWS4-HMAC-SHA256 Credential=AKID/\d{8}/us-east-1/polly/aws4_request, .*", sent[b"authorization"])
    assert b"cret" not in b"".join(sent.values())


@pytest.mark.anyio
async def test_a_signature_covers_what_is_sent() -> None:
    """Each request its own: body and moment differ, the template of the target does not."""
    async with FaultUpstream() as upstream:
        outbound = Outbound()
        target = aws("AKID:secret", upstream.url, region="eu-central-1")
        for words in ("one", "two"):
            outgoing = OPENAI.prepare(ChatRequest("m", [Message(Role.USER, [Text(words)])]), target).outgoing
            outgoing.private = True
            await (await outbound.send(outgoing)).read()
        await outbound.aclose()
        signatures: set[str] = set()
        for one in upstream.requests:
            request = Outgoing(upstream.origin, "POST", one.target, [], one.body)
            headers = [(name.encode(), value.encode()) for name, value in one.headers.items()]
            scope = Scope("AKID", "secret", "eu-central-1", "polly")
            assert one.headers["authorization"] == authorization(request, headers, scope, one.headers["x-amz-date"])
            signatures.add(one.headers["authorization"])
        assert len(signatures) == 2


# -- Google


@pytest.fixture(scope="module")
def account() -> tuple[str, Any]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()
    given = {"type": "service_account", "client_email": "me@p.iam.gserviceaccount.com", "private_key": pem, "private_key_id": "kid-1"}
    return orjson.dumps(given, option=orjson.OPT_INDENT_2).decode(), key.public_key()


def vertex(secret: str) -> Target:
    row = Catalog.load().get("vertex")
    data = {"project": "p", "region": "global"}
    base = "https://aiplatform.googleapis.com/v1/projects/p/locations/global/publishers/google"
    return Target(row, "gemini-2.5-flash", None, "c", base, Secret(secret), data)


def test_a_service_account_signs_its_own_token(account: tuple[str, Any]) -> None:
    secret, public = account
    made = GEMINI.prepare(HELLO, vertex(secret)).outgoing
    assert made.sign is not None
    sent = dict(made.sign(made).headers)
    token = sent[b"authorization"].decode().removeprefix("Bearer ")
    claims = jwt.decode(token, public, algorithms=["RS256"])
    assert (claims["iss"], claims["sub"]) == ("me@p.iam.gserviceaccount.com",) * 2
    assert (claims["scope"], claims["exp"] - claims["iat"]) == ("https://www.googleapis.com/auth/cloud-platform", 3600)
    assert jwt.get_unverified_header(token)["kid"] == "kid-1"
    assert made.target == "/v1/projects/p/locations/global/publishers/google/models/gemini-2.5-flash:generateContent"
    assert b"PRIVATE" not in b"".join(sent.values())


def test_a_token_is_renewed_before_it_ends(account: tuple[str, Any]) -> None:
    secret = Secret(account[0])
    assert _service_account.token(secret, 7) == _service_account.token(secret, 7)
    first, second = (jwt.decode(_service_account.token(secret, one), options={"verify_signature": False}) for one in (7, 8))
    assert first["iat"] < second["iat"] < first["exp"]


def test_an_access_token_goes_as_it_is() -> None:
    made = GEMINI.prepare(HELLO, vertex("ya29.token")).outgoing
    assert made.sign is None
    assert dict(made.headers)[b"Authorization"] == b"Bearer ya29.token"


@pytest.mark.parametrize("secret", ['{"client_email": "x"}', "{broken", '{"client_email": "x", "private_key": "no key"}'])
def test_a_broken_account_is_told_before_anything_is_sent(secret: str) -> None:
    with pytest.raises(NotConfigured, match="paste the whole file") as caught:
        GEMINI.prepare(HELLO, vertex(secret))
    assert secret not in str(caught.value)


@pytest.mark.parametrize("row", [row for row in Catalog.load().providers.values() if row.auth.type == "aws-sigv4"], ids=lambda row: row.id)
def test_every_row_that_signs_says_for_which_service(row: ProviderRow) -> None:
    assert re.fullmatch(r"[a-z-]+", row.auth.param)
    base = row.base_url or row.base_url_template.replace("{region}", "eu-west-1")
    target = Target(row, "m", None, "c", base, Secret("AKID:secret"), {"region": "eu-west-1"})
    assert _sigv4.signer(target)(Outgoing(Origin("https", "x", 443), "POST", "/", [])).headers
