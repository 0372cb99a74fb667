"""How what one vendor signed travels through a Messages API client to that vendor's next turn, and to no other vendor.

Such a client returns blocks of thinking unchanged and looks into none, so signatures of all vendors go in them. Thinking that came
without one is marked as unsigned, and the signature that some vendors bind to a call of a tool goes in a redacted block before the
call. An adapter that passes a client's bytes on leaves both out (:mod:`hub.providers._anthropic_foreign`): its vendor would refuse
what it did not sign. A vendor's own signatures are base64, which has no colon.
"""

from __future__ import annotations

UNSIGNED = "unsigned:"
_CALL = "call:"


def shown_signature(signature: str) -> str:
    """The signature of a block of thinking as a client gets it; never empty."""
    return signature or UNSIGNED


def own_signature(signature: str) -> str:
    """The signature of a block that a client sent back."""
    return "" if signature == UNSIGNED else signature


def sealed(call_id: str, signature: str) -> str:
    """The data of the redacted block that carries the signature of a call."""
    return f"{_CALL}{call_id}:{signature}"


def call_signature(data: str, call_id: str) -> str:
    """The signature that such a block holds for this call; empty where it holds none."""
    start = f"{_CALL}{call_id}:"
    return data[len(start) :] if data.startswith(start) else ""


def is_sealed(data: str) -> bool:
    """Whether a redacted block carries the signature of a call."""
    return data.startswith(_CALL)
