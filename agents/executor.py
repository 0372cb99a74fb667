"""The agent: which skill a message is for, what the skill is asked, and how its answer becomes a task's artifacts."""

from __future__ import annotations

import hashlib
import re
import uuid
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, get_args

import orjson

from agents.message import Said, accepts, check_modes, data_of, spoken, text_of, turns_of
from hub.errors import AmbiguousModel, BadRequest, BudgetExceeded, InvalidInput, NotFound, UnknownSkill
from hub.skill import A2aAnswer, A2aAsk, CostClass
from hub.tasks.task import ENDED, PAUSED, LiveTask, Outcome, State, failure

if TYPE_CHECKING:
    from agents.conformance import Fixtures
    from hub.call import Hub
    from hub.context import Context
    from hub.records import TaskRow
    from hub.skill import A2a, Skill
    from hub.tasks.task import Work

#: The skill of a message that names none and whose words point to none.
DEFAULT_SKILL = "smart-routing"
#: A question of at most so many words is for the hub itself when one word in so many is a keyword.
_LONGEST_QUESTION = 25
_WORDS_PER_KEYWORD = 8
#: Earlier tasks of a context that a new one in it is told of.
_REMEMBERED = 20
#: How often one message may be tried anew after it was cancelled or lost.
_TRIES = 20
#: An amount in plain words: 5, 0.05, $2, 3 USD.
_AMOUNT = re.compile(r"\$?\s*([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*(?:\$|usd|dollars?)?", re.IGNORECASE)
_LOST = frozenset({"lost", "stopped", "not_stored"})


