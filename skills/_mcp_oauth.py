"""How an upstream server's logins are set and shown, for the skills about servers and about logins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from hub.errors import BadRequest
from hub.grants.model import SCOPE, State, sealed_place, state_of
from hub.outbound.address import parse_url
from hub.upstream.login.flow import CALLBACK
from hub.upstream.login.logins import whose
from hub.upstream.login.model import OAuth
from hub.wire import Body, Wire, iso

if TYPE_CHECKING:
    from hub.context import Context
    from hub.store.documents import Document
    from hub.upstream.login.model import Login
    from hub.upstream.model import Server


class OAuthAsk(Body):
    """How callers log in to a server. Without ``client_id`` a client is found or registered by itself."""

    share: Literal["shared", "per-user"] = Field(default="per-user", description="One login for everybody, or each caller its own.")
    client_id: str = Field(default="", max_length=2000, description="Id of a client that was registered by hand.")
    client_secret: str = Field(default="", max_length=4000, description="Its secret; kept encrypted.")
    issuer: str = Field(default="", max_length=2000, description="The authorization server to use, where the server names several.")
    scopes: list[str] = Field(default_factory=list[str], max_length=100, description="Scopes to ask for; empty for those it names.")


class LoginView(Wire):
    """One login, without its tokens. ``missing_scopes`` are what the server asked for and a new login would bring."""

    principal: str
    name: str
    state: State
    issuer: str
    scopes: list[str]
    missing_scopes: list[str]
    refreshes: bool
    obtained_at: str | None
    refreshed_at: str | None
    expires_at: str | None
    expires_in: int | None
    failing_since: str | None
    failure: str


class OAuthView(Wire):
    """How a server's logins are set, and how many there are. ``mine`` is the login that the caller's own calls use."""

    share: str
    client_id: str
    issuer: str
    scopes: list[str]
    redirect_uri: str
    logins: int
    failing: int
    mine: LoginView | None


def oauth_of(ctx: Context, identity: str, ask: OAuthAsk | None, kept: OAuth | None) -> OAuth | None:
    """What is stored of an input; fields left out stay as ``kept`` has them. Raises BadRequest."""
    if ask is None:
        return None
    _check(ask, kept)
    given = ask.model_dump(exclude_unset=True, by_alias=False)
    if ask.client_secret:
        given["client_secret"] = ctx.hub.store.seal(ask.client_secret, sealed_place(identity, "oauth", "client_secret"))
    elif "client_id" in given:
        given["client_secret"] = ""  # another client's secret is of no use, and not for its server to see
    if "scopes" in given:
        given["scopes"] = tuple(ask.scopes)
    return (kept or OAuth()).model_copy(update=given)


def _check(ask: OAuthAsk, kept: OAuth | None) -> None:
    if ask.issuer:
        parse_url(ask.issuer, field="issuer")
    if wrong := [scope for scope in ask.scopes if not SCOPE.fullmatch(scope)]:
        raise BadRequest(f"{wrong[0][:60]!r} is no scope: a word of plain ASCII without blanks, quotes and backslashes", field="scopes")
    if ask.client_secret and not (ask.client_id or (kept and kept.client_id)):
        raise BadRequest("a client secret goes with a client id", field="clientSecret")


def oauth_view(ctx: Context, document: Document[Server]) -> OAuthView | None:
    """A server's logins as a caller sees them."""
    oauth = document.body.oauth
    if oauth is None:
        return None
    logins = ctx.hub.upstreams.logins
    all_, now = logins.of_server(document.id), ctx.hub.clock.now_ms()
    states = [state_of(one.body, now) for one in all_]
    mine = logins.find(document, ctx.caller.key_id)
    return OAuthView(
        share=oauth.share,
        client_id=oauth.client_id,
        issuer=oauth.issuer,
        scopes=list(oauth.scopes),
        redirect_uri=f"{ctx.hub.settings.base_url}{CALLBACK}",
        logins=len(all_),
        failing=sum(state in (State.FAILING, State.ENDED) for state in states),
        mine=login_view(mine.body, now) if mine else None,
    )


def login_view(login: Login, now: int) -> LoginView:
    """A login as it is shown."""
    return LoginView(
        principal=login.principal,
        name=login.name,
        state=state_of(login, now),
        issuer=login.issuer,
        scopes=list(login.scopes),
        missing_scopes=[scope for scope in login.wanted if scope not in login.scopes],
        refreshes=bool(login.refresh) and not login.ended,
        obtained_at=iso(login.obtained_at),
        refreshed_at=iso(login.refreshed_at),
        expires_at=iso(login.expires_at),
        expires_in=None if login.expires_at is None else max(0, (login.expires_at - now) // 1000),
        failing_since=iso(login.failing_since),
        failure=login.failure,
    )


def owner_of(ctx: Context, document: Document[Server]) -> str:
    """The principal that a caller logs in for."""
    return whose(document, ctx.caller.key_id)
