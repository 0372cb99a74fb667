"""Logins at providers (OAuth): begin one with the browser or a device code, and end it with a connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from hub import accounts
from hub.context import Context
from hub.errors import BadRequest
from hub.provider_login.clients import callback_path
from hub.provider_login.model import Facts
from hub.records import NO_RULES
from hub.skill import CostClass, Rest, skill
from hub.wire import Body, Wire, iso

if TYPE_CHECKING:
    from hub.provider_login.flow import Begun, Came
    from hub.records import Connection

_PROVIDER = "Provider id or alias; provider-clients-list shows those that have logins."
_LOCAL = "The login comes back to a program on the machine of the browser. Go on only if that is your own hub, or you paste the address."
_OF_BEGIN = "What the login's start answered as its state."
_CONNECTION = "Connection to renew; a new one is made without it."


class LoginAsk(Body):
    """A login to begin, and what its connection is to be like. What is left out comes from the connection, then from the client."""

    provider: str = Field(min_length=1, max_length=100, description=_PROVIDER)
    connection_id: str = Field(default="", max_length=100, description=_CONNECTION)
    name: str = Field(default="", max_length=200, description="Your name for the account; of a new connection.")
    region: str = Field(default="", max_length=100, description="The region, where the provider's address has one.")
    base_url: str = Field(default="", max_length=2000, description="Base URL, where it is not the provider's own.")
    allow_private: bool = Field(default=False, description="Let the connection, and its authorization server, be on private addresses.")
    data: dict[str, str] = Field(default={}, max_length=50, description="Further facts such as tenant, project, account (POST only).")


class AuthorizeAsk(LoginAsk):
    """A login with the browser."""

    redirect_uri: str = Field(default="", max_length=2000, description="A loopback address to come back to; the hub's own without it.")


class ListenAsk(LoginAsk):
    """A login with the browser that comes back to a port of the hub's machine."""

    port: int = Field(default=0, ge=0, le=65_535, description="Which port; 0 for any that is free.")


class LoginBegun(Wire):
    """Where to log in: open ``authUrl`` in your own browser. The verifier of the code stays in the hub."""

    auth_url: str
    state: str
    code_challenge: str
    redirect_uri: str
    flow_type: str = "authorization_code_pkce"
    callback_path: str
    expires_at: str | None
    warning: str = ""


class Listening(LoginBegun):
    """A login that comes back to a port."""

    server_port: int


class DeviceCode(Wire):
    """What to type where. ``device_code`` names the login in this hub; the provider's own code stays in it."""

    device_code: str = Field(serialization_alias="device_code")
    user_code: str = Field(serialization_alias="user_code")
    verification_uri: str = Field(serialization_alias="verification_uri")
    verification_uri_complete: str = Field(serialization_alias="verification_uri_complete")
    expires_in: int = Field(serialization_alias="expires_in")
    interval: float
    flow_type: str = "device_code"


class ExchangeAsk(Body):
    """A code that came back with the browser, or the whole address that it came back to."""

    provider: str = Field(min_length=1, max_length=100, description=_PROVIDER)
    code: str = Field(min_length=1, max_length=16_000, description="The code, or the address that the browser came back to.")
    redirect_uri: str = Field(min_length=1, max_length=2000, description="The redirect address that the login began with.")
    state: str | None = Field(default=None, max_length=200, description=f"{_OF_BEGIN} Not needed beside a whole address.")
    code_verifier: str | None = Field(default=None, max_length=200, description="Not used: the hub keeps the verifier.")
    connection_id: str = Field(default="", max_length=100, description=_CONNECTION)


class PollAsk(Body):
    """A login with a device code."""

    provider: str = Field(min_length=1, max_length=100, description=_PROVIDER)
    device_code: str = Field(min_length=1, max_length=200, description="What device-code answered as device_code.")
    code_verifier: str | None = Field(default=None, max_length=200, description="Not used: the hub keeps what it needs.")
    extra_data: Any = Field(default=None, description="Not used: the hub keeps what it needs.")
    connection_id: str = Field(default="", max_length=100, description=_CONNECTION)


class PollCallbackAsk(Body):
    """A login whose answer comes back to the hub, or to a port that waits for it."""

    provider: str = Field(min_length=1, max_length=100, description=_PROVIDER)
    state: str = Field(min_length=1, max_length=200, description=_OF_BEGIN)


class LoggedIn(Wire):
    """The connection of a login."""

    id: str
    provider: str
    name: str
    display_name: str
    auth_type: str


class LoginOutcome(Wire):
    """What became of a login. While it is ``pending``, ask again after ``interval`` seconds; ``error`` is OAuth's word for a refusal."""

    success: bool
    pending: bool
    error: str
    error_description: str
    interval: float
    connection: LoggedIn | None


@skill(
    "provider-login-authorize",
    scopes=["manage"],
    cost=CostClass.NETWORK,
    rest=[Rest("GET", "/api/oauth/{provider}/authorize"), Rest("POST", "/api/oauth/{provider}/authorize")],
)
async def authorize(ctx: Context, ask: AuthorizeAsk) -> LoginBegun:
    """Begin a login at a provider with the browser; answers the address to open.

    It comes back to the hub, where provider-login-poll-callback ends it, or to ``redirect_uri``: paste the address that the browser
    shows then into provider-login-exchange.
    """
    begun = await ctx.hub.logins.flow.authorize(ask.provider, _facts(ask), ctx.caller.key_id, ask.redirect_uri)
    return LoginBegun(**_begun(ctx, ask.provider, begun))


