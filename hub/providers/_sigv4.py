"""Signs requests as AWS wants them: Signature Version 4. Source: AWS IAM User Guide, "AWS Signature Version 4 for API requests"."""

from __future__ import annotations

import hmac
import re
import time
from dataclasses import replace
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote

import msgspec

from hub.errors import NotConfigured
from hub.outbound.head import host_header

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from hub.outbound.base import Outgoing
    from hub.providers.base import Target

_ALGORITHM = "AWS4-HMAC-SHA256"
_PLAIN = "-_.~"
_SPACES = re.compile(r" +")
#: A region in a host name, as in ``polly.us-east-1.amazonaws.com``.
_REGION = re.compile(r"\.([a-z]{2}(?:-[a-z]+)+-\d+)\.")
#: Headers that are signed beside ``host`` and those of AWS: no proxy on the way changes them.
_SIGNED = frozenset({b"content-type"})


class Scope(msgspec.Struct, frozen=True):
    """Whose signature it is and what for: access key id, secret key, a token where they are temporary, region and service."""

    access_key: str
    secret_key: str
    region: str
    service: str
    token: str = ""


def signer(target: Target) -> Callable[[Outgoing], Outgoing]:
    """What signs each request to a target when it is sent.

    The secret key is the connection's key, its id ``access_key_id`` in the data; or the key is ``id:secret``, with ``:token`` for temporary
    ones. The region is that of the data, else the host's. Raises NotConfigured naming what is missing.
    """
    scope = _scope(target)
    return lambda request: signed(request, scope, time.time())


def _scope(target: Target) -> Scope:
    row, data = target.provider, target.data
    keys = target.secret.reveal().strip().split(":", 2)
    if data.get("access_key_id"):
        keys = [data["access_key_id"], *keys]
    if len(keys) < 2 or not all(keys):
        words = f"{row.name} needs an access key id: set access_key_id in the connection's data, or give the key as id:secret[:token]"
        raise NotConfigured(words, field="data.access_key_id")
    host = _REGION.search(target.base_url)
    region = data.get("region") or (host[1] if host else "")
    if not region:
        raise NotConfigured(f"{row.name} needs a region; set it in the connection's data", field="data.region")
    return Scope(keys[0], keys[1], region, row.auth.param, keys[2] if len(keys) > 2 else "")


def signed(request: Outgoing, scope: Scope, now: float) -> Outgoing:
    """The request with its signature. ``now`` in seconds since the epoch; AWS refuses what is more than five minutes off."""
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    headers = [*request.headers, (b"x-amz-date", moment.encode())]
    if scope.token:
        headers.append((b"x-amz-security-token", scope.token.encode()))
    value = authorization(request, headers, scope, moment)
    return replace(request, headers=[*headers, (b"authorization", value.encode())], sign=None)


def authorization(request: Outgoing, headers: Iterable[tuple[bytes, bytes]], scope: Scope, moment: str) -> str:
    """The value of the ``Authorization`` header for a request with these headers at a moment (``YYYYMMDDTHHMMSSZ``)."""
    covered = {"host": host_header(request.origin)}
    for name, value in headers:
        lowered = name.lower()
        if lowered in _SIGNED or lowered.startswith(b"x-amz-"):
            covered[lowered.decode()] = _SPACES.sub(" ", value.decode("latin-1").strip())
    names = ";".join(sorted(covered))
    path, _, query = request.target.partition("?")
    lines = [f"{name}:{covered[name]}" for name in sorted(covered)]
    canonical = "\n".join([
        request.method, quote(path, safe=f"/{_PLAIN}"), _query(query), *lines, "", names, sha256(request.whole).hexdigest(),
    ])  # fmt: skip
    day = moment[:8]
    place = f"{day}/{scope.region}/{scope.service}/aws4_request"
    text = "\n".join([_ALGORITHM, moment, place, sha256(canonical.encode()).hexdigest()])
    signature = _mac(_key(scope.secret_key, day, scope.region, scope.service), text).hex()
    return f"{_ALGORITHM} Credential={scope.access_key}/{place}, SignedHeaders={names}, Signature={signature}"


def _query(query: str) -> str:
    pairs = [(quote(name, safe=_PLAIN), quote(value, safe=_PLAIN)) for name, value in parse_qsl(query, keep_blank_values=True)]
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))


@lru_cache(maxsize=64)
def _key(secret: str, day: str, region: str, service: str) -> bytes:
    """The key of a day, which all requests of that day share."""
    made = f"AWS4{secret}".encode()
    for part in (day, region, service, "aws4_request"):
        made = _mac(made, part)
    return made


def _mac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), sha256).digest()
