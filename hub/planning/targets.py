"""From a connection and a model to a target: base URL, secret and row in one object, made once and kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hub.errors import BadRequest
from hub.outbound.address import parse_url
from hub.providers.base import Target
from hub.providers.catalog import KEYLESS, fill_template
from hub.proxies.routes import Routes
from hub.records import Connection
from hub.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from hub.outbound.base import Access, Proxy
    from hub.providers.catalog import Catalog, ProviderRow

_DIRECT: tuple[None, str] = (None, "")
#: The ``auth_type`` of connections whose credentials are a login's (OAuth).
LOGIN = "oauth"
#: Names under which clients of the seed send a base URL among a connection's further facts.
BASE_URL_FIELDS = frozenset({"baseUrl", "base_url", "baseURL"})


class Targets:
    """Builds targets and keeps them until their connection changes (connections are replaced as a whole).

    ``formats`` are the wire formats that a connection may choose (``format`` in its data) instead of its provider's.

    A connection may have several keys of one account. They take turns and share everything that is known of the connection,
    but a key that its provider refuses is rested while another is left, until the connection is changed or tested.
    """

    def __init__(
        self,
        catalog: Catalog,
        formats: Container[str] = (),
        *,
        routes: Routes | None = None,
        logins: Callable[[Connection], tuple[Access, Secret]] | None = None,
    ) -> None:
        self._catalog = catalog
        self._formats = formats
        self._routes = routes or Routes()
        #: The credentials of a connection that somebody logged in for, and the token that they hold now.
        self._logins = logins
        self._made: dict[tuple[str, str, int, str], tuple[Connection, Target]] = {}
        #: Connection -> when it was last changed, and its keys that were refused since.
        self._refused: dict[str, tuple[int, frozenset[Secret]]] = {}

    def get(self, connection: Connection, model: str, turn: int = 0, *, combo: str = "") -> Target:
        """The target of a model through a connection, with the key whose ``turn`` it is. ``combo`` is the one that led to it.

        Raises BadRequest naming what the connection lacks: a key, a base URL, a template field.
        """
        number = self._number(connection, turn) if connection.extra_secrets else 0
        combo = combo if combo in self._routes.combos else ""
        kept = self._made.get((connection.id, model, number, combo))
        if kept is not None and kept[0] is connection:
            return kept[1]
        found = self._routes.of(connection, combo)
        target = self._build(connection, model, number, *(found or _DIRECT))
        if len(self._made) > 4096:
            self._made.clear()
        self._made[connection.id, model, number, combo] = (connection, target)
        return target

    def clear(self) -> None:
        """Make every target anew: rows of the catalogue, or the way to providers, changed."""
        self._made.clear()

    def draft(self, row: ProviderRow, connection: Connection, model: str = "") -> Target:
        """A target that is not kept, at a provider that need not be in the catalogue. Raises BadRequest as :meth:`get` does."""
        return self._target(row, connection, model, 0, *(self._routes.of(connection, "") or _DIRECT))

    def refused(self, connection: Connection, secret: Secret) -> bool:
        """Note that a key was refused (401). True when no key of the connection is left: it is the connection's end then.

        All its keys are tried anew when it is used again after that.
        """
        keys = _keys(connection)
        left = set(keys) - self._resting(connection) - {secret}
        if not left:
            self._refused.pop(connection.id, None)
            return True
        if len(self._refused) > 4096:
            self._refused.clear()
        self._refused[connection.id] = (connection.updated_at, frozenset(set(keys) - left))
        return False

    def forgive(self, connection_id: str) -> None:
        """Use every key of a connection again."""
        self._refused.pop(connection_id, None)

    def _resting(self, connection: Connection) -> frozenset[Secret]:
        since, refused = self._refused.get(connection.id, (0, frozenset[Secret]()))
        return refused if since == connection.updated_at else frozenset()

    def _number(self, connection: Connection, turn: int) -> int:
        keys, resting = _keys(connection), self._resting(connection)
        if not resting:
            return turn % len(keys)
        usable = [number for number, key in enumerate(keys) if key not in resting]
        return usable[turn % len(usable)] if usable else turn % len(keys)

    def check(self, connection: Connection) -> None:
        """Refuse a connection that could never be used, before it is stored.

        Raises BadRequest naming what is missing or malformed.
        """
        target = self._build(connection, "", 0)
        wire = connection.data.get("format")
        if wire and wire not in self._formats:
            raise BadRequest(f"format: {wire!r} is no wire format here; leave it out for the provider's own", field="data.format")
        if not target.provider.in_process:
            parse_url(target.base_url)

    def _build(self, connection: Connection, model: str, number: int, proxy: Proxy | None = None, way: str = "") -> Target:
        return self._target(self._catalog.get(connection.provider), connection, model, number, proxy, way)

    def _target(self, row: ProviderRow, connection: Connection, model: str, number: int, proxy: Proxy | None, way: str) -> Target:
        access, secret = None, _keys(connection)[number]
        if connection.auth_type == LOGIN and self._logins is not None:
            access, secret = self._logins(connection)
        elif not secret and row.auth.type not in KEYLESS:
            raise BadRequest(f"connection {connection.name!r} has no API key; {row.name} needs one", field="apiKey", code="not_configured")
        return Target(
            provider=row,
            model=model,
            model_row=row.model(model),
            connection_id=connection.id,
            base_url=base_url_of(row, connection),
            secret=secret,
            data=connection.data,
            private=connection.allow_private,
            proxy=proxy,
            way=way,
            access=access,
        )


def _keys(connection: Connection) -> tuple[Secret, ...]:
    """The keys of a connection: its own first, where it has one, then the others."""
    return (connection.secret, *connection.extra_secrets) if connection.secret or not connection.extra_secrets else connection.extra_secrets


def base_url_of(row: ProviderRow, connection: Connection) -> str:
    """Where the provider of a connection is. Raises BadRequest naming what it lacks."""
    if connection.base_url:
        return connection.base_url
    if row.base_url_template:
        return fill_template(row.base_url_template, connection.data)
    if not row.base_url:
        raise BadRequest(f"connection {connection.name!r} needs a base URL: {row.name} has none of its own", field="baseUrl")
    return row.base_url


def builtin_connection(row: ProviderRow) -> Connection:
    """The connection of a provider that is part of the hub and needs no account."""
    return Connection(id=row.id, provider=row.id, name=row.name, secret=Secret(""), auth_type="none", priority=999)
