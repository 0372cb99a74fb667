"""What goes between two hubs, sealed: X25519, HKDF-SHA256, AES-256-GCM, and the token that both know (docs/sync.md).

Only the hub whose key it is sealed to can open it, and only who knows the token can have made it. Direction, version and the
question it answers are bound to it, so that none can be given for another.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import TYPE_CHECKING, Any

import msgspec
import orjson

from hub.canonical import canonical
from hub.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT = 1
ALGORITHM = "X25519-HKDF-SHA256-AES256GCM"
_NONCE = bytes(12)  # every message has a key of its own


class Sealed(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A sealed message as it is sent: ``key`` is the sender's key for this message alone; all base64url without padding."""

    v: int
    alg: str
    key: str
    text: str


def public_key(secret: bytes) -> str:
    """The public half of a hub's own key."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey  # noqa: PLC0415 - deferred: only hubs that sync need it

    return _text(X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw())


def seal(value: Any, *, to: str, token: str, about: Mapping[str, str]) -> dict[str, Any]:
    """A JSON value sealed to a hub's public key. ``about`` is bound to it. Raises BadRequest for a key that is none."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey  # noqa: PLC0415 - as above

    once = X25519PrivateKey.generate()
    key = _text(once.public_key().public_bytes_raw())
    cipher = _cipher(once, to, token, key, to)
    text = cipher.encrypt(_NONCE, canonical(value), _bound(about))
    return msgspec.to_builtins(Sealed(v=FORMAT, alg=ALGORITHM, key=key, text=_text(text)))


def unseal(sealed: object, *, secret: bytes, token: str, about: Mapping[str, str]) -> Any:
    """What was sealed to this hub's key by who knows the token, about this. Raises BadRequest for anything else."""
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - as above
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey  # noqa: PLC0415 - as above

    try:
        found = msgspec.convert(sealed, Sealed)
    except msgspec.ValidationError as error:
        raise BadRequest(f"this is no sealed bundle: {error}", field="bundle") from None
    if (found.v, found.alg) != (FORMAT, ALGORITHM):
        raise BadRequest(f"the bundle has format {found.v} {found.alg[:60]}; this hub reads {FORMAT} {ALGORITHM}", field="bundle")
    own = X25519PrivateKey.from_private_bytes(secret)
    cipher = _cipher(own, found.key, token, found.key, public_key(secret))
    try:
        return orjson.loads(cipher.decrypt(_NONCE, _bytes(found.text), _bound(about)))
    except (InvalidTag, orjson.JSONDecodeError):
        raise BadRequest(
            "the bundle does not open: it was changed on its way, or sealed for another hub or with another token", field="bundle"
        ) from None


def known_key(text: str) -> str:
    """A public key in its one spelling. Raises BadRequest."""
    return _text(_bytes(text, 32))


def version_of(value: Any) -> str:
    """SHA-256 of a JSON value in its canonical form."""
    return hashlib.sha256(canonical(value)).hexdigest()


def _cipher(own: Any, other: str, token: str, sender: str, recipient: str) -> Any:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey  # noqa: PLC0415 - as above
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - as above
    from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415 - as above
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF  # noqa: PLC0415 - as above

    try:
        shared = own.exchange(X25519PublicKey.from_public_bytes(_bytes(other, 32)))
    except ValueError:
        raise BadRequest("a public key is not one of X25519", field="recipient") from None
    known = hashlib.sha256(b"hubroute sync token\0" + token.encode()).digest()
    info = f"hubroute sync {FORMAT}\0{sender}\0{recipient}".encode()
    return AESGCM(HKDF(algorithm=SHA256(), length=32, salt=known, info=info).derive(shared))


def _bound(about: Mapping[str, str]) -> bytes:
    return canonical({"format": str(FORMAT), **about})


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _bytes(text: str, size: int | None = None) -> bytes:
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if not data or (size is not None and len(data) != size):
        raise BadRequest("a key or text of the bundle is not base64url of the right length", field="bundle")
    return data
