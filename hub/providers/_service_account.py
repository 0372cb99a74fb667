"""Signs in to Google with the JSON key of a service account: a token that the hub signs itself and that Google takes as it is.

No token is fetched. Source: AIP-4111 (self-signed JWT, with a scope). A key that is no JSON is an access token and goes as it is.
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec

from hub.errors import NotConfigured

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.outbound.base import Outgoing
    from hub.providers.base import Target
    from hub.secret import Secret

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
#: A token is good for an hour; a new one is signed after this many seconds.
_LIFE, _RENEWED = 3600, 2700


class _Account(msgspec.Struct):
    client_email: str
    private_key: str
    private_key_id: str = ""


def signer(target: Target) -> Callable[[Outgoing], Outgoing] | None:
    """What adds the token to each request when it is sent; None for a key that is a token itself. Raises NotConfigured for a broken one."""
    if not is_account(target.secret):
        return None
    token(target.secret, 0)  # a broken key is told before anything is sent
    return lambda request: _with_token(request, token(target.secret, int(time.time() // _RENEWED)))


def is_account(secret: Secret) -> bool:
    """Whether a key is the JSON of a service account."""
    return secret.reveal().lstrip().startswith("{")


def _with_token(request: Outgoing, value: str) -> Outgoing:
    return replace(request, headers=[*request.headers, (b"authorization", f"Bearer {value}".encode())], sign=None)


@lru_cache(maxsize=64)
def token(secret: Secret, period: int) -> str:
    """The token of a period of 45 minutes since the epoch. Raises NotConfigured for a key that is none."""
    import jwt  # noqa: PLC0415 - deferred: cryptography is off the cold-start path

    begun = period * _RENEWED
    try:
        account = msgspec.json.decode(secret.reveal(), type=_Account)
        claims = {"iss": account.client_email, "sub": account.client_email, "scope": _SCOPE, "iat": begun, "exp": begun + _LIFE}
        return jwt.encode(claims, account.private_key, algorithm="RS256", headers={"kid": account.private_key_id})
    except (msgspec.DecodeError, ValueError, TypeError, jwt.PyJWTError) as error:
        words = "the key begins like the JSON of a service account but is none; paste the whole file, with client_email and private_key"
        raise NotConfigured(words, field="api_key") from error
