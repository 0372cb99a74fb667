"""What a tool of another server answered, kept in the protocol's own shape so that no kind of content is lost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from hub.upstream import pinning

#: Where a result says that a stranger wrote it, and what the scan of its words found (SEC-62).
ORIGIN_META = "hubroute/origin"


@dataclass(frozen=True, slots=True)
class Outcome:
    """A tool result: content blocks as received, the structured part where there is one, whether the tool says it failed.

    ``ours`` names fields of the structured part that the hub wrote itself.
    """

    server: str
    content: list[dict[str, Any]]
    structured: Any = None
    failed: bool = False
    ours: frozenset[str] = frozenset()

    def text(self) -> str:
        """The text blocks, joined by lines."""
        return "\n".join(block["text"] for block in self.content if block.get("type") == "text")

    def findings(self) -> tuple[str, ...]:
        """What the scan finds in the stranger's words (SEC-62)."""
        told: Any = self.structured
        if self.ours and isinstance(told, dict):
            told = {name: value for name, value in cast("dict[str, Any]", told).items() if name not in self.ours}
        return pinning.findings(pinning.strings([self.content, told]))

    def wire(self) -> dict[str, Any]:
        """The result of ``tools/call``, marked as coming from elsewhere."""
        found = self.findings()
        origin: dict[str, Any] = {"server": self.server, "trusted": False, **({"findings": list(found)} if found else {})}
        whole: dict[str, Any] = {"content": self.content, "isError": self.failed, "resultType": "complete", "_meta": {ORIGIN_META: origin}}
        if self.structured is not None:
            whole["structuredContent"] = self.structured
        return whole
