"""Wheel layout: the four packages go privately under ``hubroute/_app``, and one top-level name is installed (D10).

A wheel and an sdist have what the dashboard loads from npm (D18). It is in no repository, so a build without it stops and says what to run.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGES = ("hub", "agents", "skills", "transports")
#: Written by ``make assets`` when all of them are there.
ASSETS = "transports/_dash/static/vendor/.ready"
WITHOUT = "HUBROUTE_BUILD_WITHOUT_ASSETS"


class Layout(BuildHookInterface[Any]):
    """Says which file goes where; hatchling does the rest."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called before a wheel or sdist is made; ``version`` is ``standard`` or ``editable``. Raises SystemExit without the assets."""
        root = Path(self.root)
        launcher = str(root / "hub" / "launcher.py")
        if version == "editable":
            # The packages are imported from the checkout; the launcher finds them through its path entry.
            build_data["force_include_editable"][launcher] = "hubroute.py"
            return
        if not (root / ASSETS).is_file() and os.environ.get(WITHOUT) != "1":
            raise SystemExit(
                "error: the dashboard's charts and live updates are not in this checkout; run `make assets` first (it wants npm),"
                f" or build without them: {WITHOUT}=1"
            )
        if self.target_name == "wheel":
            build_data["force_include"] |= {str(root / package): f"hubroute/_app/{package}" for package in PACKAGES}
            build_data["force_include"][launcher] = "hubroute/__init__.py"
