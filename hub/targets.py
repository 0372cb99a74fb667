"""From a connection and a model to a target: base URL, secret and row in one object, made once and kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hub.errors import BadRequest
from hub.outbound.address import parse_url
from hub.providers.base import Target
from hub.providers.catalog import KEYLESS, fill_template
from hub.records import Connection
from hub.secret import Secret

if TYPE_CHECKING:
    from hub.providers.catalog import Catalog, ProviderRow

#: Names under which clients of the seed send a base URL among a connection's further facts.
BASE_URL_FIELDS = frozenset({"baseUrl", "base_url", "baseURL"})


class Targets:
    """Builds targets and keeps them until their connection changes (connections are replaced as a whole)."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._made: dict[tuple[str, str], tuple[Connection, Target]] = {}

    def get(self, connection: Connection, model: str) -> Target:
        """The target of a model through a connection.

        Raises BadRequest naming what the connection lacks: a key, a base URL, a template field.
        """
        kept = self._made.get((connection.id, model))
        if kept is not None and kept[0] is connection:
            return kept[1]
        target = self._build(connection, model)
        if len(self._made) > 4096:
            self._made.clear()
        self._made[connection.id, model] = (connection, target)
        return target

    def check(self, connection: Connection) -> None:
        """Refuse a connection that could never be used, before it is stored.

        Raises BadRequest naming what is missing or malformed.
        """
        target = self._build(connection, "")
        if not target.provider.builtin:
            parse_url(target.base_url)

    def _build(self, connection: Connection, model: str) -> Target:
        row = self._catalog.get(connection.provider)
        if not connection.secret and row.auth.type not in KEYLESS:
            raise BadRequest(f"connection {connection.name!r} has no API key; {row.name} needs one", field="apiKey", code="not_configured")
        return Target(
            provider=row,
            model=model,
            model_row=row.model(model),
            connection_id=connection.id,
            base_url=_base_url(row, connection),
            secret=connection.secret,
            data=connection.data,
            private=connection.allow_private,
            proxy=connection.proxy.reveal() if connection.proxy else None,
        )


def _base_url(row: ProviderRow, connection: Connection) -> str:
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
