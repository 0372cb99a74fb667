"""``python -m manual FOLDER``: write everything that mkdocs needs into a folder (``make docs`` then runs it there)."""

from __future__ import annotations

import sys
from pathlib import Path

from manual.pages import write

if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m manual FOLDER")
    write(Path(sys.argv[1]))
