"""What another server answered, kept in the protocol's own shape so that no kind of content is lost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from hub.errors import UpstreamFailed
from hub.upstream import addresses, pinning

#: Where a result says that a stranger wrote it, and what the scan of its words found (SEC-62).
ORIGIN_META = "hubroute/origin"


@dataclass(frozen=True, slots=True)
class Outcome:
    """A tool result: content blocks as received, the structured part where there is one, whether the tool says it failed.

    ``_ours`` names fields of the structured part that the hub wrote itself. ``_interim`` is what stands in place of all that while the
    server waits for its client's answers (2026-07-28). Neither is shown where an outcome is written as JSON, as their names begin.
    """

    server: str
    content: list[dict[str, Any]]
    structured: Any = None
    failed: bool = False
    _ours: frozenset[str] = frozenset()
    _interim: dict[str, Any] | None = None

    def text(self) -> str:
        """The text blocks, joined by lines."""
        return "\n".join(block["text"] for block in self.content if block.get("type") == "text")

    def findings(self) -> tuple[str, ...]:
        """What the scan finds in the stranger's words (SEC-62)."""
        told: Any = self.structured
        if self._ours and isinstance(told, dict):
            told = {name: value for name, value in cast("dict[str, Any]", told).items() if name not in self._ours}
        return pinning.findings(pinning.strings([self.content, told]))

    def wire(self) -> dict[str, Any]:
        """The result of ``tools/call``, marked as coming from elsewhere.

        A structured part that is no object stands in a field ``result``, as that of our own tools does.
        """
        if self._interim is not None:
            return self._interim
        meta = {ORIGIN_META: _marks(self.server, self.findings())}
        whole: dict[str, Any] = {"content": self.content, "isError": self.failed, "resultType": "complete", "_meta": meta}
        if self.structured is not None:
            structured: object = self.structured
            whole["structuredContent"] = structured if isinstance(structured, dict) else {"result": structured}
        return whole


@dataclass(frozen=True, slots=True)
class Answer:
    """The raw result of any other request."""

    server: str
    raw: dict[str, Any]

    @property
    def interim(self) -> bool:
        """Whether the server waits for its client's answers."""
        return self.raw.get("resultType", "complete") == "input_required"

    def wire(self) -> dict[str, Any]:
        """The result with links that lead to our doors, marked as coming from elsewhere."""
        if self.interim:
            return self.raw
        shown = {name: value for name, value in self.raw.items() if name not in ("_meta", "ttlMs", "cacheScope")}
        for name, known in (("contents", _content), ("messages", _message)):
            if isinstance(shown.get(name), list):
                shown[name] = [known(self.server, one) for one in shown[name]]
        marks = origin(self.server, [shown.get("contents"), shown.get("messages"), shown.get("description")])
        return {**shown, "resultType": "complete", "_meta": {ORIGIN_META: marks}}


def outcome_of(server: str, raw: dict[str, Any]) -> Outcome:
    """A raw tool result as an outcome. Raises UpstreamFailed for what is none."""
    kind = raw.get("resultType", "complete")
    if kind == "input_required":
        return Outcome(server, [], _interim=raw)
    content = raw.get("content")
    if kind != "complete" or not isinstance(content, list):
        raise UpstreamFailed(f"the MCP server {server} sent a result without content")
    blocks = [addresses.renamed(server, pinning.fields(block)) for block in cast("list[Any]", content)]
    return Outcome(server, blocks, raw.get("structuredContent"), raw.get("isError") is True)


def origin(server: str, said: object) -> dict[str, Any]:
    """Who wrote something, and what the scan of it found."""
    return _marks(server, pinning.findings(pinning.strings(said)))


def _marks(server: str, found: tuple[str, ...]) -> dict[str, Any]:
    return {"server": server, "trusted": False, **({"findings": list(found)} if found else {})}


def _message(server: str, message: Any) -> dict[str, Any]:
    whole = pinning.fields(message)
    return {**whole, "content": addresses.renamed(server, pinning.fields(whole.get("content")))}


def _content(server: str, content: Any) -> dict[str, Any]:
    return addresses.located(server, pinning.fields(content))
