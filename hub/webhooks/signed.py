"""Secrets of webhooks, and the headers that a receiver checks: those of Standard Webhooks, and OmniRoute's own beside them (SEC-65)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from typing import TYPE_CHECKING

from hub import signing
from hub.errors import BadRequest
from hub.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Sequence

_PREFIX = "whsec_"
_PLAIN = re.compile(r"[!-~]{16,500}")
#: What is shown of a secret that the hub made: enough to tell two apart, too little to guess the rest.
_SHOWN = 10
_DOTS = "..."


def check(secret: str) -> None:
    """Raise BadRequest unless a secret of the owner's can sign: ``whsec_`` and base64, or 16 to 500 printable characters."""
    if secret.startswith(_PREFIX):
        signing.check_secret(secret, "secret")
    elif not _PLAIN.fullmatch(secret):
        raise BadRequest(
            "secret must be 16 to 500 printable ASCII characters without spaces; leave it out to have one made", field="secret"
        )


def masked(secret: Secret) -> str:
    """A secret as it may be shown."""
    text = secret.reveal()
    return f"{text[:_SHOWN]}{_DOTS}" if text.startswith(_PREFIX) else _DOTS


def keys(secrets: Sequence[Secret]) -> tuple[Secret, ...]:
    """Secrets as Standard Webhooks has them: one that is plain text stands for its bytes."""
    return tuple(Secret(_standard(one.reveal())) for one in secrets)


def headers(secret: Secret, event: str, timestamp: str, body: bytes) -> dict[str, str]:
    """OmniRoute's headers. Its signature covers the body alone, so a receiver that can should check the other one."""
    made = hmac.digest(secret.reveal().encode(), body, hashlib.sha256).hex()
    return {
        "user-agent": "HubRoute-Webhook/1.0 (OmniRoute-Webhook/1.0)",
        "x-webhook-event": event,
        "x-webhook-timestamp": timestamp,
        "x-webhook-signature": f"sha256={made}",
    }


def _standard(secret: str) -> str:
    return secret if secret.startswith(_PREFIX) else _PREFIX + base64.b64encode(secret.encode()).decode()
