"""Console entry of the wheel and of the checkout: put the right four packages on the path, then run the command line.

Installed as ``hubroute/__init__.py`` beside ``_app``, so it imports nothing of ours before it has looked.
``hub``, ``agents``, ``skills`` and ``transports`` are generic names that other distributions install too
(decision D10): the four must lie side by side, else another package's would run inside this process.
"""

from __future__ import annotations

import gc
import sys
from importlib.machinery import PathFinder
from pathlib import Path

PACKAGES = ("hub", "agents", "skills", "transports")


def home() -> Path | None:
    """The folder that holds our packages: the wheel's private one, else the checkout this file is part of."""
    here = Path(__file__).resolve().parent
    for folder in (here / "_app", here.parent):
        if all((folder / name / "__init__.py").is_file() for name in PACKAGES):
            return folder
    return None


def _scattered() -> str:
    """What is wrong with the packages that an import would find now; empty when all lie in one folder."""
    found = {name: PathFinder.find_spec(name) for name in PACKAGES}
    folders = {name: str(Path(spec.origin).parent.parent) if spec and spec.origin else "missing" for name, spec in found.items()}
    if len(set(folders.values())) == 1 and "missing" not in folders.values():
        return ""
    return ", ".join(f"{name} in {folder}" if folder != "missing" else f"{name} missing" for name, folder in folders.items())


def main() -> int:
    """Run ``hubroute`` and return its exit code."""
    folder = home()
    if folder is not None:
        sys.path.insert(0, str(folder))
    if wrong := _scattered():
        print(  # noqa: T201 - nothing of ours can be imported to say it with
            f"error: HubRoute's packages do not lie side by side ({wrong}); install hubroute into a virtual environment of its own",
            file=sys.stderr,
        )
        return 1
    # What a start imports stays; looking for garbage in it costs a twentieth of the start. A hub that serves turns it on again.
    gc.disable()
    from hub.cli import main as run  # noqa: PLC0415 - only now is it certain that this finds our package

    return run()


if __name__ == "__main__":
    sys.exit(main())
