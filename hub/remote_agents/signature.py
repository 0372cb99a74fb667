"""Signatures of agent cards: detached JWS (RFC 7515) over the card's canonical JSON (RFC 8785), A2A 1.0 section 8.4.

Only keys that the owner set count: a card's own ``jku`` is never followed (SEC-50), and algorithms are those of the key's kind.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any, cast

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from hub.canonical import canonical
from hub.errors import BadRequest
from hub.remote_agents.model import Signed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey

_MOST_SIGNATURES = 8
_CURVES: dict[str, ec.EllipticCurve] = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1()}
_HASHES: dict[str, hashes.HashAlgorithm] = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
_EC_ALGORITHMS = {"secp256r1": "ES256", "secp384r1": "ES384"}
_LEAST_RSA_BITS = 2048
#: The fields of a 1.0 card. A card for both versions carries those of 0.3 beside them, which its 1.0 signature does not cover.
_FIELDS = frozenset(
    (
        "name", "description", "supportedInterfaces", "provider", "version", "documentationUrl", "capabilities", "securitySchemes",
        "securityRequirements", "defaultInputModes", "defaultOutputModes", "skills", "iconUrl",
    )
)  # fmt: skip


def check_key(jwk: dict[str, Any], field: str) -> None:
    """Raise BadRequest naming ``field`` unless this is a public key that signatures can be checked with."""
    try:
        _key(jwk)
    except (ValueError, TypeError, KeyError) as error:
        words = "must be public JWKs of kind EC (P-256, P-384), OKP (Ed25519) or RSA (2048 bits or more)"
        raise BadRequest(f"{field} {words}", field=field) from error
    if "d" in jwk:
        raise BadRequest(f"{field} holds a private key; give the public one, and make a new pair: this one has left its home", field=field)


def judged(card: dict[str, Any], keys: Iterable[dict[str, Any]]) -> tuple[Signed, dict[str, Any]]:
    """What is known of a card's signatures, and as much of the card as may be used: of a verified one what the signature covers.

    The signatures themselves are left out then: a card that was only signed anew is the same card.
    """
    trusted = list(keys)
    signatures = _signatures(card)
    if not trusted:
        return (Signed.UNVERIFIED if signatures else Signed.UNSIGNED), card
    for payload, covered in _payloads(card):
        if any(_fits(signature, payload, trusted) for signature in signatures):
            return Signed.VERIFIED, covered
    return (Signed.INVALID if signatures else Signed.UNSIGNED), card


def _signatures(card: dict[str, Any]) -> list[dict[str, Any]]:
    found: Any = card.get("signatures")
    stated = cast("list[Any]", found)[:_MOST_SIGNATURES] if isinstance(found, list) else []
    return [cast("dict[str, Any]", one) for one in stated if isinstance(one, dict)]


def _payloads(card: dict[str, Any]) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """The forms that signers use, each with what it covers: the card as it is, and without empty values as protocol buffers write it."""
    whole = {name: value for name, value in card.items() if name != "signatures"}
    own = {name: value for name, value in whole.items() if name in _FIELDS}
    for covered in (whole, own) if own != whole else (whole,):
        for form in (covered, _filled(covered)):
            try:
                yield canonical(form), covered
            except ValueError:
                return


def _filled(value: Any) -> Any:
    """A value without empty texts, lists and objects within it."""
    if isinstance(value, dict):
        inner = ((name, _filled(item)) for name, item in cast("dict[str, Any]", value).items())
        return {name: item for name, item in inner if item not in ("", [], {})}
    if isinstance(value, list):
        return [item for one in cast("list[Any]", value) if (item := _filled(one)) not in ("", [], {})]
    return value


def _fits(signature: dict[str, Any], payload: bytes, trusted: list[dict[str, Any]]) -> bool:
    protected, value = signature.get("protected"), signature.get("signature")
    if not isinstance(protected, str) or not isinstance(value, str):
        return False
    try:
        header: Any = orjson.loads(_bytes(protected))
        proof = _bytes(value)
    except (ValueError, binascii.Error):
        return False
    # An extension that must be understood is none that we understand (RFC 7515, 4.1.11).
    if not isinstance(header, dict) or "crit" in header:
        return False
    stated = cast("dict[str, Any]", header)
    signed = protected.encode() + b"." + base64.urlsafe_b64encode(payload).rstrip(b"=")
    named = [jwk for jwk in trusted if stated.get("kid") in (None, jwk.get("kid")) or "kid" not in jwk]
    return any(_verifies(_key(jwk), str(stated.get("alg")), proof, signed) for jwk in named)


def _verifies(key: PublicKey, algorithm: str, proof: bytes, signed: bytes) -> bool:
    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            return algorithm in ("EdDSA", "Ed25519") and _silent(key.verify(proof, signed))
        kind, digest = algorithm[:2], _HASHES.get(algorithm[2:])
        if digest is None:
            return False
        if isinstance(key, ec.EllipticCurvePublicKey):
            return _EC_ALGORITHMS.get(key.curve.name) == algorithm and _silent(key.verify(_der(proof, key), signed, ec.ECDSA(digest)))
        if kind == "PS":
            return _silent(key.verify(proof, signed, padding.PSS(padding.MGF1(digest), padding.PSS.DIGEST_LENGTH), digest))
        return kind == "RS" and _silent(key.verify(proof, signed, padding.PKCS1v15(), digest))
    except (InvalidSignature, ValueError):
        return False


def _silent(_: None) -> bool:
    """A check that raised nothing has passed."""
    return True


def _der(proof: bytes, key: ec.EllipticCurvePublicKey) -> bytes:
    """The two numbers of a JWS signature (RFC 7518, 3.4) as the library wants them."""
    size = (key.key_size + 7) // 8
    if len(proof) != 2 * size:
        raise ValueError("a signature of the wrong length")
    return encode_dss_signature(int.from_bytes(proof[:size]), int.from_bytes(proof[size:]))


def _key(jwk: dict[str, Any]) -> PublicKey:
    """The key of a JWK. Raises ValueError, TypeError or KeyError for one that is none."""
    if jwk.get("kty") == "EC":
        return ec.EllipticCurvePublicNumbers(_int(jwk["x"]), _int(jwk["y"]), _CURVES[jwk["crv"]]).public_key()
    if jwk.get("kty") == "OKP" and jwk.get("crv") == "Ed25519":
        return ed25519.Ed25519PublicKey.from_public_bytes(_bytes(jwk["x"]))
    if jwk.get("kty") != "RSA":
        raise ValueError("a key of an unknown kind")
    key = rsa.RSAPublicNumbers(_int(jwk["e"]), _int(jwk["n"])).public_key()
    if key.key_size < _LEAST_RSA_BITS:
        raise ValueError("a key that is too short")
    return key


def _bytes(text: str) -> bytes:
    return base64.b64decode(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4), validate=True)


def _int(text: str) -> int:
    return int.from_bytes(_bytes(text))
