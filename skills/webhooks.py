"""Webhooks: addresses of the owner that hear of what happens, the log of what they were sent, and a second chance for what they missed."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, field_validator

from hub import signing
from hub.context import Context
from hub.delivery import Verdict
from hub.secret import Secret
from hub.skill import Audit, CostClass, Rest, skill
from hub.store.documents import Document
from hub.store.webhooks import Delivery, Standing
from hub.vault import Unreadable
from hub.webhooks import names, signed
from hub.webhooks.model import Webhook
from hub.wire import Body, Nothing, Wire, iso

_SIGNS = "16 to 500 printable characters, or whsec_ and base64 of 24 to 64 bytes; left out, one is made."
_EVENTS = "Names of events or patterns such as quota.* and *; webhooks-events lists the names."
Pattern = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_.*-]{1,100}$")]


def _known(events: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Refuse names that mean no event."""
    if events is not None and (strange := names.unknown(events)):
        raise ValueError(f"there is no event {', '.join(strange)}; GET /api/webhooks/events lists them, and * means all")
    return events


class WebhookNew(Body):
    """A new webhook."""

    url: str = Field(min_length=1, max_length=2000, description="https address; http and private ones only if in push_allowed_hosts.")
    events: tuple[Pattern, ...] = Field(default=("*",), min_length=1, max_length=100, description=_EVENTS)
    secret: str | None = Field(default=None, max_length=500, description=f"What signs: {_SIGNS}")
    description: str = Field(default="", max_length=1000, description="A note for people.")
    enabled: bool = Field(default=True, description="False: kept, and sent nothing.")

    _events = field_validator("events")(_known)


class WebhookId(Body):
    """Names one webhook."""

    id: str = Field(description="Id of the webhook.")


class WebhookChange(Body):
    """What to change; fields left out stay."""

    id: str = Field(description="Id of the webhook.")
    url: str | None = Field(default=None, min_length=1, max_length=2000, description="Where events are POSTed.")
    events: tuple[Pattern, ...] | None = Field(default=None, min_length=1, max_length=100, description=_EVENTS)
    secret: str | None = Field(default=None, max_length=500, description="A new secret; the one before also signs for a day.")
    description: str | None = Field(default=None, max_length=1000, description="A note for people.")
    enabled: bool | None = Field(default=None, description="Switch it on or off; what waits for one that is off is not sent.")

    _events = field_validator("events")(_known)


class WebhookView(Wire):
    """A webhook. The secret is masked but in the answer that made it. ``failure_count`` is of deliveries in a row; the last four fields
    are ours: whether a secret before still signs, whether the hub switched it off, why, and how many events were dropped."""

    id: str
    url: str
    events: list[str]
    secret: str
    enabled: bool
    description: str
    created_at: str | None = Field(alias="created_at")
    last_triggered_at: str | None = Field(alias="last_triggered_at")
    last_status: int | None = Field(alias="last_status")
    failure_count: int = Field(alias="failure_count")
    previous_secret_until: str | None = Field(alias="previous_secret_until")
    disabled_at: str | None = Field(alias="disabled_at")
    disabled_reason: str = Field(alias="disabled_reason")
    dropped_events: int = Field(alias="dropped_events")


class WebhookAnswer(Wire):
    """One webhook."""

    webhook: WebhookView


class WebhookList(Wire):
    """All webhooks."""

    webhooks: list[WebhookView]


class Deleted(Wire):
    """The webhook is gone."""

    success: bool = True


class Tested(Wire):
    """How a ``test.ping`` went; ``status`` is that of the answer, 0 without one."""

    delivered: bool
    status: int
    error: str | None


class EventEntry(Wire):
    """An event that webhooks may ask for."""

    name: str
    description: str


class EventList(Wire):
    """Every event."""

    events: list[EventEntry]
    total: int


class DeliveryPage(Body):
    """Which deliveries to show, newest first."""

    id: str = Field(description="Id of the webhook.")
    state: Literal["", "waiting", "delivered", "failed", "cancelled"] = Field(default="", description="Only those in this state.")
    event: str = Field(default="", max_length=100, description="Only those of this event.")
    limit: int = Field(default=50, ge=1, le=500, description="How many.")
    offset: int = Field(default=0, ge=0, le=10_000, description="How many to pass over.")


