"""Builds the request to a target: address, credentials and headers, the same way for every wire format.

A credential goes to the host of the target's own base URL and to no other. A target that lacks
something is refused here, before a byte is sent, with words that say what to set.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec

from hub.errors import BadRequest, NotConfigured
from hub.outbound.address import parse_url
from hub.outbound.base import Fixed, Headers, Outgoing
from hub.providers import _service_account, _sigv4
from hub.providers._service_account import is_account
from hub.providers.catalog import KEYLESS, Auth, fill_template
from hub.secret import NO_SECRET

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from hub.outbound.base import Origin, Payload
    from hub.providers.base import Target
    from hub.secret import Secret

Pairs = tuple[tuple[str, str], ...]

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
_UNSAFE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]|[^\x00-\xff]")
_FIELD = re.compile(r"{\w+}")
#: Header types that carry the secret in ``auth.value``; the others have a branch of their own.
_HEADER_AUTH = frozenset({"bearer", "header", "oauth_bearer"})
_OPTIONAL = KEYLESS - {"none"}
#: Types under which requests are signed, and what makes the signer of a target.
_SIGNERS = {"aws-sigv4": _sigv4.signer, "service-account": _service_account.signer}
#: How a target is addressed whose credentials are those of a login.
_LOGIN = Auth("none")


class _Head(msgspec.Struct, frozen=True):
    """What all requests of a connection share."""

    origin: Origin
    path: str
    query: str
    headers: Headers


def build(
    target: Target,
    path: str,
    body: bytes | Payload = b"",
    *,
    query: Mapping[str, str] | None = None,
    headers: Iterable[tuple[str, str]] = (),
    method: str = "POST",
) -> Outgoing:
    """A request to ``base_url + path`` of a target, with its credentials.

    ``path`` may hold ``{model}`` and the connection's own ``{fields}``, and a query of its own; ``query`` is added to it.
    ``headers`` come after the row's own and replace those of the same name; the owner's for this model come last. Raises
    NotConfigured when the connection lacks its key, its base URL or a field; the message names it.
    """
    if "{" in path:
        path = _fill(target, path)
    compat = target.compat
    if compat is not None and compat.headers:
        headers = (*headers, *compat.headers)
    origin, full, shared = _address(*_key(target), path, tuple(query.items()) if query else (), tuple(headers))
    return Outgoing(origin, method, full, list(shared), body, target.private, target.proxy, sign=_signer(target), access=target.access)


def _signer(target: Target) -> Callable[[Outgoing], Outgoing] | None:
    """What signs requests to a target, where its provider takes no key but signatures."""
    make = _SIGNERS.get(target.provider.auth.type)
    return make(target) if make is not None and target.access is None else None


@lru_cache(maxsize=1024)
def _address(
    provider: str, base_url: str, secret: Secret, auth: Auth, extra: Pairs, data: Pairs, path: str, query: Pairs, headers: Pairs
) -> tuple[Origin, str, Headers]:
    """Origin, target and headers of a request; pure in its arguments, so that a changed connection never meets an old address."""
    head = _head(provider, base_url, secret, auth, extra, data)
    own, _, more = path.partition("?")
    parts = [part for part in (head.query, more, _encode(query), _secret_query(provider, secret, auth, dict(data))) if part]
    full = head.path + own + ("?" + "&".join(parts) if parts else "")
    return head.origin, full or "/", _merge(head.headers, [_header(name, value) for name, value in headers])


def _key(target: Target) -> tuple[str, str, Secret, Auth, Pairs, Pairs]:
    row = target.provider
    # The token of a login is another one every hour: it is added when the request is sent.
    secret, auth = (target.secret, row.auth) if target.access is None else (NO_SECRET, _LOGIN)
    return row.id, target.base_url, secret, auth, tuple(row.extra_headers.items()), tuple(target.data.items())


def build_url(target: Target, url: str, *, method: str = "GET") -> Outgoing:
    """A bodyless request to an absolute address of the provider's row; credentials go along only to the base URL's own origin."""
    head = _head(*_key(target))
    origin, path = parse_url(url)
    if origin == head.origin:
        _, _, secret, auth, _, _ = _key(target)
        extra = _secret_query(target.provider.id, secret, auth, target.data)
        path = f"{path}{'&' if '?' in path else '?'}{extra}" if extra else path
        return Outgoing(
            origin, method, path, list(head.headers), private=target.private, proxy=target.proxy, sign=_signer(target), access=target.access
        )
    plain = [(name, value) for name, value in head.headers if name in (b"accept", b"accept-encoding", b"user-agent")]
    return Outgoing(origin, method, path, plain, private=target.private, proxy=target.proxy)


def with_headers(kept: Headers | Fixed, more: Pairs) -> Headers:
    """A request's headers with further ones, which replace those of the same name."""
    return _merge(list(kept), [_header(name, value) for name, value in more])


