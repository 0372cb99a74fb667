"""Webhooks: what happens is put into a queue of the database for those who want to hear of it, and delivered until it is taken.

Nothing is made of an event that nobody wants, and who causes one never waits for a receiver. Deliveries of one webhook go out a few at a
time, in no fixed order. A kill loses at most the events of the queue's window; what is stored is delivered at least once.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import orjson
from pydantic.alias_generators import to_camel

from hub.delivery import Attempt, Target, Verdict
from hub.errors import BadRequest, HubError, NotFound
from hub.log import logger
from hub.outbound.address import parse_url
from hub.store.webhooks import CANCELLED, DELIVERED, FAILED, Delivery, Standing, Try
from hub.vault import Unreadable
from hub.webhooks import names, signed
from hub.webhooks.model import Webhook
from hub.wire import iso

if TYPE_CHECKING:
    from hub.clock import Clock
    from hub.delivery import Deliverer
    from hub.events import Event, Events
    from hub.secret import Secret
    from hub.store import Store
    from hub.store.documents import Document

log = logger("hub.webhooks")

#: Seconds to wait before each further try, give or take a fifth: some 75 minutes in all.
WAITS = (1.0, 5.0, 30.0, 120.0, 600.0, 3600.0)
#: A receiver that asks for a longer wait gets no longer one.
_LONGEST_WAIT = 3600.0
#: So many deliveries in a row that failed in all tries switch a webhook off.
MOST_FAILURES = 10
MOST_WEBHOOKS = 100
#: Deliveries of one webhook that may wait. Further events are dropped, and counted.
MOST_WAITING = 10_000
#: How long the secret before signs beside the new one.
OVERLAP_MS = 86_400_000
_AT_ONCE = 8
#: How long a delivery is this process's; longer than a try and its wait for a free lane can take.
_LEASE_MS = 120_000
_IDLE_SECONDS = 60.0
#: On PostgreSQL another process may leave something.
_LOOK_SECONDS = 5.0
_LONGEST_ERROR = 300
#: Names of fields come from our own code, so they are few.
_camel = lru_cache(maxsize=512)(to_camel)


class Webhooks:
    """All webhooks of a hub. Used on the event loop only."""

    def __init__(self, store: Store, clock: Clock, deliverer: Deliverer, events: Events) -> None:
        self.documents = store.collection("webhook", what="webhook", prefix="wh_", body=Webhook)
        self.rows = store.webhooks
        self.deliverer = deliverer
        self._store = store
        self._clock = clock
        self._events = events
        self._seen = -1
        self._enabled: dict[str, tuple[str, ...]] = {}
        self._wanting: dict[str, tuple[str, ...]] = {}
        self._waiting: Counter[str] = Counter()
        #: Events that were not queued because too many waited, by webhook.
        self.dropped: Counter[str] = Counter()
        self._lanes: dict[str, asyncio.Task[None]] = {}
        self._wake = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Begin to deliver. Alone with the database, what a stopped process left is due at once."""
        self.refresh()
        if not self._store.postgres:
            await self.rows.free()
        self._events.listen(self._happened)
        self._keeper = asyncio.get_running_loop().create_task(self._keep())

    async def close(self) -> None:
        """End deliveries; what is cut off is sent again at the next start. May be called twice."""
        tasks = [*self._lanes.values(), *([self._keeper] if self._keeper else [])]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._keeper = None

    def refresh(self) -> None:
        """Take over which webhooks there are; called after every change to what owners write down."""
        if self.documents.version != self._seen:
            self._seen = self.documents.version
            self._enabled = {one.id: one.body.events for one in self.documents.all() if one.body.enabled}
            self._wanting.clear()
            self._wake.set()

    def wanted(self, name: str) -> bool:
        """Whether a webhook asks for an event; a look-up, so that nothing need be made of one that none does."""
        return bool(self._enabled) and bool(self._who(name))

    def offer(self, name: str, data: dict[str, Any], *, at: int = 0, event_id: str = "") -> None:
        """Something happened: queue it for every webhook that wants it. ``data`` is plain JSON, nothing secret."""
        who = self._who(name) if self._enabled else ()
        if not who:
            return
        at = at or self._clock.now_ms()
        body = _body(event_id or self._clock.new_id("evt_"), name, at, data)
        for webhook_id in who:
            if self._waiting[webhook_id] >= MOST_WAITING:
                self._drop(webhook_id)
                continue
            self._waiting[webhook_id] += 1
            self.rows.later(self._delivery(webhook_id, name, body, at))
        self._wake.set()

    async def test(self, webhook_id: str) -> Attempt:
        """Send a ``test.ping`` now, once, enabled or not; it is in the log and counts for nothing. Raises NotFound."""
        document = self.documents.get(webhook_id)
        now = self._clock.now_ms()
        data = {"message": "a test of this webhook, sent by hand", "webhookId": webhook_id}
        delivery = self._delivery(webhook_id, names.TEST, _body(self._clock.new_id("evt_"), names.TEST, now, data), now)
        attempt = await self._tried(document, delivery)
        delivery.state = DELIVERED if attempt.verdict is Verdict.TAKEN else FAILED
        delivery.due_at, delivery.ended_at = None, self._clock.now_ms()
        await self.rows.add(delivery)
        return attempt

    async def replay(self, webhook_id: str, delivery_id: str) -> Delivery:
        """Queue what was delivered, or not, once more; the receiver gets the same message id. Raises NotFound, BadRequest."""
        body = self.documents.get(webhook_id).body
        found = await self.delivery(webhook_id, delivery_id)
        if not body.enabled:
            raise BadRequest("the webhook is switched off; switch it on first", field="id", code="webhook_disabled")
        if found.ended_at is None:
            raise BadRequest("this delivery is still under way", field="delivery", code="delivery_waiting")
        again = self._delivery(webhook_id, found.event, found.body.encode(), self._clock.now_ms())
        again.message_id = found.message_id
        await self.rows.add(again)
        self._wake.set()
        return again

    async def delivery(self, webhook_id: str, delivery_id: str) -> Delivery:
        """One delivery. Raises NotFound."""
        found = await self.rows.get(webhook_id, delivery_id)
        if found is None:
            raise NotFound(f"the webhook has no delivery {delivery_id[:200]!r}", field="delivery")
        return found

    async def sweep(self, days: int) -> int:
        """Forget deliveries that ended and are older than that; how many went."""
        return await self.rows.delete_before(self._clock.now_ms() - days * 86_400_000)

    async def standing(self, webhook_id: str) -> Standing | None:
        """How a webhook does; None before its first delivery."""
        return (await self.rows.standings()).get(webhook_id)

    async def create(self, body: Webhook, secret: str) -> Document[Webhook]:
        """Store a webhook whose address was checked. Raises BadRequest when there are too many."""
        if len(self.documents.all()) >= MOST_WEBHOOKS:
            raise BadRequest(f"a hub may have {MOST_WEBHOOKS} webhooks; delete one first", field="url", code="too_many_webhooks")
        identity = self._clock.new_id("wh_")
        sealed = self._store.seal(secret, _place(identity))
        return await self.documents.create(identity, body.model_copy(update={"secret": sealed}), document_id=identity)

    async def change(self, webhook_id: str, changes: dict[str, Any], *, secret: str = "") -> Document[Webhook]:
        """Change a webhook, and its secret where one is given: the one before signs a day longer. Raises NotFound.

        One that is switched on begins with no failures; what waits for one that is switched off is not sent.
        """
        sealed = self._store.seal(secret, _place(webhook_id)) if secret else ""
        until = self._clock.now_ms() + OVERLAP_MS

        def edit(body: Webhook) -> Webhook:
            news = dict(changes)
            if sealed:
                news |= {"secret": sealed, "previous": body.secret, "previous_until": until}
            if changes.get("enabled") and not body.enabled:
                news |= {"disabled_at": None, "disabled_reason": ""}
            return body.model_copy(update=news)

        was = self.documents.get(webhook_id).body.enabled
        made = await self.documents.edit(webhook_id, edit)
        if made.body.enabled and not was:
            await self.rows.forgive(webhook_id)
        if not made.body.enabled:
            await self.rows.cancel(webhook_id)
        return made

    async def delete(self, webhook_id: str) -> None:
        """Forget a webhook and its deliveries. Raises NotFound."""
        await self.documents.delete(webhook_id)
        await self.rows.settle()
        await self.rows.forget(webhook_id)
        self._waiting.pop(webhook_id, None)

    def secrets(self, document: Document[Webhook]) -> tuple[Secret, ...]:
        """What signs for a webhook now, the newest first. Raises Unreadable."""
        body, place = document.body, _place(document.id)
        found = [self._store.unseal(body.secret, place)]
        if body.previous and body.previous_until > self._clock.now_ms():
            with suppress(Unreadable):  # that is why it was replaced
                found.append(self._store.unseal(body.previous, place))
        return tuple(found)

    def _who(self, name: str) -> tuple[str, ...]:
        found = self._wanting.get(name)
        if found is None:
            found = self._wanting[name] = tuple(one for one, patterns in self._enabled.items() if names.wants(patterns, name))
        return found

    def _happened(self, event: Event) -> None:
        if not self._enabled:
            return
        for name in names.outside(event):
            self.offer(name, event.data, at=event.at, event_id=event.id)

    def _drop(self, webhook_id: str) -> None:
        self.dropped[webhook_id] += 1
        if self.dropped[webhook_id] % 1000 == 1:
            log.warning("events are dropped: too many wait for a webhook", webhook=webhook_id, dropped=self.dropped[webhook_id])

    def _delivery(self, webhook_id: str, event: str, body: bytes, at: int) -> Delivery:
        identity = self._clock.new_id("msg_")
        return Delivery(id=identity, webhook_id=webhook_id, event=event, message_id=identity, body=body.decode(), created_at=at, due_at=at)

    async def _keep(self) -> None:
        """The background loop: looks who is due, and sleeps until the next one is or something new comes."""
        while True:
            wait = _LOOK_SECONDS
            try:
                wait = await self._round()
            except HubError as error:
                log.warning("deliveries of webhooks cannot be read", reason=error.message)
            except Exception as error:  # the background loop must outlive a fault
                log.error("seeing to webhooks failed", exc_info=error)
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._wake.wait()
            self._wake.clear()

    async def _round(self) -> float:
        """Start a lane for every webhook with something due; seconds until the next is."""
        wait = _LOOK_SECONDS if self._store.postgres else _IDLE_SECONDS
        if not self._enabled and not self._waiting:
            return _IDLE_SECONDS
        await self.rows.settle()
        found = {one.webhook_id: one for one in await self.rows.due()}
        now = self._clock.now_ms()
        self._waiting = Counter({name: one.waiting for name, one in found.items()})
        for name, one in found.items():
            if name not in self._enabled:
                await self._leave(name)
            elif one.due_at > now:
                wait = min(wait, (one.due_at - now) / 1000)
            elif name not in self._lanes:
                self._lanes[name] = asyncio.get_running_loop().create_task(self._lane(name))
        return max(0.01, wait)

    async def _leave(self, webhook_id: str) -> None:
        """Nothing is sent to a webhook that is switched off or gone."""
        if self.documents.peek(webhook_id) is None:
            await self.rows.forget(webhook_id)
        else:
            await self.rows.cancel(webhook_id)

    async def _lane(self, webhook_id: str) -> None:
        """Deliver what is due to one webhook, a few at a time, so that a slow one keeps only its own waiting."""
        try:
            while webhook_id in self._enabled:
                claimed = await self.rows.claim(webhook_id, until=self._clock.now_ms() + _LEASE_MS, limit=_AT_ONCE)
                if not claimed:
                    return
                async with asyncio.TaskGroup() as group:
                    for one in claimed:
                        group.create_task(self._deliver(one))
        except* HubError as errors:
            reason = "; ".join(str(one) for one in errors.exceptions)
            log.warning("deliveries of a webhook could not be stored; they will be sent again", webhook=webhook_id, reason=reason)
        except* Exception as error:  # the boundary of a lane
            log.error("delivering to a webhook failed", webhook=webhook_id, exc_info=error)
        finally:
            self._lanes.pop(webhook_id, None)
            self._wake.set()

    async def _deliver(self, delivery: Delivery) -> None:
        """One try, and what comes of it."""
        document = self.documents.peek(delivery.webhook_id)
        if document is None or not document.body.enabled:
            delivery.state, delivery.due_at, delivery.ended_at = CANCELLED, None, self._clock.now_ms()
            await self.rows.store(delivery)
            return
        attempt = await self._tried(document, delivery)
        now = self._clock.now_ms()
        if attempt.verdict is Verdict.DOWN and delivery.tries <= len(WAITS):
            asked = min(attempt.retry_after or 0.0, _LONGEST_WAIT)
            wait = max(self.deliverer.spread(WAITS[delivery.tries - 1]), asked)
            delivery.due_at = now + round(wait * 1000)
        else:
            delivery.state = DELIVERED if attempt.verdict is Verdict.TAKEN else FAILED
            delivery.due_at, delivery.ended_at = None, now
        failures = await self.rows.store(delivery)
        if attempt.verdict is Verdict.GONE:
            await self._disable(document, "its receiver answered 410: it wants nothing any more", failures)
        elif failures >= MOST_FAILURES:
            await self._disable(document, f"{failures} deliveries in a row failed in all tries", failures)

    async def _tried(self, document: Document[Webhook], delivery: Delivery) -> Attempt:
        body = delivery.body.encode()
        began = self._clock.monotonic()
        stamp = orjson.loads(body)["timestamp"]
        try:
            secrets = self.secrets(document)
        except Unreadable:
            attempt = Attempt(Verdict.REFUSED, reason="the secret of the webhook cannot be read; give it a new one")
        else:
            target = Target(document.body.url, signed.headers(secrets[0], delivery.event, stamp, body), signed.keys(secrets))
            attempt = await self.deliverer.attempt(target, delivery.message_id, body)
        delivery.tries += 1
        delivery.status = attempt.status
        delivery.attempts.append(
            Try(
                at=self._clock.now_ms(),
                latency_ms=round((self._clock.monotonic() - began) * 1000),
                status=attempt.status,
                error=attempt.reason[:_LONGEST_ERROR],
                response=attempt.excerpt,
            )
        )
        return attempt

    async def _disable(self, document: Document[Webhook], reason: str, failures: int) -> None:
        """Switch a webhook off and say so: in the log, in its own record, and to the other webhooks."""
        now, changed = self._clock.now_ms(), False

        def edit(body: Webhook) -> Webhook | None:
            nonlocal changed
            changed = body.enabled
            return body.model_copy(update={"enabled": False, "disabled_at": now, "disabled_reason": reason}) if changed else None

        with suppress(NotFound):
            await self.documents.edit(document.id, edit)
        self.refresh()
        if changed:
            host = parse_url(document.body.url)[0].host
            log.warning("a webhook is switched off", webhook=document.id, host=host, reason=reason)
            self._events.emit("webhook.disabled", webhook=document.id, host=host, reason=reason, failures=failures)
        await self.rows.cancel(document.id)


def _body(event_id: str, name: str, at: int, data: dict[str, Any]) -> bytes:
    """What is POSTed: the seed's three fields, and Standard Webhooks' name of the first."""
    plain = {_camel(field): value for field, value in data.items()}
    made = {"id": event_id, "type": name, "event": name, "timestamp": iso(at), "data": plain}
    return orjson.dumps(made, default=str, option=orjson.OPT_NON_STR_KEYS)


def _place(webhook_id: str) -> str:
    return f"webhooks:{webhook_id}:secret"
