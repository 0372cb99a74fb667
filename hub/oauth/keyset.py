"""The keys of an issuer: which of a JWK set may check signatures, and with which algorithm (RFC 7517, RFC 8725)."""

from __future__ import annotations

from typing import Any, cast

import jwt
import orjson

from hub.errors import UpstreamFailed
from hub.log import logger

log = logger("hub.oauth")

#: Signatures that are taken, each with the only kind of key that may make it. No ``none``, and nothing with a shared secret.
ALGORITHMS: dict[str, tuple[str, str]] = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), ("RSA", "")),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
}
_MOST_KEYS = 100
#: Bits of an RSA key: fewer can be broken, more only cost time.
_LEAST_BITS, _MOST_BITS = 2048, 8192
#: Members that only a secret key has. A secret that was published is nobody's any more.
_SECRET = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})


class KeySet:
    """The usable keys of a JWK set. Replaced as a whole; what was checked with one is void with the next."""

    def __init__(self, document: bytes) -> None:
        """Read a JWK set. Keys that are not usable are left out.

        Raises UpstreamFailed for what is no JWK set, or one without any usable key. An empty set is one: its issuer has no keys any more.
        """
        self._keys: dict[tuple[str, str], list[jwt.PyJWK]] = {}
        self.size = 0
        listed = _listed(document)
        for entry in listed:
            why = self._take(entry)
            if why:
                log.warning("a key of an issuer is not used", kid=str(entry.get("kid", ""))[:100], reason=why)
        if listed and not self.size:
            raise UpstreamFailed("the JWK set has no key that can be used: RSA of 2048 bits or more, EC or Ed25519, for signatures")

    @property
    def algorithms(self) -> list[str]:
        """The algorithms that some key can check."""
        return sorted({algorithm for algorithm, _ in self._keys})

    def find(self, algorithm: str, kid: str | None) -> jwt.PyJWK | None:
        """The one key that a token with this head may be signed with. Without a ``kid`` there must be no choice (RFC 7515, 4.1.4)."""
        if kid is not None:
            found = self._keys.get((algorithm, kid), [])
        else:
            found = [key for (name, _), keys in self._keys.items() if name == algorithm for key in keys]
        return found[0] if len(found) == 1 else None

    def _take(self, entry: dict[str, Any]) -> str:
        """Add a key for each algorithm that it is for; why it is not usable, empty when it is."""
        kind = (entry.get("kty"), entry.get("crv", "") if entry.get("kty") != "RSA" else "")
        stated = entry.get("alg")
        algorithms = [name for name, key in ALGORITHMS.items() if key == kind and stated in (None, name)]
        why = _unfit(entry, algorithms)
        if why:
            return why
        try:
            made = {name: jwt.PyJWK(entry, name) for name in algorithms}
        except (jwt.PyJWTError, ValueError, TypeError):
            return "it is malformed"
        if kind[0] == "RSA" and not _LEAST_BITS <= made[algorithms[0]].key.key_size <= _MOST_BITS:
            return f"an RSA key must have {_LEAST_BITS} to {_MOST_BITS} bits"
        for name, key in made.items():
            self._keys.setdefault((name, entry.get("kid", "")), []).append(key)
        self.size += 1
        return ""


def _listed(document: bytes) -> list[dict[str, Any]]:
    try:
        whole = orjson.loads(document)
    except orjson.JSONDecodeError:
        whole = None
    keys: Any = whole.get("keys") if isinstance(whole, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] - JSON edge
    if not isinstance(keys, list):
        raise UpstreamFailed('the JWK set is not JSON with a list "keys"')
    if len(cast("list[Any]", keys)) > _MOST_KEYS:
        raise UpstreamFailed(f"the JWK set has more than {_MOST_KEYS} keys")
    return [entry for entry in cast("list[Any]", keys) if isinstance(entry, dict)]


def _unfit(entry: dict[str, Any], algorithms: list[str]) -> str:
    if _SECRET & entry.keys():
        return "it is a secret key, and published: the issuer must replace it"
    uses: Any = entry.get("key_ops", ["verify"])
    if entry.get("use", "sig") != "sig" or not isinstance(uses, list) or "verify" not in uses:
        return "it is not for signatures"
    if not algorithms:
        return "its type or algorithm is not taken"
    if not isinstance(entry.get("kid", ""), str):
        return "its kid is not text"
    return ""