@skill(
    "provider-login-listen",
    scopes=["manage"],
    cost=CostClass.NETWORK,
    rest=[Rest("GET", "/api/oauth/{provider}/start-callback-server"), Rest("POST", "/api/oauth/{provider}/start-callback-server")],
)
async def listen(ctx: Context, ask: ListenAsk) -> Listening:
    """Begin a login with the browser that comes back to a port of the hub's machine; provider-login-poll-callback ends it."""
    begun, port = await ctx.hub.logins.listen(ask.provider, _facts(ask), ctx.caller.key_id, port=ask.port)
    return Listening(**_begun(ctx, ask.provider, begun), server_port=port)


@skill(
    "provider-login-device",
    scopes=["manage"],
    cost=CostClass.NETWORK,
    rest=[Rest("GET", "/api/oauth/{provider}/device-code"), Rest("POST", "/api/oauth/{provider}/device-code")],
)
async def device(ctx: Context, ask: LoginAsk) -> DeviceCode:
    """Begin a login at a provider with a device code; answers what to type where. provider-login-poll ends it."""
    begun = await ctx.hub.logins.flow.device(ask.provider, _facts(ask), ctx.caller.key_id)
    return DeviceCode(
        device_code=begun.handle,
        user_code=begun.user_code,
        verification_uri=begun.url,
        verification_uri_complete=begun.complete_url,
        expires_in=begun.seconds,
        interval=begun.interval,
    )


@skill(
    "provider-login-exchange",
    scopes=["manage"],
    cost=CostClass.NETWORK,
    rest=[Rest("POST", "/api/oauth/{provider}/exchange")],
)
async def exchange(ctx: Context, ask: ExchangeAsk) -> LoginOutcome:
    """End a login with the code that came back with the browser; makes a connection, or renews one."""
    if not ask.state and "://" not in ask.code:
        raise BadRequest("a code goes with the state of its login; or send the whole address that the browser came back to", field="state")
    connection = await ctx.hub.logins.flow.exchange(
        ask.provider,
        ctx.caller.key_id,
        code=ask.code,
        state=ask.state or "",
        redirect_uri=ask.redirect_uri,
        connection=_renewed(ctx, ask.provider, ask.connection_id),
    )
    return _succeeded(ctx, connection)


@skill("provider-login-poll", scopes=["manage"], cost=CostClass.NETWORK, rest=[Rest("POST", "/api/oauth/{provider}/poll")])
async def poll(ctx: Context, ask: PollAsk) -> LoginOutcome:
    """End a login with a device code: pending until somebody has typed it; then makes a connection, or renews one."""
    renewed = _renewed(ctx, ask.provider, ask.connection_id)
    came = await ctx.hub.logins.flow.poll(ask.provider, ctx.caller.key_id, ask.device_code, connection=renewed)
    return _outcome(ctx, came)


@skill(
    "provider-login-poll-callback",
    scopes=["manage"],
    cost=CostClass.NETWORK,
    rest=[Rest("POST", "/api/oauth/{provider}/poll-callback")],
)
async def poll_callback(ctx: Context, ask: PollCallbackAsk) -> LoginOutcome:
    """End a login whose answer the browser brought to the hub: pending until then; then makes a connection, or renews one."""
    return _outcome(ctx, await ctx.hub.logins.flow.poll_callback(ask.provider, ctx.caller.key_id, ask.state))


def _facts(ask: LoginAsk) -> Facts:
    """What the connection is to be like. Raises BadRequest for a fact that is none."""
    given = accounts.read({**ask.data, **({"region": ask.region} if ask.region else {})})
    if given.rules != NO_RULES or given.extra_secrets:
        raise BadRequest("data holds plain facts only; set rules on the connection afterwards", field="data")
    return Facts(
        connection=ask.connection_id,
        name=ask.name,
        base_url=ask.base_url or given.base_url,
        data=given.facts,
        private=ask.allow_private,
    )


def _renewed(ctx: Context, provider: str, connection_id: str) -> str:
    """The connection that a login renews. Raises NotFound, and BadRequest for another provider's."""
    if connection_id and ctx.hub.store.connections.get(connection_id).provider != ctx.hub.catalog.get(provider).id:
        raise BadRequest(f"connection {connection_id!r} is not one of {provider}", field="connectionId")
    return connection_id


def _begun(ctx: Context, provider: str, begun: Begun) -> dict[str, Any]:
    return {
        "auth_url": begun.url,
        "state": begun.state,
        "code_challenge": begun.challenge,
        "redirect_uri": begun.redirect_uri,
        "callback_path": callback_path(ctx.hub.catalog.get(provider).id),
        "expires_at": iso(begun.until),
        "warning": _LOCAL if begun.local else "",
    }


def _outcome(ctx: Context, came: Came) -> LoginOutcome:
    if came.connection is not None:
        return _succeeded(ctx, came.connection)
    return LoginOutcome(
        success=False,
        pending=came.pending,
        error=came.error,
        error_description=came.description,
        interval=came.interval,
        connection=None,
    )


def _succeeded(ctx: Context, connection: Connection) -> LoginOutcome:
    # What was learned of the old login says nothing of the new one.
    ctx.hub.resilience.clear_connection(connection.id)
    made = LoggedIn(
        id=connection.id,
        provider=connection.provider,
        name=connection.name,
        display_name=connection.name,
        auth_type=connection.auth_type,
    )
    return LoginOutcome(success=True, pending=False, error="", error_description="", interval=0.0, connection=made)
