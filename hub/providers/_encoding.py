"""One request on its way into a wire format: the facts an encoder asks for, and what had to be left out (D20)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from hub.chat import Message, Opaque, Role, Text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hub.chat import ChatRequest, JsonObject, Part, Thinking
    from hub.providers.base import Target

SYSTEM_ROLES = frozenset({Role.SYSTEM, Role.DEVELOPER})

#: Values that ask for what every provider does anyway; leaving them out loses nothing.
_NEUTRAL: dict[str, Any] = {"n": 1, "frequency_penalty": 0, "presence_penalty": 0, "logprobs": False, "user": "", "top_logprobs": 0}


class Encoding:
    """Carries one request through an encoder. ``own`` says that the client speaks this very dialect."""

    __slots__ = ("dropped", "own", "request", "target")

    def __init__(self, request: ChatRequest, target: Target, *, dialect: str) -> None:
        self.request = request
        self.target = target
        self.own = request.dialect == dialect
        self.dropped: list[str] = []

    def drop(self, name: str) -> None:
        """Report a field that is not sent; each name once."""
        if name not in self.dropped:
            self.dropped.append(name)

    def drop_set(self, *fields: str) -> None:
        """Report those of the request's fields that the client set to something that matters."""
        for name in fields:
            value = getattr(self.request, name)
            if value is not None and value != _NEUTRAL.get(name):
                self.drop(name)

    def kept(self, extra: JsonObject) -> JsonObject:
        """Fields of a part that nobody here knows: sent on in their own dialect, reported in any other."""
        if self.own:
            return extra
        for name in extra:
            self.drop(name)
        return {}

    def opaque(self, part: Opaque, *, dialect: str) -> JsonObject | None:
        """A part of a kind we do not know, where it is of this dialect; reported where it is not."""
        if part.dialect == dialect:
            return part.value
        self.drop(f"{part.dialect}.{part.value.get('type', 'part')}")
        return None

    def envelope(self, message: Message) -> None:
        """Report what a message has beside its role and parts."""
        if message.name:
            self.drop("messages.name")
        for name in message.extra:
            self.drop(f"messages.{name}")

    def texts(self, message: Message) -> list[Text]:
        """The non-empty text parts of a message that may hold only text; others are reported."""
        found: list[Text] = []
        for part in message.parts:
            if isinstance(part, Text):
                found += [part] if part.text else []
            else:
                self.drop(f"{message.role}.{kind_of(part)}")
        return found

    def lacks(self, ability: str) -> bool:
        """Whether the catalogue says that the model cannot do this. Unknown models can."""
        row = self.target.model_row
        return row is not None and bool(row.caps) and ability not in row.caps

    def has(self, ability: str) -> bool:
        """Whether the catalogue says that the model can do this."""
        return self.target.model_row is not None and ability in self.target.model_row.caps

    @property
    def limit(self) -> int | None:
        """The most tokens the model can generate, where known."""
        return self.target.model_row.max_output if self.target.model_row else None

    def max_tokens(self) -> int | None:
        """The client's limit, no higher than the model's own."""
        asked, limit = self.request.max_tokens, self.limit
        if asked is None or limit is None or asked <= limit:
            return asked
        self.drop("max_tokens:clamped")
        return limit

    def refuse(self, body: JsonObject, names: Mapping[str, str]) -> None:
        """Take out the parameters that the model's row refuses. ``names`` maps our names to those in ``body``."""
        row = self.target.model_row
        for name in row.drop_params if row else ():
            if body.pop(names.get(name, name), None) is not None:
                self.drop(name)


def wants(asked: Thinking) -> bool:
    """Whether a request's words on thinking ask for any."""
    return asked.enabled and asked.effort != "none" and asked.budget != 0


def counted(*given: int | None) -> int:
    """The sum of counts that a provider may leave out or give as null."""
    return sum(count or 0 for count in given)


def kind_of(part: Part) -> str:
    """The kind of a part, as a word for reports."""
    return str(part.__struct_config__.tag)


def join_turn(turns: list[JsonObject], role: str, key: str, parts: list[JsonObject]) -> None:
    """Add parts to the last turn when it is of the same role, else as a turn of their own; nothing for no parts."""
    if parts and turns and turns[-1]["role"] == role:
        turns[-1][key] += parts
    elif parts:
        turns.append({"role": role, key: parts})


def merged(below: object, above: JsonObject) -> JsonObject:
    """Two JSON objects as one, the second winning; a first that is no object counts as empty."""
    return {**cast("JsonObject", below), **above} if isinstance(below, dict) else above


def nested(flat: JsonObject) -> JsonObject:
    """Fields that travel under their path (``options.num_ctx``) in their place again; others stay as they are."""
    made: JsonObject = {}
    for path, value in flat.items():
        *way, name = path.split(".")
        place = made
        for step in way:
            inner = place.get(step)
            place[step] = place = dict(cast("JsonObject", inner)) if isinstance(inner, dict) else {}
        place[name] = value
    return made


def merged_deep(below: JsonObject, above: JsonObject) -> JsonObject:
    """Two JSON objects as one; where both have an object the two are joined, else the second wins."""
    made = dict(below)
    for name, value in above.items():
        old = made.get(name)
        both = isinstance(old, dict) and isinstance(value, dict)
        made[name] = merged_deep(cast("JsonObject", old), cast("JsonObject", value)) if both else value
    return made