def _merge(base: Headers, more: Headers) -> Headers:
    replaced = {name.lower() for name, _ in more}
    return [pair for pair in base if pair[0].lower() not in replaced] + more


def _head(provider: str, base_url: str, secret: Secret, auth: Auth, extra: Pairs, data: Pairs) -> _Head:
    if not base_url:
        raise NotConfigured(f"the connection to {provider} has no base URL; set its base_url", field="base_url")
    field = _FIELD.search(base_url)
    if field is not None:
        raise NotConfigured(
            f"the base URL of {provider} still needs {field[0]}; set it in the connection's data", field="data." + field[0][1:-1]
        )
    fields = dict(data)
    try:
        origin, path = parse_url(base_url)
    except BadRequest as error:
        raise NotConfigured(f"the base URL of {provider} is not one: {error.message}", field="base_url") from error
    path, _, query = path.partition("?")
    headers: Headers = [(b"content-type", b"application/json"), (b"accept-encoding", b"identity"), (b"user-agent", b"hubroute")]
    headers += [_header(name, _filled(provider, value, fields)) for name, value in extra]
    headers += _credentials(provider, secret, auth, fields)
    return _Head(origin, path.rstrip("/"), query, headers)


def _credentials(provider: str, secret: Secret, auth: Auth, fields: Mapping[str, str]) -> Headers:
    headers: Headers = []
    if auth.type in _HEADER_AUTH or (auth.type in _OPTIONAL and secret):
        headers.append(_header(auth.header, _keyed(provider, secret, auth.value)))
    elif auth.type == "query":
        _keyed(provider, secret, "{key}")
    elif auth.type in _SIGNERS:
        headers += _signing(provider, secret, auth)
    elif auth.type not in KEYLESS:
        raise NotConfigured(f"{provider} takes its key as {auth.type!r}, which this wire format cannot do; choose another provider")
    if auth.extra:
        name, _, value = auth.extra.partition(":")
        headers.append(_header(name, _filled(provider, value.strip(), fields)))
    return headers


def _signing(provider: str, secret: Secret, auth: Auth) -> Headers:
    """The header of a key that is a token already; none where each request is signed when it is sent."""
    if not secret or not (auth.type == "service-account" and not is_account(secret)):
        _present(provider, secret)
        return []
    return [_header(auth.header, _keyed(provider, secret, auth.value))]


def _present(provider: str, secret: Secret) -> None:
    if not secret:
        raise NotConfigured(f"the connection to {provider} has no key; add one with `hubroute providers add`", field="api_key")


def _keyed(provider: str, secret: Secret, template: str) -> str:
    _present(provider, secret)
    key = secret.reveal()
    if _UNSAFE.search(key) or not key.isascii() or key != key.strip():
        raise NotConfigured(f"the key of {provider} has characters that no header may carry; paste it again", field="api_key")
    return template.replace("{key}", key).replace("{access_token}", key)


def _filled(provider: str, template: str, fields: Mapping[str, str]) -> str:
    """A header's value with its ``{fields}`` from the connection's data."""

    def value(match: re.Match[str]) -> str:
        name = match[0][1:-1]
        if not fields.get(name):
            raise NotConfigured(f"{provider} needs {name!r}; set it in the connection's data", field=f"data.{name}")
        return fields[name]

    return _FIELD.sub(value, template)


def _header(name: str, value: str) -> tuple[bytes, bytes]:
    """One header. Raises BadRequest for a name or value that would break the request's head (CR, LF, NUL ...)."""
    if not _TOKEN.match(name) or _UNSAFE.search(value):
        raise BadRequest(f"header {name!r} holds characters that no header may carry", field="headers")
    return name.encode("ascii"), value.strip().encode("latin-1")


def _fill(target: Target, path: str) -> str:
    if target.model in (".", ".."):
        raise BadRequest("the model's name cannot be part of an address", field="model")
    try:
        return fill_template(path.replace("{model}", quote(target.model, safe="")), dict(target.data))
    except BadRequest as error:
        raise NotConfigured(f"{target.provider.id}: {error.message}", field=error.field) from error


def _encode(query: Pairs) -> str:
    return "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in query)


def _secret_query(provider: str, secret: Secret, auth: Auth, fields: Mapping[str, str]) -> str:
    if auth.type != "query":
        return ""
    also = ((auth.also, _filled(provider, f"{{{auth.also}}}", fields)),) if auth.also else ()
    return _encode(((auth.param, secret.reveal()), *also))
