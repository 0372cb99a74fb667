"""JSON Schemas that owners write, and values held against them: no schema is fetched and no pattern can stall the hub (SEC-34)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from hub.errors import BadRequest
from hub.routing.pattern import Pattern, compiled

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOST_DEPTH = 40
_MOST_NODES = 5000
#: References that are followed for one value: a small schema can ask for more than a machine can do.
_MOST_REFERENCES = 3000
#: Steps that one pattern of a schema may take on one text.
STEPS = 60_000


class Undecided(Exception):
    """A value cannot be told to fit or not, within the limits."""


def check(schema: dict[str, Any] | bool) -> None:
    """Raise ValueError for a schema that is malformed, refers to others, or has a pattern that is not supported."""
    import jsonschema  # noqa: PLC0415 - heavy, and only suites with schemas want it

    kit = cast("Any", jsonschema)

    for word, value in _keywords(schema, _MOST_DEPTH, [_MOST_NODES]):
        _check_word(word, value)
    try:
        kit.Draft202012Validator.check_schema(schema)
    except kit.SchemaError as error:
        raise ValueError(
            f"the schema is malformed at {'/'.join(map(str, error.absolute_path)) or 'its top'}: {error.message[:200]}"
        ) from None


def fault(schema: dict[str, Any] | bool, value: Any) -> str:
    """What of a value does not fit, empty where all does. Raises Undecided. For schemas that :func:`check` has passed."""
    import jsonschema  # noqa: PLC0415
    import referencing  # noqa: PLC0415

    kit, references = cast("Any", jsonschema), cast("Any", referencing)
    draft = kit.Draft202012Validator

    def pattern(validator: Any, text: str, instance: Any, _: Any) -> Iterator[Any]:
        if isinstance(instance, str) and not _found(text, instance):
            yield kit.ValidationError("does not match its pattern")

    left = [_MOST_REFERENCES]
    follow = draft.VALIDATORS["$ref"]

    def reference(*given: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise Undecided("the schema refers to itself too often")
        return follow(*given)

    extended = kit.validators.extend(draft, {"pattern": pattern, "$ref": reference})
    try:
        # A registry of its own: the default one would fetch what a schema refers to.
        error = kit.exceptions.best_match(extended(schema, registry=references.Registry()).iter_errors(value))
    except references.exceptions.Unresolvable as gone:
        raise Undecided(f"the schema refers to what is not there: {str(gone)[:100]}") from None
    except RecursionError:
        raise Undecided("the value is nested too deeply") from None
    if error is None:
        return ""
    where = "/".join(map(str, error.absolute_path))
    return f"{where}: {error.message}"[:300] if where else str(error.message)[:300]


def _found(text: str, instance: str) -> bool:
    found = _compiled(text).within(instance, STEPS)
    if found is None:
        raise Undecided("a pattern of the schema took too long")
    return found


def _compiled(text: str) -> Pattern:
    try:
        return compiled(text, field="pattern")
    except BadRequest as error:
        raise ValueError(error.message) from None


def _keywords(schema: Any, depth: int, left: list[int]) -> Iterator[tuple[str, Any]]:
    """Every member of every object in a schema, whether it is a keyword or a name. Raises ValueError for too much of it."""
    left[0] -= 1
    if depth <= 0 or left[0] < 0:
        raise ValueError("the schema is too large or nested too deeply")
    if isinstance(schema, dict):
        for name, value in cast("dict[str, Any]", schema).items():
            yield name, value
            yield from _keywords(value, depth - 1, left)
    elif isinstance(schema, list):
        for value in cast("list[Any]", schema):
            yield from _keywords(value, depth - 1, left)


def _check_word(word: str, value: Any) -> None:
    if word == "$ref" and isinstance(value, str) and not value.startswith("#"):
        raise ValueError("the schema refers to another one; write it inside, below $defs")
    if word == "pattern" and isinstance(value, str):
        _compiled(value)
    if word in ("patternProperties", "$dynamicRef", "unevaluatedProperties") and not isinstance(value, str):
        raise ValueError(f"{word} is not supported in a schema here; write properties instead")
