"""Suites of cases: the built-in ones are data (``suites.toml``), the others are written by owners."""

from __future__ import annotations

import importlib.resources
import math
import tomllib
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, Self, cast

from pydantic import Field, model_validator

from hub.errors import BadRequest, Conflict, InvalidInput, NotFound
from hub.evals import schemas
from hub.routing.pattern import compiled
from hub.wire import Body

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hub.store.documents import Document, Documents

Strategy = Literal["exact", "contains", "regex", "numeric", "json_schema", "similarity", "judge"]
MOST_CASES = 200
#: A suite as JSON, in characters: all suites are held in memory.
MOST_SIZE = 2 * 2**20
#: What addresses below /api/evals mean already.
_TAKEN = frozenset({"suites", "runs"})
#: Ids that callers may give.
ID = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$"


class Turn(Body):
    """A message of a case."""

    role: Literal["system", "developer", "user", "assistant"] = Field(description="Who says it.")
    content: str = Field(max_length=20_000, description="What is said.")


class CaseInput(Body):
    """What a case asks."""

    messages: tuple[Turn, ...] = Field(min_length=1, max_length=32, description="The conversation; its last message is answered.")
    max_tokens: int = Field(default=512, ge=1, le=8192, alias="max_tokens", description="The longest answer.")
    temperature: float | None = Field(default=None, ge=0, le=2, description="Left to the model when not given.")


class Expected(Body):
    """What an answer has to be.

    ``exact`` the text but for blanks around it; ``contains`` the text somewhere, ignoring case; ``regex`` found somewhere; ``numeric`` the
    last number of the answer; ``json_schema`` JSON (also in a code fence) that a schema takes; ``similarity`` near the text by embeddings;
    ``judge`` good by a judge model's fixed rubric, with ``value`` as what is to be met.
    """

    strategy: Strategy = Field(description="How an answer is scored.")
    value: str = Field(default="", max_length=20_000, description="Text, pattern, number, or what a judge looks for.")
    tolerance: float = Field(default=0.0, ge=0, allow_inf_nan=False, description="numeric: how far off a number may be.")
    relative: float = Field(default=0.0, ge=0, le=1, description="numeric: the same as a share of the number.")
    schema_: dict[str, Any] | bool | None = Field(default=None, alias="schema", description="json_schema: the schema.")
    threshold: float | None = Field(
        default=None, ge=0, le=5, description="similarity: least cosine, 0.8 by default; judge: least mark of 1 to 5, 4 by default."
    )
    model: str = Field(default="", max_length=300, description="similarity and judge: the model that scores, instead of the run's.")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.strategy == "json_schema":
            if self.schema_ is None:
                raise ValueError("json_schema needs a schema")
            schemas.check(self.schema_)
        elif not self.value:
            raise ValueError(f"{self.strategy} needs a value")
        if self.strategy == "regex":
            _told(lambda: compiled(self.value, field="value"))
        if self.strategy == "numeric":
            _number(self.value)
        if self.strategy == "similarity" and (self.threshold or 0) > 1:
            raise ValueError("threshold of similarity is a cosine: at most 1")
        return self


def _told(check: Any) -> None:
    try:
        check()
    except BadRequest as error:
        raise ValueError(error.message) from None


def _number(text: str) -> float:
    with suppress(ValueError):
        if math.isfinite(found := float(text)):
            return found
    raise ValueError("numeric needs a number as its value, such as 42 or 3.14")


#: What a suite's view says of its cases beside what is theirs.
_SHOWN = frozenset({"suiteId", "sortOrder", "createdAt", "updatedAt"})


class Case(Body):
    """One case of a suite."""

    id: str = Field(default="", max_length=100, description="Its id within the suite; case-N when not given.")
    name: str = Field(min_length=1, max_length=200, description="What it tests.")
    model: str = Field(default="", max_length=300, description="The model it is asked of when a run leaves that to the suite.")
    input: CaseInput = Field(description="What is asked.")
    expected: Expected = Field(description="How its answer is scored.")
    tags: tuple[str, ...] = Field(default=(), max_length=20, description="Up to 20 words to find it by.")

    @model_validator(mode="before")
    @classmethod
    def _as_shown(cls, data: Any) -> Any:
        """A case may be sent back as it was shown: what is said of its place is not taken from there."""
        if not isinstance(data, dict):
            return data
        return {name: value for name, value in cast("dict[str, Any]", data).items() if name not in _SHOWN}

    @model_validator(mode="after")
    def _short_tags(self) -> Self:
        if any(len(tag) > 64 for tag in self.tags):
            raise ValueError("a tag has at most 64 characters")
        return self


class Suite(Body):
    """A suite as it is stored."""

    name: str = Field(min_length=1, max_length=200, description="Its name.")
    description: str = Field(default="", max_length=2000, description="What it is for.")
    cases: tuple[Case, ...] = Field(min_length=1, max_length=MOST_CASES, description="Its cases.")

    @property
    def strategies(self) -> frozenset[str]:
        """How its cases are scored."""
        return frozenset(case.expected.strategy for case in self.cases)


