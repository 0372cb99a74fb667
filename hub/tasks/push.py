"""Push notifications of agent tasks: every event of a task, POSTed to the addresses that its caller named (SEC-58).

A delivery reads the task's own log of events at its own pace, so a slow or dead target never delays the task, the
other targets, or more memory than the task takes anyway. One that falls far behind gets the whole task in place of what
it missed. That the end of a task is owed is stored with the end itself, so it is told after a restart too (REL-19).
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from typing import TYPE_CHECKING, Any

import msgspec
import orjson

from hub import signing
from hub.delivery import Target, Verdict
from hub.errors import BadRequest, HubError, NotFound, Unavailable
from hub.log import logger
from hub.secret import Secret
from hub.tasks.task import ENDED, PAUSED, RUNNING, LiveTask, StatusEvent

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.clock import Clock
    from hub.delivery import Deliverer
    from hub.records import Key, PushConfig, TaskRow
    from hub.store import Store
    from hub.tasks.task import Event, Item

    #: Writes an item of a task's stream in the words of a dialect, as JSON values.
    Form = Callable[[TaskRow, Item], Any]

log = logger("hub.push")

MOST_CONFIGS = 10
#: A delivery that is so many events behind is given the task as it is instead.
MOST_BEHIND = 256
_LONGEST_URL = 2048
_LONGEST_SECRET = 4096
_SWEEP_SECONDS = 60.0
#: How long deliveries may go on when the hub closes.
_GRACE_SECONDS = 1.0
_ID = re.compile(r"[!-~]{1,200}")
#: Callers that are none of a key: whoever owns the machine, and nobody where no key is needed.
_NO_KEY = ("owner", "")
_HEADER = re.compile(r"[ -~]*")
_SCHEME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")


class Pushes:
    """All configs and deliveries of this process. Used on the event loop only."""

    def __init__(self, store: Store, clock: Clock, deliverer: Deliverer) -> None:
        self._store = store
        self._clock = clock
        self.deliverer = deliverer
        self._forms: dict[str, Form] = {}
        #: Set once a door has said how its dialects write events.
        self._spoken = asyncio.Event()
        self._running: dict[tuple[str, str], _Delivery] = {}
        self._keeper: asyncio.Task[None] | None = None

    def speak(self, forms: dict[str, Form]) -> None:
        """A door says how to write events in its dialects. Deliveries begin with it."""
        self._forms.update(forms)
        self._spoken.set()

    def open(self) -> None:
        """Begin to see to what is owed."""
        self._keeper = asyncio.get_running_loop().create_task(self._keep())

    async def close(self) -> None:
        """End all deliveries after a moment's grace. The ends of tasks that were not told are found at the next start."""
        ending = [one.work for one in self._running.values() if one.waits] if self._spoken.is_set() else []
        if ending:
            await asyncio.wait(ending, timeout=_GRACE_SECONDS)
        for work in [*(one.work for one in self._running.values()), *([self._keeper] if self._keeper else [])]:
            work.cancel()
            await asyncio.wait([work])
        self._running.clear()
        await self.deliverer.outbound.aclose()

    async def checked(self, config: PushConfig) -> PushConfig:
        """A config that a caller may set, with a secret if it names none. Raises BadRequest naming the field at fault (SEC-10 to 13)."""
        _check_words(config)
        if config.secret:
            signing.check_secret(config.secret.reveal(), "x-hubroute-signing-secret")
        await self.deliverer.check(config.url, "url")
        return config if config.secret else msgspec.structs.replace(config, secret=Secret(signing.new_secret()))

    async def set(self, live: LiveTask, config: PushConfig) -> PushConfig:
        """Store a config that was :meth:`checked` and tell it everything from now on; of a task that has ended, its end.

        It replaces the task's config of the same id, and without an id the one whose id is the task's. Raises BadRequest
        when the task has :data:`MOST_CONFIGS` others.
        """
        if live.state in RUNNING and not live.busy:
            raise Unavailable("another process of this hub works on the task; it cannot be asked from here to tell of it", retry_after=1)
        row = live.row
        bound = msgspec.structs.replace(
            config, id=config.id or row.id, task_id=row.id, owner=row.owner, created_at=self._clock.now_ms(), told_at=None
        )
        await self._store.pushes.save(bound, most=MOST_CONFIGS)
        before = self._stop(row.id, bound.id)
        # What the one before has not told yet is told by its successor.
        self._start(live, bound, before.at if before else live.told)
        return bound

    async def list(self, task_id: str) -> list[PushConfig]:
        """The configs of a task, the oldest first."""
        return await self._store.pushes.of(task_id)

    async def get(self, task_id: str, config_id: str) -> PushConfig:
        """One config; without an id the task's default one, else its first. Raises NotFound."""
        if config_id:
            found = await self._store.pushes.get(task_id, config_id)
        else:
            all_ = await self.list(task_id)
            found = next((one for one in all_ if one.id == task_id), next(iter(all_), None))
        if found is None:
            raise NotFound(f"the task has no push notification config {config_id[:200]!r}", code="task_not_found", data={"taskId": task_id})
        return found

    async def delete(self, task_id: str, config_id: str) -> None:
        """Forget a config and stop telling it. Deleting one that is not there changes nothing."""
        await self._store.pushes.delete(task_id, config_id)
        self._stop(task_id, config_id)

    async def attend(self, live: LiveTask) -> None:
        """Take the deliveries of a stored task up again, before it goes on or ends. Never raises for the store: the task comes first."""
        at = live.told
        try:
            for config in await self._store.pushes.of(live.row.id):
                if (config.task_id, config.id) not in self._running and config.told_at is None:
                    self._start(live, config, at)
        except HubError as error:
            log.warning("push notifications of a task cannot be read", task=live.row.id, reason=error.message)

    async def prune(self) -> None:
        """Delete the configs of tasks that are gone."""
        await self._store.pushes.prune()

    def _start(self, live: LiveTask, config: PushConfig, at: int) -> None:
        self._running[config.task_id, config.id] = _Delivery(self, live, config, at)

    def _stop(self, task_id: str, config_id: str) -> _Delivery | None:
        delivery = self._running.pop((task_id, config_id), None)
        if delivery is not None:
            delivery.work.cancel()
        return delivery

    def left(self, delivery: _Delivery) -> None:
        """A delivery is over."""
        place = delivery.config.task_id, delivery.config.id
        if self._running.get(place) is delivery:
            del self._running[place]

    async def told(self, config: PushConfig) -> None:
        """Note that nothing is owed to a config any more."""
        try:
            await self._store.pushes.told(config, self._clock.now_ms())
        except HubError as error:
            log.warning(
                "a delivered push notification could not be noted; it will be sent again", task=config.task_id, reason=error.message
            )

    async def send(self, config: PushConfig, row: TaskRow, item: Item, message_id: str) -> Verdict:
        """Deliver one item. A config whose key is gone is told nothing more."""
        await self._spoken.wait()
        form = self._forms.get(config.dialect)
        if form is None or not self._alive(config.owner):
            return Verdict.GONE
        return await self.deliverer.send(_target(config), message_id, orjson.dumps(form(row, item)))

    def new_id(self) -> str:
        """An id for a message."""
        return self._clock.new_id("msg_")

    def _alive(self, owner: str) -> bool:
        """Whether the key that a task belongs to may still be told of it; the owner of the hub has none."""
        try:
            key: Key = self._store.keys.get(owner)
        except NotFound:
            return owner in _NO_KEY
        return key.active and (key.expires_at is None or key.expires_at > self._clock.now_ms())

    async def _keep(self) -> None:
        """The background loop: finds ends of tasks that were never told."""
        await self._spoken.wait()
        while True:
            try:
                await self._see_to_owed()
            except HubError as error:
                log.warning("push notifications that are owed cannot be read", reason=error.message)
            except Exception as error:  # the background loop must outlive a fault
                log.error("seeing to push notifications failed", exc_info=error)
            await asyncio.sleep(_SWEEP_SECONDS)

    async def _see_to_owed(self) -> None:
        store, alone = self._store, not self._store.postgres
        for config in await store.pushes.owed([state.value for state in ENDED], now=self._clock.now_ms(), alone=alone):
            row = await store.tasks.get(config.task_id, config.owner)
            found = await store.pushes.get(config.task_id, config.id)
            owed = found is not None and found.told_at is None and (config.task_id, config.id) not in self._running
            if row is not None and owed:
                live = LiveTask(row, self._clock)
                self._start(live, config, live.told)


