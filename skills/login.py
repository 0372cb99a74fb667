"""The owner's login at the dashboard: whether it is asked for, its password, browsers that are logged in, the second factor, the link."""

from __future__ import annotations

import platform
from urllib.parse import urlsplit

from pydantic import Field

from hub.context import Context
from hub.errors import BadRequest, Conflict
from hub.login.owner import LINK_HOURS
from hub.login.sessions import Session
from hub.process.welcome import owner_link
from hub.skill import Audit, CostClass, Rest, skill
from hub.wire import Body, Nothing, Wire, iso


class LoginState(Wire):
    """How the login stands. ``node_version`` is the runtime's, empty for callers without a credential; the names are the seed's."""

    require_login: bool
    has_password: bool
    setup_complete: bool
    node_version: str
    node_compatible: bool


class LoginChange(Body):
    """What to change of the login; at least one of the first two."""

    require_login: bool | None = Field(default=None, description="Whether the dashboard asks for a login. False is for loopback only.")
    password: str | None = Field(default=None, max_length=200, description="New password of the owner; ends every other session.")
    current_password: str = Field(
        default="", max_length=200, description="The password until now; needed from a session that is older than 15 minutes."
    )


class NoFields(Body):
    """No input, and none is taken for a change that was not meant."""


class Done(Wire):
    """It was done."""

    success: bool = True


class SessionView(Wire):
    """A browser that is logged in. ``current`` is the one that asks."""

    id: str
    created_at: str | None
    last_seen: str | None
    expires_at: str | None
    address: str
    agent: str
    current: bool


class SessionList(Wire):
    """Browsers that are logged in, the newest first."""

    sessions: list[SessionView]


class SessionId(Body):
    """Names one session."""

    id: str = Field(max_length=200, description="Id of the session.")


class Ended(Wire):
    """How many sessions were ended."""

    ended: int


class TotpState(Wire):
    """The second factor: whether a login needs a code, and how many recovery codes are left."""

    enabled: bool
    recovery_codes_left: int


class TotpSecret(Wire):
    """What an authenticator app is given, this once: the secret, the same as a URI, and that as a QR code in SVG."""

    secret: str
    uri: str
    svg: str


class TotpCode(Body):
    """The code that the app shows now."""

    code: str = Field(min_length=6, max_length=10, description="Six digits.")


class RecoveryCodes(Wire):
    """Ten codes that each work once instead of the app's; shown this once."""

    recovery_codes: list[str]


class Password(Body):
    """The owner's password, to show that it is the owner who asks."""

    password: str = Field(default="", max_length=200, description="The owner's password; not needed on the hub's own machine.")


class OwnerLink(Wire):
    """A link that sets the owner's password, once."""

    url: str
    hours: int


@skill("login-state", scopes=[], cost=CostClass.FREE, rest=[Rest("GET", "/api/settings/require-login", public=True)], read_only=True)
async def state(ctx: Context, ask: Nothing) -> LoginState:
    """Show whether the dashboard asks for a login, and whether there is a password. Callers without a credential may ask, too."""
    owner = await ctx.hub.login.record.get()
    known = "manage" in ctx.caller.scopes
    return LoginState(
        require_login=not ctx.hub.login.optional,
        has_password=bool(owner.password),
        setup_complete=bool(owner.password),
        node_version=platform.python_version() if known else "",
        node_compatible=True,
    )


@skill(
    "login-update",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest(method, "/api/settings/require-login") for method in ("PUT", "POST")],
    audit=Audit.FULL,
)
async def update(ctx: Context, ask: LoginChange) -> Done:
    """Set the owner's password, or whether the dashboard asks for a login. Nothing is changed when either is refused."""
    if ask.require_login is None and ask.password is None:
        raise BadRequest("send requireLogin, password, or both", field="requireLogin")
    login = ctx.hub.login
    if ask.require_login is False:
        login.check_optional()
    if ask.password is not None:
        await login.set_password(ask.password, current=ask.current_password, caller=ctx.caller)
    if ask.require_login is not None:
        await ctx.hub.preferences.change({"requireLogin": ask.require_login})
    return Done()


