"""What servers list: tools, resources, resource templates and prompts. Each kind is read, judged and pinned in the same way (SEC-60)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from hub.upstream import pinning
from hub.upstream.addresses import template_fault, uri_fault
from hub.upstream.model import Pin, Standing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

#: What is taken of all lists of one server together, in bytes of JSON (REL-18).
MOST_BYTES = 8 * 1024 * 1024
_MOST_ARGUMENTS = 64


@dataclass(frozen=True, slots=True)
class Listing:
    """One kind. ``kind`` is its field in a :class:`~hub.upstream.model.Server`, ``field`` the one in the server's answer to ``method``.

    ``key`` is what tells two of them apart, ``capability`` what the server declares when it has them, ``what`` and ``word``
    name one to people and in events, ``fault`` says why one cannot be taken.
    """

    kind: str
    what: str
    word: str
    method: str
    field: str
    key: str
    capability: str
    fault: Callable[[Mapping[str, Any]], str]

    def judged(self, items: Iterable[Mapping[str, Any]], kept: Mapping[str, Pin]) -> dict[str, Pin]:
        """Where each one stands now that the server states these, given what was kept of them."""
        seen = {str(item.get(self.key, ""))[:_LONGEST_KEY]: item for item in items}
        found = {name: pinning.judged(item, kept.get(name), self.fault) for name, item in seen.items() if name}
        for name, pin in kept.items():
            if name not in found and pin.approved is not None:
                # Never silently: what was allowed and is missing stays in the list, and says so.
                found[name] = pin.model_copy(update={"standing": Standing.GONE, "seen": {}})
        return found


_LONGEST_KEY = 2000


def _resource_fault(stated: Mapping[str, Any]) -> str:
    return uri_fault(stated.get("uri")) or _described_fault(stated)


def _template_fault(stated: Mapping[str, Any]) -> str:
    return template_fault(stated.get("uriTemplate")) or _described_fault(stated)


def _prompt_fault(stated: Mapping[str, Any]) -> str:
    arguments: Any = stated.get("arguments") or []
    if not isinstance(arguments, list) or len(arguments) > _MOST_ARGUMENTS:  # pyright: ignore[reportUnknownArgumentType] - any JSON
        return f"its arguments are not a list of at most {_MOST_ARGUMENTS}"
    if not all(pinning.visible(pinning.fields(one).get("name"), 200) for one in cast("list[Any]", arguments)):
        return "an argument has no name of 1 to 200 visible characters"
    return _described_fault(stated)


def _described_fault(stated: Mapping[str, Any]) -> str:
    name = stated.get("name")
    if not isinstance(name, str) or not pinning.visible(name.replace(" ", "_"), 200):
        return "its name is not 1 to 200 visible characters"
    return pinning.bulk_fault(stated)


TOOLS = Listing("tools", "tool", "tool", "tools/list", "tools", "name", "tools", pinning.fault)
RESOURCES = Listing("resources", "resource", "resource", "resources/list", "resources", "uri", "resources", _resource_fault)
TEMPLATES = Listing(
    "templates",
    "resource template",
    "template",
    "resources/templates/list",
    "resourceTemplates",
    "uriTemplate",
    "resources",
    _template_fault,
)
PROMPTS = Listing("prompts", "prompt", "prompt", "prompts/list", "prompts", "name", "prompts", _prompt_fault)
LISTINGS = (TOOLS, RESOURCES, TEMPLATES, PROMPTS)
