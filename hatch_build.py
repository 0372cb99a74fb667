"""Wheel layout: the four packages go privately under ``hubroute/_app``, and one top-level name is installed (D10)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGES = ("hub", "agents", "skills", "transports")


class Layout(BuildHookInterface[Any]):
    """Says which file goes where; hatchling does the rest."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called before the wheel is made; ``version`` is ``standard`` or ``editable``."""
        root = Path(self.root)
        launcher = str(root / "hub" / "launcher.py")
        if version == "editable":
            # The packages are imported from the checkout; the launcher finds them through its path entry.
            build_data["force_include_editable"][launcher] = "hubroute.py"
            return
        build_data["force_include"] |= {str(root / package): f"hubroute/_app/{package}" for package in PACKAGES}
        build_data["force_include"][launcher] = "hubroute/__init__.py"