class Executor:
    """Takes messages and starts the work on them. ``fixtures`` answers the messages of a conformance kit (test profile)."""

    def __init__(self, hub: Hub, *, fixtures: Fixtures | None = None) -> None:
        self._hub = hub
        self._fixtures = fixtures
        self._pointers = [(made, _pointer(made.a2a.keywords)) for made in hub.skills.by_a2a.values() if made.a2a and made.a2a.keywords]

    async def send(self, said: Said, ctx: Context) -> LiveTask | dict[str, Any]:
        """Start, continue or find again the task of a message; a dict is a message given as the direct answer.

        A message that was sent before by the same caller gives the task it made then. Raises NotFound,
        BadRequest, UnknownSkill or Forbidden before anything is stored.
        """
        check_modes(said.message)
        direct = self._fixtures.message(said.id) if self._fixtures else None
        if direct is not None:
            return direct
        if said.message.get("taskId"):
            return await self._continue(said, ctx)
        for attempt in range(0 if self._anew(said) else _TRIES):
            task_id = _task_id(said, ctx.caller.key_id, attempt)
            live = await self._made(task_id, ctx)
            if live is None:
                return await self._start(task_id, said, ctx)
            if live.state is not State.CANCELED and live.row.task.get("error", {}).get("code") not in _LOST:
                return await self._again(live, said)
        return await self._start(str(uuid.uuid4()), said, ctx)

    async def _made(self, task_id: str, ctx: Context) -> LiveTask | None:
        """The task of this id, None when there is none."""
        if self._hub.tasks.unknown(task_id):
            return None
        try:
            return await self._hub.tasks.find(task_id, ctx.caller.key_id)
        except NotFound:
            return None

    def _anew(self, said: Said) -> bool:
        """Whether a message counts each time it comes: one whose id was made here, and a kit's, because kits give one id to many."""
        return said.turns is not None or (self._fixtures is not None and self._fixtures.work(said) is not None)

    async def _again(self, live: LiveTask, said: Said) -> LiveTask:
        """The task of a message that came before. Where its client wants to be told is taken over: it may not know that it was."""
        if said.push is not None:
            await self._hub.pushes.set(live, said.push)
        return live

    async def _start(self, task_id: str, said: Said, ctx: Context) -> LiveTask:
        skill_id, work, brief = self._turn(said, ctx)
        asked: dict[str, Any] = {
            "skill": skill_id,
            "messages": said.turns if said.turns is not None else [{"role": "user", "content": text_of(said.message)}],
            **({"metadata": said.metadata} if said.metadata else {}),
        }
        context_id: str = said.message.get("contextId") or _context_id(task_id)
        live = self._hub.tasks.make(task_id, ctx.caller.key_id, skill_id, context_id=context_id, asked=asked)
        if brief:
            await self._hub.tasks.run_briefly(live, said.message, work)
        else:
            await self._hub.tasks.begin(live, said.message, work, push=said.push)
        return live

    async def _continue(self, said: Said, ctx: Context) -> LiveTask:
        live = await self._hub.tasks.find(said.message["taskId"], ctx.caller.key_id)
        row = live.row
        if said.message.get("contextId") not in (None, "", row.context_id):
            raise BadRequest("contextId is not that of the task; leave it out or send the task's own", field="message.contextId")
        if said.id in row.task["messageIds"] and not self._anew(said):
            return await self._again(live, said)
        _check_open(live)
        if said.push is not None:
            await self._hub.pushes.set(live, said.push)
            _check_open(live)
        merged = {**row.task["input"].get("metadata", {}), **said.metadata}
        # A field that is sent empty is taken back.
        metadata = {name: value for name, value in merged.items() if value is not None}
        _, work, _ = self._turn(replace(said, metadata=metadata, skill=said.skill or row.skill), ctx)
        row.task["input"]["metadata"] = metadata
        row.task["answers"] = self._answers(live, said)
        await self._hub.tasks.begin(live, said.message, work)
        return live

    def _answers(self, live: LiveTask, said: Said) -> dict[str, dict[str, Any]]:
        """What was answered in plain words so far: a message that is only a number answers for the number that the task asked for."""
        kept: dict[str, dict[str, Any]] = live.row.task.get("answers", {})
        data = data_of([said.message])
        # What is said later by its name is the last word.
        named = {*said.metadata, *data}
        answers = {key: {name: value for name, value in found.items() if name not in named} for key, found in kept.items()}
        field: str = live.row.task.get("error", {}).get("field", "")
        given, made = _AMOUNT.fullmatch(text_of(said.message).strip()), self._hub.skills.by_a2a.get(live.row.skill)
        if given and made and _is_number(made, field) and field not in named:
            answers[said.id] = {field: float(given[1])}
        return answers

    def _turn(self, said: Said, ctx: Context) -> tuple[str, Work, bool]:
        """The skill of a message, the work it asks for, and whether that is brief. Raises what keeps the work from starting."""
        fixture = self._fixtures.work(said) if self._fixtures else None
        if fixture is not None:
            return said.skill or DEFAULT_SKILL, fixture, False
        made = self.choose(said, ctx)
        self._hub.allow(made, ctx)
        return _address(made).id, partial(self._work, made=made, said=said, ctx=ctx), self._is_brief(made, said)

    def _is_brief(self, made: Skill, said: Said) -> bool:
        """Whether a message only asks for what the hub knows, and its caller waits for the answer and for nothing else."""
        asks = said.waits and not said.stream and said.push is None
        return asks and made.read_only and made.cost is CostClass.FREE and not made.source and self._hub.tasks.brief

    def choose(self, said: Said, ctx: Context) -> Skill:
        """The skill of a message: the one it names, else the one that its words point to, else smart-routing.

        Raises UnknownSkill naming those that exist.
        """
        skills = self._hub.skills.by_a2a
        text, data = text_of(said.message), data_of([said.message])
        chosen = str(said.skill or said.metadata.get("skill") or data.get("skill") or self._pointed(text, ctx) or DEFAULT_SKILL)
        made = skills.get(chosen)
        if made is None:
            raise UnknownSkill(f"no agent skill {chosen[:100]!r}; there are {', '.join(sorted(skills))}", field="skill")
        return made

    def _pointed(self, text: str, ctx: Context) -> str:
        """The skill whose keywords the words name most, among those the caller may use.

        Only short questions point anywhere: a long prompt that happens to hold a keyword is for a model.
        """
        best, most = "", len(text.split()) / _WORDS_PER_KEYWORD
        for made, pointer in self._pointers if most <= _LONGEST_QUESTION / _WORDS_PER_KEYWORD else ():
            found = len({match.lower() for match in pointer.findall(text)}) if made.scopes <= ctx.caller.scopes else 0
            if found and found > most:
                best, most = _address(made).id, found
        return best

    async def _earlier(self, live: LiveTask, said: Said, ctx: Context) -> list[TaskRow]:
        """Earlier tasks of a message's context that came to an end, the oldest first."""
        if said.turns is not None or not said.message.get("contextId"):
            return []
        choice = {"context_id": live.row.context_id, "state": State.COMPLETED.value, "limit": _REMEMBERED}
        rows, _ = await self._hub.tasks.page(ctx.caller.key_id, **choice)
        return sorted(rows, key=lambda row: row.created_at)

    async def _asked(self, live: LiveTask, said: Said, ctx: Context) -> A2aAsk:
        """What the skill is asked: the conversation up to and with this message, and what it kept of it."""
        earlier = await self._earlier(live, said, ctx)
        turns = said.turns if said.turns is not None else [*(turn for row in earlier for turn in turns_of(row)), *spoken(live.row)]
        told = [*(row for row in earlier if row.skill == live.row.skill), live.row]
        kept: dict[str, Any] = next((row.task["kept"] for row in reversed(told) if row.task.get("kept")), dict[str, Any]())
        return replace(_ask(live, said, turns), parts=said.message["parts"], kept=kept)

    async def _work(self, live: LiveTask, *, made: Skill, said: Said, ctx: Context) -> Outcome:
        """Run the skill as its caller. What the caller can mend by an answer pauses the task instead of failing it."""
        a2a = _address(made)

        async def report(done: float, total: float | None, words: str) -> None:
            if words:
                live.progress(words)

        def show(artifact: dict[str, Any], append: bool, last: bool) -> None:
            live.add(artifact, append=append, last=last)

        ctx.report, ctx.show = report, show
        try:
            data = a2a.ask(await self._asked(live, said, ctx))
            if said.stream and a2a.stream and a2a.chunk:
                metadata = await self._streamed(live, a2a, data, said, ctx)
                return Outcome(State.COMPLETED, metadata={"requestId": ctx.request_id, **metadata})
            return _ended(live, a2a.id, a2a.view(await self._hub.call(made, data, ctx)), said, ctx)
        except (InvalidInput, AmbiguousModel, BudgetExceeded) as error:
            if not said.interactive:
                raise
            return replace(failure(error), state=State.INPUT_REQUIRED)

    async def _streamed(self, live: LiveTask, a2a: A2a, data: dict[str, Any], said: Said, ctx: Context) -> dict[str, Any]:
        """Run the streaming twin; each piece of text goes to the artifact as it comes."""
        twin, chunk = self._hub.find(a2a.stream or ""), a2a.chunk or str
        name = {"artifactId": f"{live.row.id}-{len(live.row.task['artifacts']) + 1}", "name": a2a.id}
        begun, end = False, A2aAnswer("", {})
        async with aclosing(self._hub.stream(twin, data, ctx)) as items:  # pyright: ignore[reportArgumentType] - a generator
            async for item in items:
                piece = chunk(item)
                if isinstance(piece, A2aAnswer):
                    end = piece
                elif piece:
                    live.add({**name, "parts": [{"text": piece}]}, append=begun, last=False)
                    begun = True
        last = [part for part in _parts(end, said.accepted) if "data" in part or not begun] or [{"text": ""}]
        live.add({**name, "parts": last}, append=begun, last=True)
        return end.metadata