class DeliveryId(Body):
    """Names one delivery of a webhook."""

    id: str = Field(description="Id of the webhook.")
    delivery: str = Field(description="Id of the delivery.")


class AttemptView(Wire):
    """One try. ``response`` is the first 512 bytes of the answer."""

    at: str | None
    latency_ms: int
    status: int
    error: str
    response: str


class DeliveryView(Wire):
    """An event for a webhook. ``message_id`` is the ``webhook-id`` that the receiver saw; ``next_try_at`` is null once it is done."""

    id: str
    message_id: str
    event: str
    state: str
    status: int
    tries: int
    attempts: list[AttemptView]
    payload: str
    created_at: str | None
    next_try_at: str | None
    ended_at: str | None


class DeliveryList(Wire):
    """A page of deliveries."""

    deliveries: list[DeliveryView]
    total: int


class DeliveryAnswer(Wire):
    """One delivery."""

    delivery: DeliveryView


def _view(ctx: Context, document: Document[Webhook], standing: Standing | None, *, secret: str = "") -> WebhookView:
    body = document.body
    secrets = _secrets(ctx, document)
    return WebhookView(
        id=document.id,
        url=body.url,
        events=list(body.events),
        secret=secret or (signed.masked(secrets[0]) if secrets else ""),
        enabled=body.enabled,
        description=body.description,
        created_at=iso(document.created_at),
        last_triggered_at=iso(standing.last_at) if standing else None,
        last_status=standing.last_status if standing else None,
        failure_count=standing.failures if standing else 0,
        previous_secret_until=iso(body.previous_until) if len(secrets) > 1 else None,
        disabled_at=iso(body.disabled_at),
        disabled_reason=body.disabled_reason,
        dropped_events=ctx.hub.webhooks.dropped[document.id],
    )


def _secrets(ctx: Context, document: Document[Webhook]) -> tuple[Secret, ...]:
    """What signs for a webhook; nothing where that was sealed by another hub and cannot be read: a new one mends it."""
    try:
        return ctx.hub.webhooks.secrets(document)
    except Unreadable:
        return ()


async def _answer(ctx: Context, document: Document[Webhook], *, secret: str = "") -> WebhookAnswer:
    standing = await ctx.hub.webhooks.standing(document.id)
    return WebhookAnswer(webhook=_view(ctx, document, standing, secret=secret))


def _delivery(one: Delivery) -> DeliveryView:
    return DeliveryView(
        id=one.id,
        message_id=one.message_id,
        event=one.event,
        state=one.state,
        status=one.status,
        tries=one.tries,
        attempts=[
            AttemptView(at=iso(each.at), latency_ms=each.latency_ms, status=each.status, error=each.error, response=each.response)
            for each in one.attempts
        ],
        payload=one.body,
        created_at=iso(one.created_at),
        next_try_at=iso(one.due_at),
        ended_at=iso(one.ended_at),
    )


@skill("webhooks-list", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("GET", "/api/webhooks")], read_only=True)
async def listed(ctx: Context, ask: Nothing) -> WebhookList:
    """List webhooks and how they do, their secrets masked."""
    standings = await ctx.hub.webhooks.rows.standings()
    return WebhookList(webhooks=[_view(ctx, one, standings.get(one.id)) for one in ctx.hub.webhooks.documents.all()])


@skill("webhooks-events", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("GET", "/api/webhooks/events")], read_only=True)
async def events(ctx: Context, ask: Nothing) -> EventList:
    """List every event that a webhook may ask for."""
    entries = [EventEntry(name=name, description=words) for name, words in names.EVENTS.items()]
    return EventList(events=entries, total=len(entries))


@skill("webhooks-create", scopes=["manage"], cost=CostClass.NETWORK, rest=[Rest("POST", "/api/webhooks", status=201)], audit=Audit.FULL)
async def created(ctx: Context, ask: WebhookNew) -> WebhookAnswer:
    """Create a webhook. The secret that signs its messages is in the answer, and nowhere else later."""
    if ask.secret:
        signed.check(ask.secret)
    await ctx.hub.webhooks.deliverer.check(ask.url, "url")
    secret = ask.secret or signing.new_secret()
    body = Webhook(url=ask.url, events=ask.events, secret="", description=ask.description, enabled=ask.enabled)
    return await _answer(ctx, await ctx.hub.webhooks.create(body, secret), secret=secret)


