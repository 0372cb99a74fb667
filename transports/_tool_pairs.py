"""Pairs the tool calls of a conversation with their results, for dialects in which neither needs an id."""

from __future__ import annotations


class ToolPairs:
    """Fed with calls and results in their order."""

    __slots__ = ("_count", "_waiting")

    def __init__(self) -> None:
        self._count = 0
        self._waiting: list[tuple[str, str]] = []

    def asked(self, name: str, given: str) -> str:
        """The id of the next call: its own, or one that is counted, so that it is the same with every turn and vendors' caches hit."""
        self._count += 1
        call_id = given or f"call_{self._count}"
        self._waiting.append((name, call_id))
        return call_id

    def answered(self, name: str, given: str) -> tuple[str, str]:
        """Id and tool of the call that a result answers; empty where there is none.

        It is the call with the id that the result gives, else the first of that tool that waits, else the first that waits
        where the result does not name its tool.
        """
        for place, (asked, call_id) in enumerate(self._waiting):
            if call_id == given if given else name in ("", asked):
                del self._waiting[place]
                return call_id, asked
        return given, name
