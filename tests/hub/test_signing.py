"""Signatures of messages to others: what a receiver accepts and what it refuses (SEC-58, SEC-65)."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest

from hub.errors import BadRequest
from hub.signing import BadSignature, check_secret, new_secret, sign, verify

NOW = 1_800_000_000
BODY = b'{"a": "\xc3\xa4"}'


def test_a_signature_is_that_of_standard_webhooks() -> None:
    """The example of the Standard Webhooks specification, worked out by hand."""
    secret = "whsec_" + base64.b64encode(b"k" * 24).decode()
    headers = sign([secret], "msg_1", NOW, BODY)
    expected = base64.b64encode(hmac.new(b"k" * 24, b"msg_1.1800000000." + BODY, hashlib.sha256).digest()).decode()
    assert headers == {"webhook-id": "msg_1", "webhook-timestamp": "1800000000", "webhook-signature": f"v1,{expected}"}


def test_what_was_signed_is_accepted_for_five_minutes() -> None:
    """SEC-65: five minutes of tolerance, either way."""
    secret = new_secret()
    headers = sign([secret], "msg_1", NOW, BODY)
    for late in (0, 299, -299, 300):
        assert verify([secret], headers, BODY, NOW + late) == "msg_1"
    for late in (301, -301, 86_400):
        with pytest.raises(BadSignature, match="last 5 minutes"):
            verify([secret], headers, BODY, NOW + late)


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-id": "msg_2"},
        {"webhook-timestamp": str(NOW + 1)},
        {"webhook-signature": "v1,AAAA"},
        {"webhook-signature": ""},
        {"webhook-signature": "v2,x v1"},
        {"webhook-signature": "v1,\u00e4"},
        {"webhook-id": ""},
        {"webhook-timestamp": "soon"},
        {"webhook-timestamp": ""},
        {"webhook-timestamp": "-5"},
        {"webhook-timestamp": "9" * 40},
        {"webhook-timestamp": "\u0661"},
    ],
)
def test_a_changed_or_unsigned_message_is_refused(change: dict[str, str]) -> None:
    """SEC-58."""
    secret = new_secret()
    with pytest.raises(BadSignature):
        verify([secret], {**sign([secret], "msg_1", NOW, BODY), **change}, BODY, NOW)


def test_another_body_or_secret_is_refused() -> None:
    secret = new_secret()
    headers = sign([secret], "msg_1", NOW, BODY)
    for secrets, body in (([secret], BODY + b" "), ([new_secret()], BODY), ([], BODY)):
        with pytest.raises(BadSignature) as caught:
            verify(secrets, headers, body, NOW)
        assert secret not in str(caught.value)
    with pytest.raises(BadSignature):
        verify([secret], {}, BODY, NOW)


def test_an_unset_secret_neither_signs_nor_verifies() -> None:
    """SEC-05: a check against an empty secret would let everybody pass."""
    for empty in ("", "whsec_", "plain", "whsec_???"):
        with pytest.raises(BadSignature):
            sign([empty], "msg_1", NOW, BODY)
        with pytest.raises(BadSignature):
            verify([empty], {"webhook-id": "m", "webhook-timestamp": str(NOW), "webhook-signature": "v1,x"}, BODY, NOW)


def test_two_secrets_are_valid_while_one_replaces_the_other() -> None:
    """SEC-65."""
    old, new = new_secret(), new_secret()
    headers = sign([new, old], "msg_1", NOW, BODY)
    for known in ([old], [new], [new_secret(), old]):
        assert verify(known, headers, BODY, NOW) == "msg_1"


def test_secrets_of_a_caller_are_checked() -> None:
    check_secret(new_secret(), "secret")
    for wrong in ("", "whsec_", "whsec_c2hvcnQ=", "whsec_" + base64.b64encode(b"k" * 65).decode(), base64.b64encode(b"k" * 32).decode()):
        with pytest.raises(BadRequest, match="24 to 64") as caught:
            check_secret(wrong, "secret")
        assert caught.value.field == "secret"
    assert new_secret() != new_secret()