@skill("login-sessions", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("GET", "/api/auth/sessions")], read_only=True)
async def sessions(ctx: Context, ask: Nothing) -> SessionList:
    """List the browsers that are logged in at the dashboard."""
    return SessionList(sessions=[_shown(one, ctx.caller.session) for one in await ctx.hub.login.sessions.list()])


@skill(
    "login-sessions-end",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("DELETE", "/api/auth/sessions/{id}")],
    destructive=True,
    audit=Audit.FULL,
)
async def end(ctx: Context, ask: SessionId) -> Ended:
    """Log one browser out; it is out at once, in every process."""
    await ctx.hub.login.sessions.end(ask.id)
    return Ended(ended=1)


@skill(
    "login-sessions-end-all",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("DELETE", "/api/auth/sessions")],
    destructive=True,
    audit=Audit.FULL,
)
async def end_all(ctx: Context, ask: NoFields) -> Ended:
    """Log every browser out, but the one that asks."""
    return Ended(ended=await ctx.hub.login.sessions.end_all(but=ctx.caller.session))


@skill("login-totp", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("GET", "/api/auth/totp")], read_only=True)
async def totp(ctx: Context, ask: Nothing) -> TotpState:
    """Show whether a login needs a code of an authenticator app."""
    owner = await ctx.hub.login.record.get()
    left = len(owner.totp.recovery) if owner.totp and owner.second_factor else 0
    return TotpState(enabled=owner.second_factor, recovery_codes_left=left)


@skill("login-totp-enrol", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("POST", "/api/auth/totp", status=201)], audit=Audit.FULL)
async def enrol(ctx: Context, ask: NoFields) -> TotpSecret:
    """Begin a second factor: the secret for an authenticator app. It counts once login-totp-confirm has seen a code."""
    made = await ctx.hub.login.second.enrol(urlsplit(ctx.hub.settings.base_url).hostname or "hub")
    return TotpSecret(secret=made.secret, uri=made.uri, svg=made.picture)


@skill("login-totp-confirm", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("POST", "/api/auth/totp/confirm")])
async def confirm(ctx: Context, ask: TotpCode) -> RecoveryCodes:
    """Switch the second factor on with a code of the app, and get the recovery codes."""
    return RecoveryCodes(recovery_codes=await ctx.hub.login.second.confirm(ask.code))


@skill(
    "login-totp-disable",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("DELETE", "/api/auth/totp")],
    destructive=True,
    audit=Audit.FULL,
)
async def disable(ctx: Context, ask: Password) -> Done:
    """Switch the second factor off; needs the owner's password, unless asked on the hub's own machine."""
    login = ctx.hub.login
    if not (await login.record.get()).totp:
        raise Conflict("there is no second factor to switch off")
    await login.confirm(ask.password, ctx.caller)
    await login.second.disable()
    return Done()


@skill("login-unlock", scopes=["manage"], cost=CostClass.FREE, idempotent=True, audit=Audit.FULL)
async def unlock(ctx: Context, ask: NoFields) -> Done:
    """Forget failed logins, so that whoever waits for the next try need not."""
    await ctx.hub.login.lockout.unlock()
    return Done()


@skill("owner-link", scopes=["manage"], cost=CostClass.FREE, audit=Audit.FULL)
async def link(ctx: Context, ask: NoFields) -> OwnerLink:
    """Make a new link that sets the owner's password and logs in; an older one ends."""
    return OwnerLink(url=await owner_link(ctx.hub), hours=LINK_HOURS)


def _shown(session: Session, current: str) -> SessionView:
    return SessionView(
        id=session.id,
        created_at=iso(session.created_at),
        last_seen=iso(session.last_seen),
        expires_at=iso(session.expires_at),
        address=session.address,
        agent=session.agent,
        current=session.id == current,
    )
