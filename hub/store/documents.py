"""What owners write down as whole documents: combos, mappings, budgets, policies. All in memory after the load, changed one at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import BaseModel

from hub.errors import Conflict, NotFound
from hub.store import columns, deferred
from hub.store.database import RowRefused
from hub.store.inputs import words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sqlmodel import Session

    from hub.clock import Clock
    from hub.store.changes import Changes

T = TypeVar("T", bound=BaseModel)


class _Unchanged(Exception):
    """Ends the transaction of an edit that changes nothing; carries the row as it is stored."""

    def __init__(self, row: dict[str, Any]) -> None:
        self.row = row


@dataclass(frozen=True, slots=True)
class Document(Generic[T]):
    """One document. ``name`` is unique within its kind; ``body`` must not be changed in place. Times in epoch milliseconds."""

    id: str
    name: str
    body: T
    created_at: int
    updated_at: int


class Documents(Generic[T]):
    """The documents of one kind, by id and by name. ``what`` names one to people; ``body`` is the model that a document holds.

    ``version`` counts the changes, here or in another process, so that what was made of the documents can be kept.
    """

    def __init__(self, changes: Changes, clock: Clock, *, kind: str, what: str, prefix: str, body: type[T]) -> None:
        self.kind = kind
        self.what = what
        self.version = 0
        self._changes = changes
        self._clock = clock
        self._prefix = prefix
        self._body = body
        self._by_id: dict[str, Document[T]] = {}
        self._by_name: dict[str, Document[T]] = {}

    def twin(self) -> Documents[T]:
        """An empty collection of the same kind, to try rows on."""
        return Documents(self._changes, self._clock, kind=self.kind, what=self.what, prefix=self._prefix, body=self._body)

    def load(self, rows: Iterable[dict[str, Any]]) -> None:
        """Take over the stored documents of this kind."""
        self._by_id, self._by_name = {}, {}
        for row in rows:
            if row["kind"] == self.kind:
                self._hold(self._document(row))
        self.version += 1

    def all(self) -> list[Document[T]]:
        """Every document, oldest first."""
        return sorted(self._by_id.values(), key=lambda one: (one.created_at, one.id))

    def find(self, name: str) -> Document[T] | None:
        """The document of this name."""
        return self._by_name.get(name)

    def peek(self, document_id: str) -> Document[T] | None:
        """The document of this id."""
        return self._by_id.get(document_id)

    def get(self, document_id: str) -> Document[T]:
        """The document of this id. Raises NotFound."""
        found = self._by_id.get(document_id)
        if found is None:
            raise NotFound(f"there is no {self.what} {document_id!r}", field="id")
        return found

    def new_id(self) -> str:
        """An id for a document whose name is to be its id."""
        return self._clock.new_id(self._prefix)

    async def create(self, name: str, body: T, *, document_id: str = "") -> Document[T]:
        """Store a new document. Raises BadRequest for a bad name, Conflict for one that is taken."""
        now = self._clock.now_ms()
        row = {
            "id": document_id or self._clock.new_id(self._prefix),
            "kind": self.kind,
            "name": words("name", name, limit=500),
            "body": _encoded(body),
            "created_at": now,
            "updated_at": now,
        }
        await self._made(lambda session: deferred.management().insert(session, "documents", row), name)
        return self._by_id[str(row["id"])]

    async def update(self, document_id: str, body: T, *, name: str | None = None) -> Document[T]:
        """Replace a document's body, and its name. Raises NotFound, BadRequest, Conflict."""
        kept = self.get(document_id)
        row = {"body": _encoded(body), "updated_at": self._clock.now_ms()}
        if name is not None:
            row["name"] = words("name", name, limit=500)
        await self._made(lambda session: deferred.management().change(session, "documents", document_id, lambda _: row), name or kept.name)
        return self.get(document_id)

    async def edit(self, document_id: str, change: Callable[[T], T | None]) -> Document[T]:
        """Replace a body by what ``change`` makes of the stored one, which nobody else can change meanwhile; None leaves it as it is.

        The document as it is stored then, another process's changes included. ``change`` runs in a thread of the store.
        Raises NotFound, and what ``change`` raises.
        """
        now = self._clock.now_ms()

        def work(session: Session) -> dict[str, Any]:
            def made(row: dict[str, Any]) -> dict[str, Any]:
                body = change(self._body.model_validate_json(row["body"]))
                if body is None:
                    raise _Unchanged(row)
                return {"body": _encoded(body), "updated_at": now}

            return deferred.management().change(session, "documents", document_id, made)

        try:
            await self._made(work, "")
        except _Unchanged as kept:
            known = self._by_id.get(document_id)
            if known is None or kept.row["updated_at"] >= known.updated_at:
                self._hold(self._document(kept.row))
        return self.get(document_id)

    async def replace_all(self, bodies: dict[str, T], *, names: dict[str, str] | None = None) -> None:
        """Replace the bodies of several documents, by id, and the names of some, in one transaction.

        Raises NotFound, BadRequest, Conflict; nothing is changed then.
        """
        now = self._clock.now_ms()
        given = {one: {"name": words("name", name, limit=500)} for one, name in (names or {}).items()}

        rows = {one: {"body": _encoded(body), "updated_at": now, **given.get(one, {})} for one, body in bodies.items()}

        def work(session: Session) -> list[dict[str, Any]]:
            management = deferred.management()
            return [management.change(session, "documents", one, lambda _, row=row: row) for one, row in sorted(rows.items())]

        def apply(rows: list[dict[str, Any]]) -> None:
            for row in rows:
                self._hold(self._document(row))
            self.version += 1

        try:
            await self._changes.make(work, apply)
        except RowRefused as error:
            taken = next((name for name in (names or {}).values() if name in self._by_name), None)
            if taken is None:
                raise
            raise Conflict(f"there is a {self.what} {taken!r} already", field="name") from error

    async def delete(self, document_id: str) -> None:
        """Remove a document. Raises NotFound."""
        await self._changes.make(*self.removal(document_id))

    def removal(self, document_id: str) -> tuple[Callable[[Session], None], Callable[[None], None]]:
        """The removal of a document as a transaction's work and what follows it (:meth:`hub.store.Store.together`)."""

        def work(session: Session) -> None:
            if not deferred.management().remove(session, "documents", document_id):
                raise NotFound(f"there is no {self.what} {document_id!r}", field="id")

        def apply(_: None) -> None:
            self._drop(document_id)
            self.version += 1

        return work, apply

    async def _made(self, work: Callable[[Session], dict[str, Any]], name: str) -> None:
        def apply(row: dict[str, Any]) -> None:
            self._hold(self._document(row))
            self.version += 1

        try:
            await self._changes.make(work, apply)
        except RowRefused as error:
            if self._by_name.get(name) is None:
                raise
            raise Conflict(f"there is a {self.what} {name!r} already", field="name") from error

    def _document(self, row: dict[str, Any]) -> Document[T]:
        return Document(
            id=row["id"],
            name=row["name"],
            body=self._body.model_validate_json(row["body"]),
            created_at=row["created_at"],
            updated_at=row["updated_at"],
        )

    def _hold(self, document: Document[T]) -> None:
        self._drop(document.id)
        self._by_id[document.id] = document
        self._by_name[document.name] = document

    def _drop(self, document_id: str) -> None:
        gone = self._by_id.pop(document_id, None)
        if gone is not None:
            self._by_name.pop(gone.name, None)


def _encoded(body: BaseModel) -> str:
    return columns.text(body.model_dump_json(by_alias=True, exclude_defaults=True))