class Known:
    """A suite with where it is from. ``created_at`` and ``updated_at`` (epoch ms) only of those that owners wrote."""

    __slots__ = ("built_in", "created_at", "id", "suite", "updated_at")

    def __init__(
        self, suite_id: str, suite: Suite, *, built_in: bool, created_at: int | None = None, updated_at: int | None = None
    ) -> None:
        self.id = suite_id
        self.suite = suite
        self.built_in = built_in
        self.created_at = created_at
        self.updated_at = updated_at


class Suites:
    """All suites by id."""

    def __init__(self, custom: Documents[Suite]) -> None:
        self._custom = custom
        self._built_in: dict[str, Known] = {}

    def all(self) -> list[Known]:
        """Every suite, the built-in ones first."""
        return [*self._shipped().values(), *map(_known, self._custom.all())]

    def get(self, suite_id: str) -> Known:
        """A suite. Raises NotFound."""
        return self._shipped().get(suite_id) or self.custom(suite_id)

    def custom(self, suite_id: str) -> Known:
        """A suite that an owner wrote. Raises NotFound, Conflict for a built-in one."""
        if suite_id in self._shipped():
            raise Conflict(f"the suite {suite_id!r} is built in and cannot be changed; make your own with its cases", field="id")
        found = self._custom.peek(suite_id)
        if found is None:
            raise NotFound(f"there is no suite {suite_id[:100]!r}; GET /api/evals lists them", field="id")
        return _known(found)

    async def create(self, suite_id: str, suite: Suite) -> Known:
        """Store a new suite. Raises BadRequest, InvalidInput, and Conflict for an id that is taken."""
        if suite_id in _TAKEN:
            raise BadRequest(f"id must not be {suite_id!r}: an address has that name", field="id")
        if suite_id in self._shipped() or (suite_id and self._custom.peek(suite_id) is not None):
            raise Conflict(f"there is a suite {suite_id!r} already", field="id")
        whole = _numbered(suite)
        # The name of a document is unique, that of a suite need not be; its id is both.
        made = suite_id or self._custom.new_id()
        return _known(await self._custom.create(made, whole, document_id=made))

    async def replace(self, suite_id: str, suite: Suite) -> Known:
        """Replace a suite that an owner wrote. Raises what :meth:`custom` raises, InvalidInput."""
        self.custom(suite_id)
        return _known(await self._custom.update(suite_id, _numbered(suite)))

    async def delete(self, suite_id: str) -> None:
        """Forget a suite that an owner wrote; its runs stay. Raises what :meth:`custom` raises."""
        self.custom(suite_id)
        await self._custom.delete(suite_id)

    def _shipped(self) -> dict[str, Known]:
        if not self._built_in:
            self._built_in = {one.id: one for one in _read()}
        return self._built_in


def _known(document: Document[Suite]) -> Known:
    return Known(document.id, document.body, built_in=False, created_at=document.created_at, updated_at=document.updated_at)


def _numbered(suite: Suite) -> Suite:
    """A suite whose every case has an id. Raises InvalidInput for an id that is given twice, BadRequest for too much text."""
    seen: dict[str, int] = {}
    cases: list[Case] = []
    for at, case in enumerate(suite.cases):
        name = case.id or f"case-{at + 1}"
        if name in seen:
            raise InvalidInput([{"field": f"cases.{at}.id", "message": f"{name!r} is the id of cases.{seen[name]} already"}])
        seen[name] = at
        cases.append(case.model_copy(update={"id": name}))
    made = suite.model_copy(update={"cases": tuple(cases)})
    if len(made.model_dump_json()) > MOST_SIZE:
        raise BadRequest(f"a suite has at most {MOST_SIZE // 2**20} MiB; make two of it", field="cases")
    return made


def _read() -> Iterable[Known]:
    """The built-in suites. ``prompt`` and ``system`` of a case stand for its messages, what else is no field of a case is expected."""
    text = importlib.resources.files("hub.evals").joinpath("suites.toml").read_text("utf-8")
    for row in tomllib.loads(text)["suite"]:
        cases = tuple(_shipped_case(one) for one in row["case"])
        yield Known(row["id"], Suite(name=row["name"], description=row["description"], cases=cases), built_in=True)


def _shipped_case(row: dict[str, Any]) -> Case:
    messages = [{"role": role, "content": row[name]} for name, role in (("system", "system"), ("prompt", "user")) if name in row]
    about = {name: row[name] for name in ("id", "name", "tags") if name in row}
    rest = {name: value for name, value in row.items() if name not in ("system", "prompt", "max_tokens", *about)}
    asked = {"messages": messages, "max_tokens": row.get("max_tokens", 512)}
    return Case.model_validate({**about, "input": asked, "expected": rest})
