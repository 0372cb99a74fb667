"""What the seed's sync clients ask for with an API key: masked connections, aliases, and the credential of a provider renewed."""

from __future__ import annotations

from pydantic import Field, SecretStr

from hub.context import Context
from hub.errors import BadRequest, Conflict, NotFound
from hub.planning.targets import LOGIN
from hub.provider_login.model import Account
from hub.records import Connection
from hub.skill import Audit, CostClass, Rest, skill
from hub.wire import Body, Nothing, Wire, iso

_SIGN_IN = "sign in here with `hubroute providers login`"


class CloudConnection(Wire):
    """A connection as sync clients see it."""

    provider: str
    auth_type: str
    has_api_key: bool
    has_access_token: bool
    has_refresh_token: bool
    masked_api_key: str | None
    project_id: str | None
    expires_at: str | None
    priority: int
    global_priority: int | None
    default_model: str | None
    is_active: bool


class CloudAccount(Wire):
    """Every connection, and the owner's names of models."""

    connections: list[CloudConnection]
    model_aliases: dict[str, str]


class Renewal(Body):
    """What is new of a credential."""

    access_token: SecretStr | None = Field(default=None, max_length=10_000, description="The new access token or API key.")
    refresh_token: SecretStr | None = Field(
        default=None, max_length=10_000, description="Refused: sign in at the provider from this hub instead."
    )
    expires_in: float | None = Field(default=None, gt=0, description="Refused: it goes with a refresh token.")


class CredentialUpdate(Body):
    """Whose credential is new."""

    provider: str = Field(min_length=1, max_length=100, description="Provider id or alias.")
    credentials: Renewal = Field(description="What is new; accessToken at least.")


class Updated(Wire):
    """Whether it was stored."""

    success: bool = True
    message: str


class AliasAsk(Body):
    """Names an alias."""

    alias: str = Field(min_length=1, max_length=200, description="The alias.")


class AliasTarget(Wire):
    """Where an alias leads."""

    alias: str
    provider: str
    model: str


class AliasTable(Wire):
    """Every alias and what it stands for."""

    aliases: dict[str, str]


def _holds(one: Connection, login: Account | None) -> dict[str, bool]:
    """What a connection can authenticate with: the ``has...`` fields."""
    by_key, secret = one.auth_type == "apikey", bool(one.secret.reveal())
    return {
        "has_api_key": by_key and secret,
        "has_access_token": login is not None or (secret and not by_key),
        "has_refresh_token": login is not None and bool(login.refresh),
    }


def _view(ctx: Context, one: Connection) -> CloudConnection:
    account = ctx.hub.logins.accounts.of(one.id)
    login = account.body if account is not None else None
    return CloudConnection(
        provider=one.provider,
        auth_type=one.auth_type,
        **_holds(one, login),
        masked_api_key=one.secret.masked or None,
        project_id=one.data.get("project") or None,
        expires_at=iso(login.expires_at if login else None),
        priority=one.priority,
        global_priority=one.rules.global_priority or None,
        default_model=one.default_model or None,
        is_active=one.active,
    )


@skill("cloud-auth", scopes=["chat"], cost=CostClass.FREE, rest=[Rest("POST", "/api/cloud/auth")], read_only=True)
async def auth(ctx: Context, ask: Nothing) -> CloudAccount:
    """Show sync clients the connections, their keys masked, and the aliases."""
    rows = sorted(ctx.hub.store.connections.all(), key=lambda one: (one.provider, one.priority, one.created_at))
    connections = [_view(ctx, one) for one in rows]
    return CloudAccount(connections=connections, model_aliases=ctx.hub.directory.aliases())


def _sent(given: Renewal) -> str:
    """The new access token. Raises BadRequest where there is none, or more than that was sent."""
    if given.refresh_token is not None or given.expires_in is not None:
        field = "refreshToken" if given.refresh_token is not None else "expiresIn"
        words = "another program's refresh token is not taken over, since using it would end that program's login"
        raise BadRequest(f"{words}; {_SIGN_IN}, or send the accessToken alone", field=f"credentials.{field}")
    secret = given.access_token.get_secret_value().strip() if given.access_token is not None else ""
    if not secret:
        raise BadRequest("send the new accessToken", field="credentials.accessToken")
    return secret


@skill(
    "cloud-credentials-update",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("PUT", "/api/cloud/credentials/update"), Rest("POST", "/api/cloud/credentials/update")],
    idempotent=True,
    audit=Audit.FULL,
)
async def update(ctx: Context, ask: CredentialUpdate) -> Updated:
    """Renew the credential of a provider's first connection; its test state starts anew."""
    secret = _sent(ask.credentials)
    row = ctx.hub.catalog.find(ask.provider)
    rows = ctx.hub.store.connections.of(row.id if row is not None else ask.provider)
    found = next((one for one in rows if one.active), rows[0] if rows else None)
    if found is None:
        raise NotFound(f"there is no connection to {ask.provider!r}", field="provider")
    if found.auth_type == LOGIN:
        raise Conflict(
            f"{found.name} has a sign-in of its own, which renews its token by itself; where that is over, {_SIGN_IN}", field="provider"
        )
    await ctx.hub.store.connections.update(found.id, secret=secret)
    return Updated(message=f"the credential of {found.name} was renewed")


@skill("cloud-model-resolve", scopes=["chat"], cost=CostClass.FREE, rest=[Rest("POST", "/api/cloud/model/resolve")], read_only=True)
async def resolve(ctx: Context, ask: AliasAsk) -> AliasTarget:
    """Say where an alias leads; only aliases are looked at."""
    target = ctx.hub.directory.aliases().get(ask.alias)
    if target is None:
        raise NotFound(f"there is no alias {ask.alias[:80]!r}", field="alias")
    found = ctx.hub.resolver.resolve(target)
    return AliasTarget(alias=ask.alias, provider=found.provider, model=found.model)


@skill("cloud-aliases", scopes=["chat"], cost=CostClass.FREE, rest=[Rest("GET", "/api/cloud/models/alias")], read_only=True)
async def aliases(ctx: Context, ask: Nothing) -> AliasTable:
    """List the aliases of models."""
    return AliasTable(aliases=ctx.hub.directory.aliases())
