"""The pages in their order: a tutorial, how-to, reference and explanation, each found by where it lies. No list of pages is kept."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from manual import skills, tables

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
#: Pages of ``docs/`` that are no how-to.
_OTHERS = ("index.md", "tutorial.md", "settings.md")


def write(folder: Path) -> None:
    """Write ``pages/`` and ``mkdocs.yml`` into a folder that is made anew."""
    shutil.rmtree(folder / "pages", ignore_errors=True)
    shutil.copytree(DOCS, folder / "pages")
    shutil.copy(ROOT / "CHANGELOG.md", folder / "pages" / "changelog.md")
    change_log = (folder / "pages" / "changelog.md").read_text("utf-8").replace("(docs/", "(")
    (folder / "pages" / "changelog.md").write_text(change_log, "utf-8")
    for name, text in reference().items():
        path = folder / "pages" / "reference" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    # JSON is YAML too. The paths are as seen from the folder, whose parent's parent may be anywhere.
    settings = {"INHERIT": str(ROOT / "mkdocs.yml"), "docs_dir": "pages", "site_dir": "site", "nav": navigation()}
    (folder / "mkdocs.yml").write_text(json.dumps(settings, indent=1), "utf-8")


def reference() -> dict[str, str]:
    """Every page of the reference by its name below ``reference/``."""
    return {**tables.pages(), **{f"skills/{name}": text for name, text in skills.pages().items()}}


def navigation() -> list[dict[str, object]]:
    """The order of the pages, as mkdocs wants it."""
    listed = skills.titles()
    return [
        {"HubRoute": "index.md"},
        {"Tutorial": [{title(DOCS / "tutorial.md"): "tutorial.md"}]},
        {"How-to": _by_title(path for path in DOCS.glob("*.md") if path.name not in _OTHERS)},
        {
            "Reference": [
                {"Settings": "settings.md"},
                *({words: f"reference/{name}"} for name, words in tables.TITLES.items()),
                {"Skills": ["reference/skills/index.md", *({words: f"reference/skills/{name}"} for name, words in listed.items())]},
                {"Changes": "changelog.md"},
            ]
        },
        {
            "Explanation": [
                *_by_title(DOCS.glob("explanation/*.md")),
                {"Decisions": [str(path.relative_to(DOCS)) for path in sorted(DOCS.glob("decisions/*.md"))]},
            ]
        },
    ]


def title(path: Path) -> str:
    """The first heading of a page."""
    first = path.read_text("utf-8").split("\n", 1)[0]
    if not first.startswith("# "):
        raise SystemExit(f"error: {path} does not begin with its title (`# …`)")
    return first[2:].strip()


def _by_title(paths: Iterable[Path]) -> list[dict[str, str]]:
    found = sorted((title(path), str(path.relative_to(DOCS))) for path in paths)
    return [{words: where} for words, where in found]
