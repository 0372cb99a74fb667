"""The owner's own OAuth clients at providers, with which accounts there are logged in to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field, SecretStr

from hub import accounts
from hub.context import Context
from hub.errors import BadRequest, NotConfigured
from hub.grants.model import SCOPE
from hub.provider_login.model import ProviderClient
from hub.records import NO_RULES
from hub.skill import Audit, CostClass, Rest, skill
from hub.wire import Body, Done, Nothing, Wire, iso

if TYPE_CHECKING:
    from hub.providers.catalog import ProviderRow


class ClientView(Wire):
    """A provider that has logins, and the owner's client there. ``scopes`` are those asked for, ``own_scopes`` where you chose them.

    ``needs`` are facts that a login must be told, as ``data``.
    """

    provider: str
    alias: str
    name: str
    ways: list[str]
    configured: bool
    client_kind: str
    client_id: str
    client_secret: str
    scopes: list[str]
    own_scopes: list[str]
    needs: list[str]
    data: dict[str, str]
    base_url: str
    allow_private: bool
    redirect_uri: str
    register_at: str
    docs: str
    note: str
    updated_at: str | None


class ClientList(Wire):
    """Every provider that has logins."""

    clients: list[ClientView]


class ClientAsk(Body):
    """A client that you registered at a provider."""

    provider: str = Field(min_length=1, max_length=100, description="Provider id or alias.")
    client_id: str = Field(min_length=1, max_length=2000, description="Its id, as the provider shows it.")
    client_secret: SecretStr | None = Field(
        default=None, max_length=4000, description="Its secret, kept encrypted; left out, that of the same client stays; empty for none."
    )
    scopes: list[str] = Field(default=[], max_length=100, description="Scopes to ask for in place of the usual ones.")
    data: dict[str, str] = Field(default={}, max_length=50, description="Facts for its logins: tenant, project, account ...")
    base_url: str = Field(default="", max_length=2000, description="Base URL of its connections, where it is not the provider's own.")
    allow_private: bool = Field(default=False, description="Let logins and their connections reach private addresses.")


class ClientName(Body):
    """Names a provider."""

    provider: str = Field(min_length=1, max_length=100, description="Provider id or alias.")


@skill("provider-clients-list", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("GET", "/api/oauth-clients")], read_only=True)
async def list_clients(ctx: Context, ask: Nothing) -> ClientList:
    """List the providers that accounts can be logged in to, and your OAuth client at each, without its secret."""
    return ClientList(clients=[_view(ctx, row) for row in ctx.hub.catalog.providers.values() if row.oauth is not None])


@skill(
    "provider-clients-set",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("PUT", "/api/oauth-clients/{provider}")],
    idempotent=True,
    audit=Audit.FULL,
)
async def set_client(ctx: Context, ask: ClientAsk) -> ClientView:
    """Store your OAuth client at a provider; later logins use it."""
    row, _ = ctx.hub.logins.clients.sign_in(ask.provider)
    if wrong := [scope for scope in ask.scopes if not SCOPE.fullmatch(scope)]:
        raise BadRequest(f"{wrong[0][:60]!r} is no scope: a word of plain ASCII without blanks, quotes and backslashes", field="scopes")
    given = accounts.read(ask.data)
    if given.rules != NO_RULES or given.extra_secrets:
        raise BadRequest("data holds plain facts only; set rules on the connection", field="data")
    body = ProviderClient(
        client_id=ask.client_id.strip(),
        scopes=tuple(ask.scopes),
        data=given.facts,
        base_url=ask.base_url or given.base_url,
        allow_private=ask.allow_private,
    )
    secret = ask.client_secret.get_secret_value().strip() if ask.client_secret is not None else None
    await ctx.hub.logins.clients.save(row, body, secret)
    return _view(ctx, row)


@skill(
    "provider-clients-remove",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("DELETE", "/api/oauth-clients/{provider}")],
    destructive=True,
    audit=Audit.FULL,
)
async def remove_client(ctx: Context, ask: ClientName) -> Done:
    """Forget your OAuth client at a provider; accounts that were logged in to with it go on."""
    row, _ = ctx.hub.logins.clients.sign_in(ask.provider)
    await ctx.hub.logins.clients.remove(row)
    return Done(message=f"the OAuth client for {row.name} is forgotten")


def _view(ctx: Context, row: ProviderRow) -> ClientView:
    clients = ctx.hub.logins.clients
    row, sign_in = clients.sign_in(row.id)
    found = clients.documents.find(row.id)
    body = found.body if found is not None else ProviderClient(client_id="")
    try:
        redirect_uri = clients.redirect_uri(row)
    except NotConfigured:
        redirect_uri = ""
    return ClientView(
        provider=row.id,
        alias=row.alias,
        name=row.name,
        ways=sign_in.ways,
        configured=found is not None or sign_in.client == "none",
        client_kind=sign_in.client,
        client_id=body.client_id,
        client_secret=clients.secret(found).masked if found is not None else "",
        scopes=list(body.scopes or sign_in.scopes),
        own_scopes=list(body.scopes),
        needs=sign_in.fields,
        data=body.data,
        base_url=body.base_url,
        allow_private=body.allow_private,
        redirect_uri=redirect_uri,
        register_at=sign_in.register,
        docs=sign_in.docs,
        note=sign_in.note,
        updated_at=iso(found.updated_at) if found is not None else None,
    )
