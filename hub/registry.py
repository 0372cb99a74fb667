"""Registries: find what a package offers by name, once, at start. Skills, adapters, strategies and transports all load this way."""

from __future__ import annotations

import importlib
import pkgutil
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeVar

from hub.log import logger
from hub.skill import Skill

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from types import ModuleType

log = logger("hub.registry")

Item = TypeVar("Item")


def modules(package: str) -> Iterator[ModuleType]:
    """Import every public module of a package, by name order; those with a leading underscore are skipped."""
    root = importlib.import_module(package)
    for info in sorted(pkgutil.iter_modules(root.__path__), key=lambda info: info.name):
        if not info.name.startswith("_"):
            yield importlib.import_module(f"{package}.{info.name}")


def load(package: str, kind: type[Item], name: Callable[[Item], str]) -> Mapping[str, Item]:
    """A frozen name -> item table of every module-level ``kind`` in ``package``.

    Raises ValueError when two items share a name; whatever a malformed item raises stops the start.
    """
    found: dict[str, Item] = {}
    origin: dict[str, str] = {}
    for module in modules(package):
        for value in vars(module).values():
            # A class may satisfy a protocol as well as its instances do; only instances are items.
            if isinstance(value, type) or not isinstance(value, kind):
                continue
            key = name(value)
            if key in found and found[key] is not value:
                raise ValueError(f"{package}: {key!r} is declared in {origin[key]} and again in {module.__name__}")
            found.setdefault(key, value)
            origin.setdefault(key, module.__name__)
    return MappingProxyType(dict(sorted(found.items())))


class Skills:
    """Every skill, found by name, tool name, A2A id, REST address, resource and kind of names.

    The hub's own are fixed after construction; those imported from elsewhere are replaced as a whole, origin by origin, by
    :meth:`adopt`. ``version`` counts that, for what is made of the registry and kept.
    """

    def __init__(self, skills: Mapping[str, Skill]) -> None:
        self._own = dict(skills)
        self._adopted: dict[str, dict[str, Skill]] = {}
        self.version = 0
        self._index(self._own)
        self.by_resource = _unique((shown.uri, made) for made in skills.values() for shown in made.resources)
        self.by_kind = _unique((made.names.kind, made) for made in skills.values() if made.names)
        _check_twins(skills)

    @classmethod
    def load(cls, package: str = "skills") -> Skills:
        """Load every skill of a package. Raises ValueError on a duplicate name, tool, A2A id or address."""
        return cls(load(package, Skill, lambda made: made.name))

    def adopt(self, origin: str, imported: Iterable[Skill]) -> None:
        """Take these as all the skills of an origin. What is imported never shadows a skill of the hub or of another origin (SEC-61)."""
        elsewhere = [kept for one, kept in self._adopted.items() if one != origin]
        others = {name: made for kept in (self._own, *elsewhere) for name, made in kept.items()}
        taken = {address for made in others.values() for address in _addresses(made)}
        found: dict[str, Skill] = {}
        for made in imported:
            if taken.isdisjoint(_addresses(made)):
                found[made.name] = made
                taken.update(_addresses(made))
            else:
                log.warning("an imported skill is left out: its name is taken", skill=made.name)
        self._adopted[origin] = found
        self._index({**others, **found})
        self.version += 1

    def _index(self, skills: Mapping[str, Skill]) -> None:
        by_tool = _unique((made.mcp.tool, made) for made in skills.values() if made.mcp)
        by_a2a = _unique((made.a2a.id, made) for made in skills.values() if made.a2a)
        by_rest = _unique(((address.method, address.path), made) for made in skills.values() for address in made.rest)
        self.by_name: Mapping[str, Skill] = MappingProxyType(dict(skills))
        self.by_tool, self.by_a2a, self.by_rest = by_tool, by_a2a, by_rest

    def __iter__(self) -> Iterator[Skill]:
        return iter(self.by_name.values())

    def __len__(self) -> int:
        return len(self.by_name)


def _addresses(made: Skill) -> Iterator[tuple[str, str]]:
    """The names that only one skill can have."""
    yield "name", made.name
    if made.mcp:
        yield "tool", made.mcp.tool
    if made.a2a:
        yield "agent", made.a2a.id


def _check_twins(skills: Mapping[str, Skill]) -> None:
    for made in skills.values():
        for other in (made.twin, made.a2a.stream if made.a2a else None):
            if other and other not in skills:
                raise ValueError(f"skill {made.name}: its twin {other!r} does not exist")


def _unique(pairs: Iterator[tuple[Item, Skill]]) -> Mapping[Item, Skill]:
    table: dict[Item, Skill] = {}
    for key, made in pairs:
        if key in table:
            raise ValueError(f"skills {table[key].name} and {made.name} claim the same address {key}")
        table[key] = made
    return MappingProxyType(table)
