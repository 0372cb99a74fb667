"""Sync with another hub: switch it on, run it, look at it; tokens for hubs that sync with this one (docs/sync.md)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, SecretStr

from hub.context import Context
from hub.errors import BadRequest
from hub.skill import Audit, CostClass, Rest, skill
from hub.store.documents import Document
from hub.sync import sealing
from hub.sync.syncing import Report
from hub.sync.tokens import SyncToken
from hub.wire import Body, Nothing, Wire, iso

_PATH = "/api/sync/bundle"


class CloudAsk(Body):
    """What to do about the other hub."""

    action: Literal["enable", "sync", "verify", "disable"] = Field(
        description="enable: name the other hub and sync with it; sync: now; verify: only ask it; disable: forget it."
    )
    url: str = Field(default="", max_length=2000, description="With enable: its origin; empty: HUBROUTE_SYNC_URL.")
    token: SecretStr = Field(default=SecretStr(""), max_length=200, description="With enable: its sync token; empty: HUBROUTE_SYNC_TOKEN.")
    interval_minutes: int = Field(default=15, ge=0, le=10_080, description="With enable: minutes between syncs; 0: only when asked to.")
    dry_run: bool = Field(default=False, description="With sync: say what would be done, and do nothing.")


class CloudState(Wire):
    """Whether this hub syncs with another, and how the last time went."""

    enabled: bool
    connected: bool | None = None
    url: str | None = None
    last_sync: str | None = None
    last_error: str | None = None
    interval_minutes: int | None = None


class Clash(Wire):
    """Something that was changed on both sides; ``kept`` is here or there."""

    item: str
    name: str
    kept: str
    why: str


class NotWritten(Wire):
    """Something that was not written, and why."""

    item: str
    name: str
    why: str


class CloudDone(Wire):
    """What was done. The lists name what was written and deleted on each side; ``secrets`` and ``write`` are what the token may."""

    success: bool = True
    action: str
    message: str
    dry_run: bool = False
    here: list[str] = Field(default_factory=list[str])
    there: list[str] = Field(default_factory=list[str])
    deleted_here: list[str] = Field(default_factory=list[str])
    deleted_there: list[str] = Field(default_factory=list[str])
    conflicts: list[Clash] = Field(default_factory=list[Clash])
    refused: list[NotWritten] = Field(default_factory=list[NotWritten])
    secrets: bool = False
    write: bool = False


class Started(Wire):
    """The scheduler of syncs."""

    success: bool = True
    message: str
    model_sync_enabled: bool


class NewToken(Body):
    """What another hub may do with the token."""

    name: str = Field(min_length=1, max_length=200, description="Your name for it, such as that of the other hub.")
    secrets: bool = Field(default=False, description="Whether credentials of connections go along, sealed to the other hub.")
    write: bool = Field(default=False, description="Whether the other hub may change this one, too.")
    recipient: str = Field(
        default="", max_length=60, description="Public key of the other hub; empty: the first hub that uses the token is the one."
    )
    expires_in_days: int | None = Field(default=None, ge=1, le=3650, description="Days until it ends; null: never.")


class TokenName(Body):
    """Names a token."""

    id: str = Field(min_length=1, max_length=100, description="Its id.")


class TokenView(Wire):
    """A token without its secret. ``recipient`` is the hub it belongs to, empty until one has used it."""

    id: str
    name: str
    prefix: str
    secrets: bool
    write: bool
    recipient: str
    created_at: str | None
    expires_at: str | None


class TokenList(Wire):
    """Every token."""

    tokens: list[TokenView]
    total: int
    public_key: str


class MadeToken(Wire):
    """A token that was made; ``token`` is shown this once."""

    token: str
    sync_token: TokenView


class GoneToken(Wire):
    """A token that was revoked."""

    message: str
    sync_token: TokenView


class BundleAsk(Body):
    """Another hub asks for what is set up here."""

    token: SecretStr = Field(max_length=200, description="Its sync token.")
    recipient: str = Field(max_length=60, description="Its public key (X25519, base64url).")
    nonce: str = Field(min_length=8, max_length=100, description="Anything that it has not sent before; bound to the answer.")
    known: str = Field(default="", max_length=100, description="The version that it has; the answer to that one has no bundle.")


class Bundle(Wire):
    """What is set up here, sealed; without ``bundle`` when it is the known version."""

    version: str
    recipient: str
    secrets: bool
    write: bool
    bundle: dict[str, Any] | None = None


class PushAsk(Body):
    """Another hub writes here."""

    token: SecretStr = Field(max_length=200, description="Its sync token.")
    base: str = Field(max_length=100, description="The version of this hub that the changes were made of.")
    bundle: dict[str, Any] = Field(description="The changes, sealed to this hub.")


class Pushed(Wire):
    """The version of this hub afterwards, and what was not written."""

    version: str
    refused: list[dict[str, Any]]


@skill("sync-state", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("GET", "/api/sync/cloud")], read_only=True, audit=Audit.NONE)
async def state(ctx: Context, ask: Nothing) -> CloudState:
    """Show whether this hub syncs with another, and how the last time went."""
    peer = ctx.hub.syncing.peer
    if peer is None:
        return CloudState(enabled=False)
    return CloudState(
        enabled=True,
        connected=not peer.fault,
        url=peer.url,
        last_sync=iso(peer.last_at),
        last_error=peer.fault or None,
        interval_minutes=peer.minutes,
    )


@skill("sync-cloud", scopes=["manage"], cost=CostClass.NETWORK, rest=[Rest("POST", "/api/sync/cloud")], audit=Audit.FULL)
async def cloud(ctx: Context, ask: CloudAsk) -> CloudDone:
    """Name another hub to sync with, sync now, only ask it, or forget it."""
    syncing = ctx.hub.syncing
    if ask.action == "disable":
        return CloudDone(action="disable", message="sync is off" if await syncing.disable() else "sync was off already")
    if ask.action == "verify":
        seen = await syncing.verify()
        return CloudDone(
            action="verify", message=f"the other hub answers, with {len(seen.items)} items", secrets=seen.secrets, write=seen.write
        )
    if ask.action == "enable":
        return _done("enable", await syncing.enable(ask.url.strip(), ask.token.get_secret_value().strip(), ask.interval_minutes))
    return _done("sync", await syncing.sync(dry_run=ask.dry_run))


@skill(
    "sync-initialize",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("POST", "/api/sync/initialize"), Rest("GET", "/api/sync/initialize")],
    idempotent=True,
)
async def initialize(ctx: Context, ask: Nothing) -> Started:
    """See that the scheduler of syncs runs; it is started with the hub."""
    began = ctx.hub.syncing.open()
    peer = ctx.hub.syncing.peer
    words = "the scheduler was started" if began else "the scheduler runs"
    return Started(message=words, model_sync_enabled=peer is not None and peer.minutes > 0)


@skill("sync-tokens-list", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("GET", "/api/sync/tokens")], read_only=True)
async def list_tokens(ctx: Context, ask: Nothing) -> TokenList:
    """List the tokens by which other hubs may sync with this one, and this hub's public key."""
    found = [_view(one) for one in ctx.hub.sync_tokens.all()]
    return TokenList(tokens=found, total=len(found), public_key=ctx.hub.sync_serving.public_key())


