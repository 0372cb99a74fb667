"""What becomes of the differences between two hubs: pure functions over what each has and what both had last time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping


class Item(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One thing that an owner wrote down. ``at`` is when it was last changed, in epoch milliseconds; ``print`` tells its states apart."""

    kind: str
    id: str
    name: str
    at: int
    print: str
    body: Any

    @property
    def key(self) -> str:
        """Names it among all."""
        return f"{self.kind}:{self.id}"


class Conflict(msgspec.Struct, kw_only=True):
    """Something that was changed on both sides; ``kept`` says whose change stays, here or there, and ``why``."""

    item: str
    name: str
    kept: str
    why: str


@dataclass(slots=True)
class Merge:
    """What has to be done on each side. Deletions are keys."""

    here: list[Item] = field(default_factory=list[Item])
    there: list[Item] = field(default_factory=list[Item])
    gone_here: list[str] = field(default_factory=list[str])
    gone_there: list[str] = field(default_factory=list[str])
    conflicts: list[Conflict] = field(default_factory=list[Conflict])


def merge(base: Mapping[str, str], here: Mapping[str, Item], there: Mapping[str, Item]) -> Merge:
    """Compare by key. ``base`` are the prints after the last sync.

    A change on one side goes to the other. Of two changes the later one stays; a change stays before a deletion.
    """
    found = Merge()
    for key in sorted({*base, *here, *there}):
        one, other, before = here.get(key), there.get(key), base.get(key)
        if one is not None and other is not None:
            _both(found, one, other, before)
        elif one is not None:
            _single(found, one, before, mine=True)
        elif other is not None:
            _single(found, other, before, mine=False)
    return found


def _both(found: Merge, one: Item, other: Item, before: str | None) -> None:
    if one.print == other.print:
        return
    if before == one.print:
        found.here.append(other)
    elif before == other.print:
        found.there.append(one)
    else:
        mine = (one.at, one.print) >= (other.at, other.print)
        (found.there if mine else found.here).append(one if mine else other)
        why = "changed on both sides; the later change stays"
        found.conflicts.append(Conflict(item=one.key, name=one.name, kept="here" if mine else "there", why=why))


def _single(found: Merge, item: Item, before: str | None, *, mine: bool) -> None:
    """One side has it: it is new there, or was deleted at the other."""
    if before == item.print:
        (found.gone_here if mine else found.gone_there).append(item.key)
        return
    (found.there if mine else found.here).append(item)
    if before is not None:
        why = "deleted on one side and changed on the other; the change stays"
        found.conflicts.append(Conflict(item=item.key, name=item.name, kept="here" if mine else "there", why=why))