def _check_open(live: LiveTask) -> None:
    """Raise BadRequest unless the task takes a message."""
    if live.state not in PAUSED:
        words = f"the task {'has ended' if live.state in ENDED else 'is still working'} ({live.state}) and takes no message now"
        raise BadRequest(words, code="unsupported_operation", data={"taskId": live.row.id})


def _address(made: Skill) -> A2a:
    if made.a2a is None:
        raise UnknownSkill(f"{made.name} is no agent skill")
    return made.a2a


def _is_number(made: Skill, field: str) -> bool:
    """Whether a field of a skill's input is a number."""
    found = made.input.model_fields.get(field) if made.typed else None
    return found is not None and bool({int, float} & {found.annotation, *get_args(found.annotation)})


def _pointer(keywords: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{'|'.join(re.escape(word) for word in keywords)})s?\b", re.IGNORECASE)


def _task_id(said: Said, owner: str, attempt: int) -> str:
    """The id of the task that a message makes: the same message of the same caller gives the same task, after a restart too."""
    told = [owner, said.skill, said.message, said.metadata, said.turns, attempt]
    return _uuid(orjson.dumps(told, option=orjson.OPT_SORT_KEYS))


def _context_id(task_id: str) -> str:
    """The id of a new conversation, made from that of the task that begins it."""
    return _uuid(task_id.encode())


def _uuid(of: bytes) -> str:
    """A UUID (version 5 in form) that is always the same for the same bytes."""
    text = hashlib.blake2b(of, digest_size=16).hexdigest()
    variant = f"{int(text[16], 16) & 3 | 8:x}"
    return f"{text[:8]}-{text[8:12]}-5{text[13:16]}-{variant}{text[17:20]}-{text[20:]}"


def _ask(live: LiveTask, said: Said, turns: list[dict[str, Any]]) -> A2aAsk:
    """What a skill is asked. Data parts of the task's earlier messages count as long as later ones do not replace them."""
    task = live.row.task
    data = data_of(message for message in task["history"] if message["role"] == "ROLE_USER")
    for answer in task.get("answers", {}).values():
        data.update(answer)
    unnamed = [{name: value for name, value in fields.items() if name != "skill"} for fields in (said.metadata, data)]
    return A2aAsk(text_of(said.message), turns, *unnamed, interactive=said.interactive)


def _ended(live: LiveTask, skill: str, answer: A2aAnswer, said: Said, ctx: Context) -> Outcome:
    """How a skill's answer ends the turn. Raises BadRequest when it is a question, and the client cannot be asked."""
    metadata = {"requestId": ctx.request_id, **answer.metadata}
    if answer.kept:
        live.row.task["kept"] = answer.kept
    if answer.asks and not said.interactive:
        raise BadRequest(f"the agent asks: {answer.text}", code="input_required", field="message")
    if answer.asks:
        return Outcome(State.INPUT_REQUIRED, answer.text, metadata=metadata)
    if not answer.shown:
        live.add({"artifactId": f"{live.row.id}-1", "name": skill, "parts": _parts(answer, said.accepted)})
    return Outcome(State.COMPLETED, metadata=metadata)


def _parts(answer: A2aAnswer, accepted: tuple[str, ...]) -> list[dict[str, Any]]:
    """An answer as parts: its text, then its data; of both what the client takes, all when it takes neither."""
    text: dict[str, Any] = {"text": answer.text, "mediaType": "text/plain"}
    data: list[dict[str, Any]] = [{"data": answer.data, "mediaType": "application/json"}] if answer.data else []
    wanted = [part for part in [text, *data] if accepts(accepted, part["mediaType"])]
    return wanted or [text, *data]