class _Delivery:
    """The events of one task on their way to one target, in their order. ``at`` is how many of the task's events are behind it."""

    def __init__(self, pushes: Pushes, live: LiveTask, config: PushConfig, at: int) -> None:
        self._pushes = pushes
        self._live = live
        self.config = config
        self.at = at
        #: The target took nothing in all tries of an event: until the task pauses or ends it is left alone.
        self._down = False
        #: The end of the task was told before, and nobody will tell it again: it comes from the task itself.
        self._late = live.state in ENDED and not live.busy and live.told == at
        self.work = asyncio.get_running_loop().create_task(self._run())

    @property
    def waits(self) -> bool:
        """Whether something is on its way."""
        return self._late or self.at < self._live.told

    async def _run(self) -> None:
        try:
            await self._tell_all()
        except Exception as error:  # the boundary of a delivery
            log.error("a delivery failed", task=self.config.task_id, exc_info=error)
        finally:
            self._pushes.left(self)

    async def _tell_all(self) -> None:
        live = self._live
        if self._late:
            await self._end(StatusEvent(live.state, live.row.task["status"], live.row.task["metadata"]))
            return
        while not self._over():
            event = await live.event(self.at)
            if event is None:
                continue
            if isinstance(event, StatusEvent) and event.state in ENDED:
                await self._end(event)
                return
            if await self._tell(event) is Verdict.GONE:
                await self._pushes.told(self.config)
                return

    def _over(self) -> bool:
        """Whether all is told and nothing will come until somebody continues the task, who then calls :meth:`Pushes.attend`."""
        return self.at >= self._live.told and self._live.state in PAUSED and not self._live.busy

    async def _tell(self, event: Event) -> Verdict:
        """Deliver an event and step behind it; when far behind, deliver the task instead and step behind all that it holds."""
        item: Item = event
        live, after = self._live, self.at + 1
        if not _halts(event):
            if self._down:
                self.at = after
                return Verdict.DOWN
            if live.told - self.at > MOST_BEHIND:
                item, after = live.snapshot(), live.told - _halts(live.last)
        verdict = await self._pushes.send(self.config, live.row, item, self._pushes.new_id())
        self._down = verdict is Verdict.DOWN
        self.at = after
        return verdict

    async def _end(self, event: StatusEvent) -> None:
        """Deliver the end of the task. Its message id is always the same, so that a receiver can tell when it comes twice."""
        config = self.config
        name = f"{config.task_id}/{config.id}/{config.created_at}"
        message_id = f"msg_{hashlib.blake2b(name.encode(), digest_size=16).hexdigest()}"
        await self._pushes.send(config, self._live.row, event, message_id)
        await self._pushes.told(config)