@skill("webhooks-get", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("GET", "/api/webhooks/{id}")], read_only=True)
async def shown(ctx: Context, ask: WebhookId) -> WebhookAnswer:
    """Show one webhook, its secret masked."""
    return await _answer(ctx, ctx.hub.webhooks.documents.get(ask.id))


@skill(
    "webhooks-update",
    scopes=["manage"],
    cost=CostClass.NETWORK,
    rest=[Rest(method, "/api/webhooks/{id}") for method in ("PUT", "PATCH")],
    idempotent=True,
    audit=Audit.FULL,
)
async def updated(ctx: Context, ask: WebhookChange) -> WebhookAnswer:
    """Change a webhook. A new secret signs at once, and the one before beside it for a day."""
    webhooks = ctx.hub.webhooks
    document = webhooks.documents.get(ask.id)
    secret = ask.secret or ""
    if secret in map(signed.masked, _secrets(ctx, document)):
        secret = ""  # a form that sends back what it was shown
    if secret:
        signed.check(secret)
    if ask.url is not None:
        await webhooks.deliverer.check(ask.url, "url")
    changes: dict[str, Any] = ask.model_dump(exclude={"id", "secret"}, exclude_none=True)
    return await _answer(ctx, await webhooks.change(ask.id, changes, secret=secret))


@skill(
    "webhooks-delete",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("DELETE", "/api/webhooks/{id}")],
    destructive=True,
    audit=Audit.FULL,
)
async def deleted(ctx: Context, ask: WebhookId) -> Deleted:
    """Delete a webhook, its log, and what waits for it."""
    await ctx.hub.webhooks.delete(ask.id)
    return Deleted()


@skill("webhooks-test", scopes=["manage"], cost=CostClass.NETWORK, rest=[Rest("POST", "/api/webhooks/{id}/test")])
async def tested(ctx: Context, ask: WebhookId) -> Tested:
    """Send a test.ping to a webhook now, once, and say how it went."""
    attempt = await ctx.hub.webhooks.test(ask.id)
    taken = attempt.verdict is Verdict.TAKEN
    words = None if taken else attempt.reason or f"the receiver answered {attempt.status}"
    return Tested(delivered=taken, status=attempt.status, error=words)


@skill("webhooks-rotate", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("POST", "/api/webhooks/{id}/rotate-secret")], audit=Audit.FULL)
async def rotated(ctx: Context, ask: WebhookId) -> WebhookAnswer:
    """Give a webhook a new secret, shown in the answer only; the one before also signs for a day."""
    secret = signing.new_secret()
    return await _answer(ctx, await ctx.hub.webhooks.change(ask.id, {}, secret=secret), secret=secret)


@skill("webhooks-deliveries", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("GET", "/api/webhooks/{id}/deliveries")], read_only=True)
async def deliveries(ctx: Context, ask: DeliveryPage) -> DeliveryList:
    """Show what a webhook was sent and is still to be sent, every try with what came of it."""
    ctx.hub.webhooks.documents.get(ask.id)
    rows, total = await ctx.hub.webhooks.rows.page(ask.id, state=ask.state, event=ask.event, limit=ask.limit, offset=ask.offset)
    return DeliveryList(deliveries=list(map(_delivery, rows)), total=total)


@skill(
    "webhooks-replay",
    scopes=["manage"],
    cost=CostClass.NETWORK,
    rest=[Rest("POST", "/api/webhooks/{id}/deliveries/{delivery}/replay", status=202)],
)
async def replayed(ctx: Context, ask: DeliveryId) -> DeliveryAnswer:
    """Queue a delivery once more, under the message id it had, so that a receiver that has it already can tell."""
    return DeliveryAnswer(delivery=_delivery(await ctx.hub.webhooks.replay(ask.id, ask.delivery)))
