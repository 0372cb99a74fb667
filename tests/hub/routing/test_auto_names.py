"""Names of ``auto`` that need no set-up (routing.md 2.4)."""

from __future__ import annotations

import pytest

from hub.routing.auto_names import NAMES, AutoName, parse
from hub.routing.scoring import PACKS

PLAIN = {"auto", "auto/coding", "auto/fast", "auto/cheap", "auto/offline", "auto/smart", "auto/lkgp"}
KINDS = ("coding", "reasoning", "vision", "chat", "multimodal")
AIMS = ("fast", "cheap", "floor", "reliable", "free", "pro")


def test_every_name_of_the_reference() -> None:
    assert set(NAMES) == PLAIN | {f"auto/{kind}" for kind in KINDS} | {f"auto/{kind}:{aim}" for kind in KINDS for aim in AIMS}
    assert all(found.name == name and found.pack in PACKS for name, found in NAMES.items())


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("auto", AutoName("auto")),
        ("auto/coding", AutoName("auto/coding", pack="quality-first", task="coding")),
        ("auto/smart", AutoName("auto/smart", pack="quality-first", exploration=0.1)),
        ("auto/lkgp", AutoName("auto/lkgp", variant="lkgp")),
        ("auto/coding:fast", AutoName("auto/coding:fast", pack="ship-fast", task="coding")),
        ("auto/vision", AutoName("auto/vision", needs=frozenset({"vision"}))),
        ("auto/chat:floor", AutoName("auto/chat:floor", variant="cost", pack="cost-saver", task="default")),
        (
            "auto/reasoning:pro",
            AutoName("auto/reasoning:pro", task="analysis", needs=frozenset({"reasoning"}), only="pro"),
        ),
        ("auto/multimodal:free", AutoName("auto/multimodal:free", needs=frozenset({"vision"}), only="free")),
    ],
)
def test_what_a_name_asks_for(name: str, found: AutoName) -> None:
    assert parse(name) == found


@pytest.mark.parametrize(
    "name", ["", "Auto", "auto/", "auto/fast:cheap", "auto/coding:", "auto/coding:best", "auto/x", "autos", "openrouter/auto"]
)
def test_other_names_are_none(name: str) -> None:
    assert parse(name) is None