def _halts(event: Event) -> bool:
    """Whether a task pauses or ends with an event: then it is told whatever came before."""
    return isinstance(event, StatusEvent) and event.state not in RUNNING


def _check_words(config: PushConfig) -> None:
    """Raise BadRequest naming the field that cannot be kept or sent as it is."""
    if len(config.url) > _LONGEST_URL:
        raise BadRequest(f"url may have {_LONGEST_URL} characters", field="url")
    if config.id and not _ID.fullmatch(config.id):
        raise BadRequest("id must be 1 to 200 printable ASCII characters without spaces", field="id")
    for name, value in (("token", config.token.reveal()), ("authentication.credentials", config.credentials.reveal())):
        if len(value) > _LONGEST_SECRET or not _HEADER.fullmatch(value):
            raise BadRequest(f"{name} goes into a header: at most {_LONGEST_SECRET} printable ASCII characters", field=name)
    if config.scheme and not _SCHEME.fullmatch(config.scheme):
        raise BadRequest("authentication.scheme must be a name such as Bearer or Basic", field="authentication.scheme")


def _target(config: PushConfig) -> Target:
    headers = {"a2a-version": config.dialect}
    if config.token:
        headers["x-a2a-notification-token"] = config.token.reveal()
    if config.scheme and config.credentials:
        headers["authorization"] = f"{config.scheme} {config.credentials.reveal()}"
    return Target(config.url, headers, (config.secret,))
