"""The public surface cannot change by accident."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.surface import GOLDEN, surface, text

if TYPE_CHECKING:
    from pathlib import Path


def test_surface_is_the_golden_one(tmp_path: Path) -> None:
    """Run ``make surface`` and review the diff when a change is meant."""
    assert text(surface(tmp_path)) == GOLDEN.read_text()
