"""Names of ``auto`` that need no set-up: ``auto``, ``auto/fast``, ``auto/coding:cheap`` ... and what each asks for (routing.md 2.4)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hub.routing.combo import RouterVariant
    from hub.routing.intent import Task

AUTO = "auto"


@dataclass(frozen=True, slots=True)
class AutoName:
    """What a name asks of ``auto``: its ``variant``, ``pack`` and ``exploration`` (None as set), the ``task`` that models must fit
    ("" is told by the prompt), and two filters that give way where they leave nothing: ``needs`` are abilities of the model,
    ``only`` the accounts to use (``free``: models that cost nothing, ``pro``: paid plans).
    """

    name: str
    variant: RouterVariant = "rules"
    pack: str = ""
    task: Task | Literal[""] = ""
    needs: frozenset[str] = frozenset()
    only: Literal["", "free", "pro"] = ""
    exploration: float | None = None


_VISION = frozenset({"vision"})

_PLAIN = (
    AutoName(AUTO),
    AutoName("auto/coding", pack="quality-first", task="coding"),
    AutoName("auto/fast", pack="ship-fast"),
    AutoName("auto/cheap", pack="cost-saver"),
    AutoName("auto/offline", pack="offline-friendly"),
    AutoName("auto/smart", pack="quality-first", exploration=0.1),
    AutoName("auto/lkgp", variant="lkgp"),
)
#: Kinds of work; each may be followed by one of the aims.
_KINDS = (
    AutoName("auto/coding", task="coding"),
    AutoName("auto/reasoning", task="analysis", needs=frozenset({"reasoning"})),
    AutoName("auto/vision", needs=_VISION),
    AutoName("auto/chat", task="default"),
    AutoName("auto/multimodal", needs=_VISION),
)
#: ``floor`` goes by the price alone, ``cheap`` weighs it most.
_AIMS = (
    AutoName("fast", pack="ship-fast"),
    AutoName("cheap", pack="cost-saver"),
    AutoName("floor", pack="cost-saver", variant="cost"),
    AutoName("reliable", pack="reliability-first"),
    AutoName("free", only="free"),
    AutoName("pro", only="pro"),
)


def _table() -> dict[str, AutoName]:
    found = {kind.name: kind for kind in _KINDS} | {plain.name: plain for plain in _PLAIN}
    for kind in _KINDS:
        for aim in _AIMS:
            name = f"{kind.name}:{aim.name}"
            found[name] = replace(kind, name=name, variant=aim.variant, pack=aim.pack, only=aim.only)
    return found


#: Every name, for lists of models.
NAMES: Mapping[str, AutoName] = MappingProxyType(_table())


def parse(name: str) -> AutoName | None:
    """What a name asks for; None when it is none of :data:`NAMES`."""
    return NAMES.get(name)
