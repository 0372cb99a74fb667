"""Signatures of what the hub POSTs to others, in the manner of Standard Webhooks: over id, timestamp and body (SEC-58, SEC-65).

A receiver needs the secret, the three headers and the body as it came: :func:`verify` is what it does. A secret is
``whsec_`` and the base64 of its bytes. While one is replaced by another, a message carries a signature by each.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from typing import TYPE_CHECKING

from hub.errors import BadRequest, Unauthenticated

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

#: Seconds that a receiver's clock may differ from ours; an older message is a replay.
TOLERANCE_SECONDS = 300
_PREFIX = "whsec_"
_VERSION = "v1"
_NEW_BYTES = 32
_DIGITS = re.compile(r"[0-9]{1,15}")
_LEAST_BYTES, _MOST_BYTES = 24, 64


class BadSignature(Unauthenticated):
    """A message is unsigned, signed by somebody else, changed on its way, or too old. The words never say what would have been right."""


def new_secret() -> str:
    """A new random secret."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(_NEW_BYTES)).decode()


def check_secret(secret: str, field: str) -> None:
    """Raise BadRequest naming ``field`` unless this is a secret of 24 to 64 bytes."""
    try:
        size = len(_key(secret))
    except BadSignature:
        size = 0
    if not _LEAST_BYTES <= size <= _MOST_BYTES:
        words = f"must be {_PREFIX} followed by the base64 of {_LEAST_BYTES} to {_MOST_BYTES} random bytes"
        raise BadRequest(f"{field} {words}", field=field)


def sign(keys: Sequence[str], message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers ``webhook-id``, ``webhook-timestamp`` (Unix seconds) and ``webhook-signature``, a signature for each secret."""
    made = " ".join(f"{_VERSION},{_signature(key, message_id, str(timestamp), body)}" for key in keys)
    return {"webhook-id": message_id, "webhook-timestamp": str(timestamp), "webhook-signature": made}


def verify(keys: Iterable[str], headers: Mapping[str, str], body: bytes, now: float) -> str:
    """The id of a message that was signed with one of these secrets within five minutes of ``now`` (seconds since 1970 UTC).

    ``headers`` has lower-case names. Raises BadSignature, also when there is no secret to check with. Who must not act
    twice on a message that was sent twice keeps the ids of the last five minutes.
    """
    message_id, stamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not message_id or _DIGITS.fullmatch(stamp) is None:
        raise BadSignature("the message is not signed: webhook-id, webhook-timestamp or webhook-signature is missing or malformed")
    if abs(now - int(stamp)) > TOLERANCE_SECONDS:
        raise BadSignature(
            f"the message is not from the last {TOLERANCE_SECONDS // 60} minutes; check both clocks, or refuse it as a replay"
        )
    given = [one.encode(errors="replace") for one in headers.get("webhook-signature", "").split()]
    right = [f"{_VERSION},{_signature(key, message_id, stamp, body)}".encode() for key in keys]
    # Every pair is compared, and to its end: the time taken tells nothing.
    if not sum(hmac.compare_digest(mine, theirs) for mine in right for theirs in given):
        raise BadSignature("no signature of the message fits its id, timestamp and body")
    return message_id


def _signature(secret: str, message_id: str, timestamp: str, body: bytes) -> str:
    signed = f"{message_id}.{timestamp}.".encode() + body
    return base64.b64encode(hmac.digest(_key(secret), signed, hashlib.sha256)).decode()


def _key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True) if secret.startswith(_PREFIX) else b""
    except (binascii.Error, ValueError):
        key = b""
    if not key:
        # An empty key would sign, and anybody could check and forge it.
        raise BadSignature("the secret of the signature is not usable; make a new one")
    return key
