"""Compression combos: named pipelines, given to routing combos. One of them is the default (routing.md 5.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from hub.compression.settings import CavemanIntensity, Step
from hub.store.documents import Document
from hub.wire import Body

if TYPE_CHECKING:
    from hub.store.documents import Documents

#: The one that is always there; it is not stored until somebody changes it.
BUILT_IN = "default-caveman"
MOST = 200


class Assignment(Body):
    """A routing combo that uses it, by id; the time in epoch milliseconds."""

    id: str
    routing_combo_id: str
    created_at: int


class CompressionCombo(Body):
    """A compression combo as it is stored, without its name: its document has that."""

    description: str = Field(default="", max_length=1000)
    pipeline: tuple[Step, ...] = (Step(engine="rtk", intensity="standard"), Step(engine="caveman", intensity="full"))
    language_packs: tuple[str, ...] = ("en",)
    output_mode: bool = False
    output_mode_intensity: CavemanIntensity = "full"
    is_default: bool = False
    assigned: tuple[Assignment, ...] = ()


class CompressionCombos:
    """The compression combos of a hub, and which routing combo uses which."""

    def __init__(self, documents: Documents[CompressionCombo], started_ms: int) -> None:
        self.documents = documents
        body = CompressionCombo(description="rtk for output of tools, then caveman for prose.", is_default=True)
        self._built_in = Document(BUILT_IN, "Standard Savings", body, started_ms, started_ms)
        self._seen = -1
        self._by_routing: dict[str, Document[CompressionCombo]] = {}

    def all(self) -> list[Document[CompressionCombo]]:
        """Every compression combo, the built-in one first."""
        stored = self.documents.all()
        if any(one.id == BUILT_IN for one in stored):
            return sorted(stored, key=lambda one: (one.id != BUILT_IN, one.created_at, one.id))
        return [self._standing(stored), *stored]

    def _standing(self, stored: list[Document[CompressionCombo]]) -> Document[CompressionCombo]:
        """The built-in one as it is while nobody has changed it: the default unless another is."""
        kept = self._built_in
        if not any(one.body.is_default for one in stored):
            return kept
        return Document(kept.id, kept.name, kept.body.model_copy(update={"is_default": False}), kept.created_at, kept.updated_at)

    def peek(self, name: str) -> Document[CompressionCombo] | None:
        """The compression combo of an id or a name."""
        if (found := self.documents.peek(name) or self.documents.find(name)) is not None:
            return found
        if name in (BUILT_IN, self._built_in.name) and self.documents.peek(BUILT_IN) is None:
            return self._standing(self.documents.all())
        return None

    def default(self) -> Document[CompressionCombo]:
        """The default one."""
        return next((one for one in self.all() if one.body.is_default), self._built_in)

    def of_routing(self, combo_id: str) -> Document[CompressionCombo] | None:
        """The compression combo that a routing combo uses."""
        if self._seen != self.documents.version:
            self._seen = self.documents.version
            self._by_routing = {given.routing_combo_id: one for one in reversed(self.documents.all()) for given in one.body.assigned}
        return self._by_routing.get(combo_id)