@skill("sync-tokens-create", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("POST", "/api/sync/tokens", status=201)], audit=Audit.FULL)
async def create_token(ctx: Context, ask: NewToken) -> MadeToken:
    """Make a token by which one other hub may read what is set up here. It is shown once."""
    try:
        recipient = sealing.known_key(ask.recipient) if ask.recipient else ""
    except BadRequest:
        raise BadRequest(
            "recipient is no public key: GET /api/sync/tokens at the other hub shows its publicKey", field="recipient"
        ) from None
    token, made = await ctx.hub.sync_tokens.create(
        ask.name, with_secrets=ask.secrets, write=ask.write, recipient=recipient, days=ask.expires_in_days
    )
    return MadeToken(token=token, sync_token=_view(made))


@skill(
    "sync-tokens-revoke",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("DELETE", "/api/sync/tokens/{id}")],
    destructive=True,
    audit=Audit.FULL,
)
async def revoke_token(ctx: Context, ask: TokenName) -> GoneToken:
    """Shut another hub out: its token works no more."""
    return GoneToken(message="the token was revoked", sync_token=_view(await ctx.hub.sync_tokens.revoke(ask.id)))


@skill("sync-bundle", scopes=[], cost=CostClass.FREE, rest=[Rest("GET", _PATH, public=True, door="sync")], audit=Audit.FULL)
async def bundle(ctx: Context, ask: BundleAsk) -> Bundle:
    """Give another hub what is set up here, sealed to it; its sync token says that it may."""
    told = await ctx.hub.sync_serving.bundle(ask.token.get_secret_value(), recipient=ask.recipient, nonce=ask.nonce, known=ask.known)
    return Bundle.model_validate(told)


@skill("sync-push", scopes=[], cost=CostClass.FREE, rest=[Rest("POST", _PATH, public=True, door="sync")], audit=Audit.FULL)
async def push(ctx: Context, ask: PushAsk) -> Pushed:
    """Take another hub's changes, made of exactly what is here; its sync token says that it may."""
    return Pushed.model_validate(await ctx.hub.sync_serving.take(ask.token.get_secret_value(), base=ask.base, sealed=ask.bundle))


def _view(one: Document[SyncToken]) -> TokenView:
    body = one.body
    return TokenView(
        id=one.id,
        name=one.name,
        prefix=f"{body.prefix}…",
        secrets=body.secrets,
        write=body.write,
        recipient=body.recipient,
        created_at=iso(one.created_at),
        expires_at=iso(body.expires_at),
    )


def _done(action: str, report: Report) -> CloudDone:
    count = len(report.here) + len(report.gone_here), len(report.there) + len(report.gone_there)
    verb = "would change" if report.dry_run else "changed"
    return CloudDone(
        action=action,
        message=f"{verb} {count[0]} here and {count[1]} there",
        dry_run=report.dry_run,
        here=report.here,
        there=report.there,
        deleted_here=report.gone_here,
        deleted_there=report.gone_there,
        conflicts=[Clash(item=one.item, name=one.name, kept=one.kept, why=one.why) for one in report.conflicts],
        refused=[NotWritten(item=one.item, name=one.name, why=one.why) for one in report.refused],
        secrets=report.secrets,
        write=report.write,
    )
