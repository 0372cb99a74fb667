"""One-time codes of a second factor (RFC 6238), by pyotp, and the picture that an app reads them from, by segno.

Imported at first use: most hubs have no second factor.
"""

from __future__ import annotations

import hmac
import io
import re

import segno
from pyotp import random_base32
from pyotp.totp import TOTP

ISSUER = "HubRoute"
_SECONDS = 30
#: A clock may be off by one step either way.
_DRIFT = (0, -1, 1)
_CODE = re.compile(r"[0-9]{6}")


def secret() -> str:
    """A new secret: 160 random bits in base32."""
    return random_base32()


def uri(secret_text: str, account: str) -> str:
    """What an authenticator app takes."""
    return TOTP(secret_text).provisioning_uri(name=account, issuer_name=ISSUER)


def picture(text: str) -> str:
    """A text as a QR code, in SVG, to stand in a page."""
    out = io.BytesIO()
    segno.make(text, error="m").save(out, kind="svg", scale=5, xmldecl=False, nl=False, title="QR code")
    return out.getvalue().decode()


def step_of(secret_text: str, code: str, now_ms: int, *, after: int) -> int:
    """The time step that a code is of, 0 for a wrong code and for one of a step that was used already."""
    text = code.replace(" ", "")
    if not _CODE.fullmatch(text):
        return 0
    totp, now = TOTP(secret_text), now_ms // 1000 // _SECONDS
    steps = [now + drift for drift in _DRIFT]
    return next((step for step in steps if step > after and hmac.compare_digest(totp.generate_otp(step), text)), 0)
