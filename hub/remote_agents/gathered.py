"""What a remote agent has made so far in one task: its artifacts, put together from pieces and from looks at the whole."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any, cast

import orjson

from hub.errors import UpstreamFailed
from hub.upstream.pinning import too_deep

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: Bounds of one call's artifacts together.
MOST_BYTES = 16 * 1024 * 1024
_MOST_ARTIFACTS = 1000
_MOST_DEPTH = 64
_CONTENT = ("text", "raw", "url", "data")
_MOST_ID = 200


@dataclass(frozen=True, slots=True)
class Piece:
    """An artifact of A2A 1.0 as it is told on: whole, or with ``append`` more parts for the one with its id."""

    artifact: dict[str, Any]
    append: bool = False
    last: bool = True

    @property
    def text(self) -> str:
        """Its words."""
        return text_of(self.artifact["parts"])


@dataclass(slots=True)
class _Growing:
    """An artifact; ``tail`` holds texts that are still to be joined to its last part."""

    head: dict[str, Any]
    parts: list[dict[str, Any]]
    tail: list[str] = field(default_factory=list[str])

    def extend(self, parts: Iterable[dict[str, Any]]) -> None:
        for part in parts:
            if _is_text(part) and self.parts and "text" in self.parts[-1]:
                self.tail.append(part["text"])
            else:
                self.join()
                self.parts.append(part)

    def join(self) -> None:
        if self.tail:
            self.parts[-1] = {**self.parts[-1], "text": "".join([self.parts[-1]["text"], *self.tail])}
            self.tail = []

    def whole(self) -> dict[str, Any]:
        self.join()
        return {**self.head, "parts": self.parts}


class Gathered:
    """Takes what an agent tells, and says what of it is new. Raises UpstreamFailed for more than may be kept."""

    def __init__(self) -> None:
        self._made: dict[str, _Growing] = {}
        self._size = 0

    @property
    def artifacts(self) -> list[dict[str, Any]]:
        """The artifacts as they are now."""
        return [one.whole() for one in self._made.values()]

    def update(self, told: dict[str, Any]) -> Piece:
        """An ``artifactUpdate``. More of an artifact that nobody began begins it."""
        head, parts = self._read(told.get("artifact"))
        kept = self._made.get(head["artifactId"])
        append = told.get("append") is True and kept is not None
        if kept is not None and append:
            kept.extend(parts)
        else:
            self._keep(head, parts)
        return Piece({**head, "parts": parts}, append, told.get("lastChunk") is True or told.get("append") is None)

    def look(self, stated: Any) -> Iterator[Piece]:
        """The artifacts of a whole task: what of them was not told yet, as pieces (REL-19: neither gap nor duplicate)."""
        for one in cast("list[Any]", stated) if isinstance(stated, list) else []:
            head, parts = self._read(one)
            kept = self._made.get(head["artifactId"])
            more = None if kept is None else _beyond(kept.whole()["parts"], parts)
            if kept is None or more is None:
                self._keep(head, parts)
                yield Piece({**head, "parts": parts})
            elif more:
                kept.extend(more)
                yield Piece({**head, "parts": more}, append=True)

    def _keep(self, head: dict[str, Any], parts: list[dict[str, Any]]) -> None:
        self._made[head["artifactId"]] = _Growing(head, list(parts))
        if len(self._made) > _MOST_ARTIFACTS:
            raise UpstreamFailed(f"the agent made more than {_MOST_ARTIFACTS} artifacts")

    def _read(self, stated: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        found = cast("dict[str, Any]", stated) if isinstance(stated, dict) else {}
        identity = found.get("artifactId")
        head: dict[str, Any] = {"artifactId": identity[:_MOST_ID] if isinstance(identity, str) and identity else "artifact"}
        head.update({name: found[name][:_MOST_ID] for name in ("name", "description") if isinstance(found.get(name), str)})
        parts = parts_of(found.get("parts"))
        self._size += sum(map(_weight, parts))
        if self._size > 2 * MOST_BYTES:  # a look at the whole counts again what was told in pieces
            raise UpstreamFailed(f"the agent made more than {MOST_BYTES // 2**20} MiB of artifacts")
        return head, parts


def parts_of(stated: Any) -> list[dict[str, Any]]:
    """The parts of a message or artifact that are such: one kind of content, and what describes it. Raises UpstreamFailed for deep data."""
    listed = cast("list[Any]", stated) if isinstance(stated, list) else []
    return [part for one in listed if isinstance(one, dict) and (part := _part(cast("dict[str, Any]", one)))]


def _part(fields: dict[str, Any]) -> dict[str, Any] | None:
    kinds = [name for name in _CONTENT if name in fields]
    if len(kinds) != 1 or (kinds[0] != "data" and not isinstance(fields[kinds[0]], str)):
        return None
    if too_deep(fields, _MOST_DEPTH):
        raise UpstreamFailed(f"the agent sent data nested more than {_MOST_DEPTH} deep")
    part = {name: fields[name] for name in (kinds[0], "mediaType", "filename") if name in fields}
    return {**part, "metadata": fields["metadata"]} if isinstance(fields.get("metadata"), dict) else part


def text_of(parts: Iterable[dict[str, Any]]) -> str:
    """The words of parts."""
    return "".join(part["text"] for part in parts if "text" in part)


def _weight(part: dict[str, Any]) -> int:
    return len(orjson.dumps(part))


def _beyond(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> list[dict[str, Any]] | None:
    """What their parts have beyond ours, where ours are the beginning of theirs; None where they are not."""
    ours, theirs = _joined(ours), _joined(theirs)
    if not ours:
        return theirs
    last, at = ours[-1], len(ours) - 1
    if len(theirs) < len(ours) or theirs[:at] != ours[:at]:
        return None
    if theirs[at] == last:
        return theirs[at + 1 :]
    if not _is_text(last) or not _is_text(theirs[at]) or not theirs[at]["text"].startswith(last["text"]):
        return None
    return [{"text": theirs[at]["text"][len(last["text"]) :]}, *theirs[at + 1 :]]


def _joined(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Parts with texts that follow one another as one: some agents keep the pieces of a stream apart, some do not."""
    found: list[dict[str, Any]] = []
    for texts, group in groupby(parts, _is_text):
        run = list(group)
        found += [{"text": text_of(run)}] if texts else run
    return found


def _is_text(part: dict[str, Any]) -> bool:
    return part.keys() == {"text"}
