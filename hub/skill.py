"""What a capability of the hub is: one typed async function and what a caller must know before calling it.

Everything that a door shows of a skill (MCP tool, A2A skill, REST route, CLI command, docs) is
derived from the :class:`Skill` that ``@skill`` makes (decisions D7, D8).
"""

from __future__ import annotations

import collections.abc
import inspect
import re
import typing
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from hub.access.scopes import SCOPES
from hub.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


class CostClass(StrEnum):
    """What one call may cost."""

    FREE = "free"  # answers from memory or the own store
    NETWORK = "network"  # calls an outside service that charges nothing
    METERED = "metered"  # spends money at a provider


@dataclass(frozen=True, slots=True)
class Download:
    """An output that is a file and not JSON: its pieces are sent as they come, so that none of it need fit in memory."""

    content_type: str
    filename: str
    pieces: collections.abc.AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a view of an address may give instead of JSON to be: a body that is made already, or passes on as it came."""

    body: bytes
    content_type: str = "application/json"


@dataclass(frozen=True, slots=True)
class Flow:
    """What a view of an address may give instead of JSON: a body that is sent on piece by piece, and closed whatever happens."""

    pieces: Pieces
    content_type: str


class Pieces(typing.Protocol):
    """A body on its way."""

    def __aiter__(self) -> collections.abc.AsyncIterator[bytes]: ...

    async def aclose(self) -> None:
        """The reader is done, or has gone."""
        ...


class Audit(StrEnum):
    """How much of a call the audit log keeps."""

    NONE = "none"  # the call leaves another row (usage) or is too frequent to matter
    BASIC = "basic"  # who, what, when, outcome and a digest of the input
    FULL = "full"  # also the input with secrets masked


@dataclass(frozen=True, slots=True)
class Rest:
    """A REST address. ``path`` may hold ``{names}`` of input fields; query and body fill the others.

    ``view`` turns the output into the wire's shape where the seed's differs; ``ask`` turns the merged
    path, query and body fields into the skill's input; ``headers`` gives further headers of a successful answer,
    ``status_of`` its status where that varies. ``views`` are further shapes, each for requests with a header of that name (lower case).
    ``form`` lets the address take a multipart form beside JSON; it names the setting that bounds it in MiB. ``raw`` is the field that a
    body that is a file as it is fills there.
    ``moved`` is where the skill is served now: the address answers 308 with it and runs nothing. ``public`` addresses answer without a
    key (SEC-01's allowlist). ``door`` names the door that serves the address in a dialect of its own; the others are the REST door's.
    """

    method: str
    path: str
    status: int = 200
    view: Callable[[Any], Any] | None = None
    ask: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    headers: Callable[[Any], dict[str, str]] | None = None
    public: bool = False
    moved: str = ""
    status_of: Callable[[Any], int] | None = None
    views: tuple[tuple[str, Callable[[Any], Any]], ...] = ()
    door: str = ""
    form: str = ""
    raw: str = ""


@dataclass(frozen=True, slots=True)
class Mcp:
    """An MCP tool name; ``profiles`` name the sets that list it (D9)."""

    tool: str
    profiles: tuple[str, ...] = ("core", "all")
    view: Callable[[Any], Any] | None = None


@dataclass(frozen=True, slots=True)
class Resource:
    """An MCP resource: what a read-only skill says, at an address that clients can read and watch.

    ``uri`` may hold ``{names}``. They are input fields, or ``ask`` makes the input from them; ``kinds`` says of
    what kind each is (see :class:`Names`), so that values can be offered. ``view`` turns the output into what is shown.
    ``changes`` lists what makes it new: ``setup`` (what owners write down), ``calls`` (a routed call ended), and the first word
    of event kinds such as ``breaker``. ``state`` gives something to compare for what it shows of the set-up; without
    it any change to that counts. ``own`` says that calls of other callers do not concern it.
    ``listed`` puts every instance of an address with a name into the list of resources. One whose ``media_type`` is not JSON shows a text.
    """

    uri: str
    words: str
    ask: Callable[[dict[str, str]], dict[str, Any]] | None = None
    view: Callable[[Any], Any] | None = None
    kinds: Mapping[str, str] = field(default_factory=dict[str, str])
    changes: tuple[str, ...] = ("setup",)
    state: Callable[[Any], object] | None = None
    own: bool = False
    listed: bool = False
    media_type: str = "application/json"

    @property
    def names(self) -> list[str]:
        """The names in braces of the address, none for a plain resource."""
        return path_fields(self.uri)


@dataclass(frozen=True, slots=True)
class Names:
    """A skill whose output lists the names of a kind, such as ``model`` or ``combo``; doors complete what people type with them."""

    kind: str
    of: Callable[[Any], list[str]]


@dataclass(frozen=True, slots=True)
class A2aAnswer:
    """What an A2A client gets: a text for people, ``data`` for programs, ``metadata`` for the seed's clients.

    ``asks`` says that the text is a question: the task waits for an answer. ``kept`` is given to the skill again with what is said
    next in the task, or in its conversation. ``shown`` says that the work was shown as artifacts already (``ctx.show``).
    """

    text: str
    data: dict[str, Any]
    metadata: dict[str, Any] = field(default_factory=dict[str, Any])
    asks: bool = False
    kept: dict[str, Any] = field(default_factory=dict[str, Any])
    shown: bool = False


@dataclass(frozen=True, slots=True)
class A2aAsk:
    """What an A2A client said: the last user text, all messages as ``{"role", "content"}``, metadata, data parts.

    ``interactive`` clients can be asked back: an InvalidInput raised for what is missing pauses their task. ``parts`` are those of the
    last message as they came, ``kept`` is what the skill's last answer in the task, else in the conversation, said to keep.
    """

    text: str
    messages: list[dict[str, Any]]
    metadata: dict[str, Any]
    data: dict[str, Any]
    interactive: bool = False
    parts: Sequence[dict[str, Any]] = ()
    kept: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class A2a:
    """An A2A skill. ``ask`` makes the input from a message, ``view`` the answer from the output.

    ``stream`` names a streaming twin with the same input, so that ``message/stream`` shows the work as
    it happens; ``chunk`` turns one of its items into text, or into an answer that closes the stream
    with data and metadata (its text counts only when no piece came before).
    """

    id: str
    tags: tuple[str, ...]
    examples: tuple[str, ...]
    ask: Callable[[A2aAsk], dict[str, Any]]
    view: Callable[[Any], A2aAnswer]
    keywords: tuple[str, ...] = ()
    stream: str | None = None
    chunk: Callable[[Any], str | A2aAnswer] | None = None


SkillFunction = typing.Callable[..., Any]

_NAME = re.compile(r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$")
_TOOL = re.compile(r"^[A-Za-z0-9_./-]{1,64}$")
_URI = re.compile(r"^hub://[a-z]+(/([a-z-]+|\{[a-zA-Z]+\}))*$")


@dataclass(frozen=True, slots=True)
class Skill:
    """One capability. Built by :func:`skill`; frozen in the registry at start."""

    name: str
    summary: str
    description: str
    scopes: frozenset[str]
    cost: CostClass
    input: type[Any]
    output: Any
    streams: bool
    run: SkillFunction
    rest: tuple[Rest, ...] = ()
    mcp: Mcp | None = None
    a2a: A2a | None = None
    resources: tuple[Resource, ...] = ()
    names: Names | None = None
    read_only: bool = False
    destructive: bool = False
    idempotent: bool = False
    audit: Audit = Audit.BASIC
    twin: str = ""
    #: Of a skill imported from another server: that server's namespace, and the schemas it states.
    source: str = ""
    schema: Mapping[str, Any] | None = None
    result: Mapping[str, Any] | None = None

    @property
    def typed(self) -> bool:
        """Whether input and output have schemas that doors can show."""
        return self.schema is not None or issubclass(self.input, BaseModel)

    def input_schema(self) -> dict[str, Any]:
        """JSON Schema of the input as callers write it."""
        if self.schema is not None:
            return dict(self.schema)
        return self.input.model_json_schema(by_alias=True) if issubclass(self.input, BaseModel) else {"type": "object"}

    def output_schema(self) -> dict[str, Any] | None:
        """JSON Schema of the output (of one item for a stream), None where the output is not JSON."""
        if self.result is not None:
            return dict(self.result)
        if isinstance(self.output, type) and issubclass(self.output, BaseModel):  # a raw stream's items may be a union
            return self.output.model_json_schema(by_alias=True, mode="serialization")
        return None

    def validate(self, data: object) -> Any:
        """Turn what a door received into the input type.

        Raises InvalidInput naming every field at fault. An instance of the input type passes as it is.
        """
        if isinstance(data, self.input):
            return data
        if not issubclass(self.input, BaseModel):
            raise TypeError(f"{self.name} takes {self.input.__name__}, got {type(data).__name__}")
        try:
            return self.input.model_validate(data)
        except ValidationError as error:
            raise InvalidInput(details_of(error)) from None


def details_of(error: ValidationError) -> list[dict[str, str]]:
    """The fields at fault in a pydantic error, without the values (they may be secrets)."""
    return [
        {"field": ".".join(str(part) for part in item["loc"]), "message": item["msg"].removeprefix("Value error, ")}
        for item in error.errors(include_url=False, include_context=False, include_input=False)
    ]


def skill(
    name: str,
    *,
    scopes: Sequence[str],
    cost: CostClass,
    rest: Sequence[Rest] = (),
    mcp: Mcp | None = None,
    a2a: A2a | None = None,
    resources: Sequence[Resource] = (),
    names: Names | None = None,
    read_only: bool = False,
    destructive: bool = False,
    idempotent: bool = False,
    audit: Audit = Audit.BASIC,
    twin: str = "",
) -> Callable[[SkillFunction], Skill]:
    """Declare a skill: ``async def name(ctx: Context, ask: Input) -> Output``.

    A function that returns ``AsyncIterator[Item]`` streams. ``twin`` names the skill whose addresses also
    lead here, when a request asks for a stream. Raises TypeError or ValueError while the
    module loads when the declaration is incomplete: no docstring, an unknown scope, an input field
    without description, a REST path that names no input field.
    """

    def declare(function: SkillFunction) -> Skill:
        hints = typing.get_type_hints(function)
        parameters = list(inspect.signature(function).parameters)
        if len(parameters) != 2 or "return" not in hints or parameters[1] not in hints:
            raise TypeError(f"skill {name}: write (ctx: Context, ask: Input) -> Output, all annotated")
        result = hints["return"]
        streams = get_origin(result) in (collections.abc.AsyncIterator, collections.abc.AsyncGenerator)
        summary, description = _words(name, function)
        made = Skill(
            name=name,
            summary=summary,
            description=description,
            scopes=frozenset(scopes),
            cost=cost,
            input=hints[parameters[1]],
            output=get_args(result)[0] if streams else result,
            streams=streams,
            run=function,
            rest=tuple(rest),
            mcp=mcp,
            a2a=a2a,
            resources=tuple(resources),
            names=names,
            read_only=read_only,
            destructive=destructive,
            idempotent=idempotent or read_only,
            audit=audit,
            twin=twin,
        )
        _check(made)
        return made

    return declare


def _words(name: str, function: SkillFunction) -> tuple[str, str]:
    text = inspect.getdoc(function) or ""
    if not text:
        raise ValueError(f"skill {name}: has no docstring; its first line is the summary that every door shows")
    return text.splitlines()[0], text


def _check(made: Skill) -> None:
    """Raise ValueError for what would make a skill unreachable, unsafe or unexplained."""
    faults = {
        "names are lower-case words joined by '-'": not _NAME.match(made.name),
        "declares no scope and no public address": not made.scopes and not any(address.public for address in made.rest),
        f"unknown scopes {sorted(made.scopes - SCOPES.keys())}; add them to hub/access/scopes.py": not made.scopes <= SCOPES.keys(),
        "has no address and an input that no door can fill": not _reachable(made),
        "its tool name is outside [A-Za-z0-9_./-]{1,64}": made.mcp is not None and not _TOOL.match(made.mcp.tool),
        "cannot be read-only and destructive": made.read_only and made.destructive,
        "shows resources or names and is not a typed read-only skill": bool(made.resources or made.names) and not _readable(made),
    }
    if found := [words for words, wrong in faults.items() if wrong]:
        raise ValueError(f"skill {made.name}: {'; '.join(found)}")
    _check_fields(made)


def _reachable(made: Skill) -> bool:
    return made.typed or bool(made.rest or made.mcp or made.a2a or made.twin)


def _readable(made: Skill) -> bool:
    return made.read_only and made.typed and not made.streams


def _check_fields(made: Skill) -> None:
    if not issubclass(made.input, BaseModel):
        return
    fields: Mapping[str, Any] = made.input.model_fields
    if bare := [field_name for field_name, info in fields.items() if not info.description]:
        raise ValueError(f"skill {made.name}: input fields without description: {bare}")
    names = set(fields) | {info.alias for info in fields.values() if info.alias}
    for address in made.rest:
        free = address.ask is not None or bool(address.door)
        missing = [] if free else sorted(set(path_fields(address.path)) - names)
        if missing or not address.path.startswith("/"):
            raise ValueError(f"skill {made.name}: REST path {address.path} does not fit the input {missing}")
    _check_resources(made, names)


def _check_resources(made: Skill, names: set[str]) -> None:
    for shown in made.resources:
        missing = [] if shown.ask else [part for part in shown.names if part not in names]
        if missing or not _URI.match(shown.uri):
            raise ValueError(f"skill {made.name}: resource {shown.uri} does not fit the input {missing}")


@lru_cache(maxsize=1024)
def path_fields(path: str) -> list[str]:
    """The names in braces of a REST path; ``{rest:path}`` counts as ``rest``."""
    return [part.split(":")[0] for part in re.findall(r"{([^}]+)}", path)]
