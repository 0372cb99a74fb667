"""Connecting and disconnecting a client: what would change in which file, and making it so."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, cast

import msgspec

from hub.connect import jsontext, tomltext
from hub.connect.catalog import client
from hub.connect.entries import VARIABLE, entries, key_in, known_templates
from hub.connect.faults import BY_HAND, by_hand
from hub.connect.files import Found, drop, find, replace
from hub.connect.receipts import Receipt, Receipts, Written, digest, value_digest
from hub.errors import Conflict, Forbidden
from hub.log import masked, secret_name

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hub.connect.catalog import Edit, Home
    from hub.connect.entries import Entry, Wanted

_SECRET = re.compile(r"""(?i)((?:key|token|secret|password|authorization)["']?\s*[:=]\s*)("(?:[^"\\]|\\.)*"|'[^']*'|[^\s,}"']+)""")


class _Text(Protocol):
    def load(self, text: str) -> dict[str, Any]: ...
    def put(self, text: str, path: tuple[str, ...], value: Any) -> str: ...
    def remove(self, text: str, path: tuple[str, ...], original: str = "") -> str: ...


_TEXTS: dict[str, _Text] = {"json": cast("_Text", jsontext), "toml": cast("_Text", tomltext)}


@dataclass(slots=True)
class Change:
    """One file: as it is, and as it shall be. ``text`` None: it is deleted. ``paths`` maps dotted paths to the values put there."""

    found: Found
    text: str | None
    paths: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def needed(self) -> bool:
        """Whether anything changes."""
        return self.text != self.found.text

    def diff(self) -> str:
        """A unified diff with what looks like a secret masked."""
        name = str(self.found.path)
        old, new = (text or "" for text in (self.found.text, self.text))
        lines = difflib.unified_diff(
            old.splitlines(keepends=True),
            new.splitlines(keepends=True),
            name if self.found.text is not None else "/dev/null",
            name if self.text is not None else "/dev/null",
        )
        return "".join(_shown(line) for line in lines)


class Connector:
    """The files of one home and the receipts of one data folder. ``writes`` false refuses every change."""

    def __init__(self, home: Home, receipts: Receipts, *, writes: bool = True) -> None:
        self.home = home
        self.receipts = receipts
        self.writes = writes

    def find(self, edit: Edit) -> Found:
        """A client's file. Raises Conflict and OSError as :func:`hub.connect.files.find` does."""
        return find(*self.home.locate(edit.file))

    def tree(self, edit: Edit, found: Found) -> dict[str, Any]:
        """What is in a file. Raises Conflict that names the file and the line at fault."""
        text = _TEXTS.get(edit.format)
        if text is None:
            raise by_hand(f"{found.path} is {edit.format.upper()}, which this program does not edit")
        with _named(found):
            return text.load(found.text or "")

    def connect(self, name: str, wanted: Wanted) -> list[Change]:
        """What connecting would change. Raises BadRequest, Conflict and OSError; nothing is written."""
        row = client(name)
        changes: dict[str, Change] = {}
        for entry in entries(row, wanted):
            change = self._change(changes, entry.edit)
            self._put(change, entry)
        return list(changes.values())

    def disconnect(self, name: str) -> list[Change]:
        """What disconnecting would change: our entries go, what they replaced comes back."""
        row = client(name)
        receipt = self.receipts.get(name)
        changes: dict[str, Change] = {}
        for edit, path, template in known_templates(row):
            if edit.format not in _TEXTS:
                where = self.home.locate(edit.file)[0]
                raise Conflict(f"{where} is {edit.format.upper()}; take the lines of hubroute out by hand", code=BY_HAND)
            change = self._change(changes, edit)
            if change.text is None or ".".join(path) in change.paths:
                continue
            written = receipt.of(change.found.path) if receipt else None
            self._take(change, edit, path, template, written, name)
        for change in changes.values():
            written = receipt.of(change.found.path) if receipt else None
            if written is not None and change.needed:
                self._settle(change, written, name)
        return list(changes.values())

    def apply(self, name: str, changes: Iterable[Change], *, at: int, key_id: str = "", undo: bool = False) -> None:
        """Write the changes, each file in one step and with a copy kept first. ``undo`` ends the connection.

        Raises Forbidden where writing is switched off, Conflict where a file changed meanwhile, OSError.
        """
        self.allowed()
        before = self.receipts.get(name)
        kept = {written.path: written for written in before.files} if before else {}
        for change in changes:
            if not change.needed:
                continue
            content = change.found.bytes
            copy = self.receipts.save(name, at, change.found.path, content) if content is not None else ""
            self._write(change)
            kept[str(change.found.path)] = self._written(change, kept.get(str(change.found.path)), copy)
            if not undo:
                made = key_id or (before.key_id if before else "")
                self.receipts.put(name, Receipt(at, made, tuple(kept.values())))
        if undo:
            self.receipts.drop(name)

    def allowed(self) -> None:
        """Raise Forbidden where writing clients' files is switched off."""
        if not self.writes:
            raise Forbidden(
                "writing clients' files is switched off (CLI_ALLOW_CONFIG_WRITES=false); `hubroute connect CLIENT --print` shows the lines",
                code="config_writes_disabled",
            )

    def held(self, name: str) -> list[str]:
        """The keys that stand in a client's files now, most likely ours; names of variables are left out."""
        row = client(name)
        found: list[str] = []
        for edit, path, template in known_templates(row):
            if edit.format in _TEXTS:
                key = key_in(template, _at(self.tree(edit, self.find(edit)), path))
                if key and key not in (row.key_reference, VARIABLE) and key not in found:
                    found.append(key)
        return found

    def connected(self, name: str, base: str = "") -> bool:
        """Whether the client's files point at this hub. Raises Conflict and OSError for files that cannot be read."""
        row = client(name)
        for edit, path, template in known_templates(row):
            if edit.format in _TEXTS:
                value = _at(self.tree(edit, self.find(edit)), path)
                if value is not None and _ours(template, value, base):
                    return True
        return False

    def _change(self, changes: dict[str, Change], edit: Edit) -> Change:
        found = self.find(edit)
        self.tree(edit, found)
        return changes.setdefault(str(found.path), Change(found, found.text))

    def _put(self, change: Change, entry: Entry) -> None:
        text, writer = change.text or "", _TEXTS[entry.edit.format]
        with _named(change.found):
            if _at(writer.load(text), entry.path) != entry.value:
                change.text = writer.put(text, entry.path, entry.value)
        change.paths[".".join(entry.path)] = entry.value

    def _take(self, change: Change, edit: Edit, path: tuple[str, ...], template: Any, written: Written | None, name: str) -> None:
        """Take one of our values out of a file; what stood there before comes back."""
        writer, text = _TEXTS[edit.format], change.text or ""
        value = _at(writer.load(text), path)
        if value is None or not self._is_ours(path, template, value, written):
            return
        change.paths[".".join(path)] = None
        original = self._original(written, name)
        with _named(change.found):
            old = _at(writer.load(original), path)
            if old is not None:
                change.text = writer.put(text, path, old)
                return
            text = writer.remove(text, path, original)
            for depth in range(len(path) - 1, 0, -1):
                # A holder that we made goes with the last thing in it; without a receipt nobody knows who made it.
                if written is None or _at(writer.load(text), path[:depth]) != {} or _at(writer.load(original), path[:depth]) is not None:
                    break
                text = writer.remove(text, path[:depth], original)
            change.text = text

    def _is_ours(self, path: tuple[str, ...], template: Any, value: Any, written: Written | None) -> bool:
        if isinstance(value, dict):
            return path[-1] == "hubroute"
        if written is not None:
            return written.paths.get(".".join(path)) == value_digest(value)
        return isinstance(template, str) and "{" not in template and value == template

    def _settle(self, change: Change, written: Written, name: str) -> None:
        """Where nobody but us changed the file, it becomes what it was to the byte."""
        if written.exact and change.found.bytes is not None and digest(change.found.bytes) == written.digest:
            change.text = self._original(written, name) if written.backup else None
        elif not written.backup and not (change.text or "").strip().strip("{}").strip():
            change.text = None

    def _original(self, written: Written | None, name: str) -> str:
        if written is None or not written.backup:
            return ""
        return self.receipts.content(name, written.backup).decode().removeprefix("\ufeff")

    def _write(self, change: Change) -> None:
        if change.text is None:
            drop(change.found)
        else:
            replace(change.found, change.text)

    def _written(self, change: Change, before: Written | None, copy: str) -> Written:
        content = (change.found.mark + (change.text or "")).encode()
        paths = {path: value_digest(value) for path, value in change.paths.items()}
        if before is None:
            return Written(str(change.found.path), digest(content), copy, paths=paths)
        same = change.found.bytes is not None and digest(change.found.bytes) == before.digest
        return msgspec.structs.replace(before, digest=digest(content), exact=before.exact and same, paths={**before.paths, **paths})


class _named:
    """Puts the file's name in front of what is wrong with it."""

    def __init__(self, found: Found) -> None:
        self._found = found

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Conflict) and not error.message.startswith(str(self._found.path)):
            raise Conflict(f"{self._found.path}: {error.message}", code=error.code) from None


def _at(tree: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        if not isinstance(tree, dict):
            return None
        tree = cast("dict[str, Any]", tree).get(name)
    return tree


def _ours(template: Any, value: Any, base: str) -> bool:
    if isinstance(value, dict) and isinstance(template, dict):
        return True
    return template == "{base}" and bool(base) and value == base


def without_secrets(value: Any) -> Any:
    """What is in a file, with what looks like a secret masked; lines of text are masked one by one."""
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        return {name: "…" if secret_name(name) and isinstance(item, str) else without_secrets(item) for name, item in fields.items()}
    if isinstance(value, list):
        return [without_secrets(item) for item in cast("list[Any]", value)]
    return _hidden(value) if isinstance(value, str) else value


def _hidden(text: str) -> str:
    return masked(_SECRET.sub(lambda found: f'{found[1]}"…"', text))


def _shown(line: str) -> str:
    hidden = _hidden(line)
    return hidden if hidden.endswith("\n") else f"{hidden}\n\\ no newline at the end\n"
