"""The documentation's pages: every page has its place, the reference says all that the program does, and links lead somewhere."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from hub import errors
from hub.registry import Skills
from hub.webhooks.names import EVENTS
from manual import pages, schemas
from tests.fakes.command import ROOT

if TYPE_CHECKING:
    from pathlib import Path

LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that mkdocs is given."""
    folder = tmp_path_factory.mktemp("manual")
    pages.write(folder)
    return folder


def listed(entries: Any) -> set[str]:
    """Every page that is named anywhere in a navigation."""
    if isinstance(entries, str):
        return {entries}
    return set().union(*(listed(one) for one in (entries.values() if isinstance(entries, dict) else entries)))


def test_every_page_is_listed_once_and_every_listed_page_is_there(written: Path) -> None:
    found = {str(path.relative_to(written / "pages")) for path in written.glob("pages/**/*.md")}
    assert listed(json.loads((written / "mkdocs.yml").read_text())["nav"]) == found
    assert "deploy.md" in found


def anchors(text: str) -> set[str]:
    """What headings are called in an address."""
    heads = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S), re.M)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", head.lower()).strip()) for head in heads}


def broken(folder: Path, files: list[Path]) -> list[str]:
    """Links of Markdown files to files or headings that are not there."""
    wrong: list[str] = []
    for path in files:
        for link in LINK.findall(re.sub(r"^```.*?^```$|`[^`\n]*`", "", path.read_text("utf-8"), flags=re.M | re.S)):
            where, _, anchor = link.partition("#")
            if where.startswith(("http:", "https:", "mailto:")):
                continue
            target = (path.parent / where).resolve() if where else path
            if not target.exists() or (anchor and anchor not in anchors(target.read_text("utf-8"))):
                wrong.append(f"{path.relative_to(folder)}: {link}")
    return wrong


def test_links_lead_somewhere_on_the_pages_and_in_the_checkout(written: Path, tmp_path: Path) -> None:
    assert broken(written, list(written.glob("pages/**/*.md"))) == []
    made = {"reference/"}  # of pages that are made from the program
    wrong = broken(ROOT, [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
    assert [one for one in wrong if not any(part in one for part in made)] == []
    (tmp_path / "a.md").write_text("# A b\n[x](#a-b) [y](#c) [z](gone.md)\n")
    assert broken(tmp_path, [tmp_path / "a.md"]) == ["a.md: #c", "a.md: gone.md"]


def test_the_reference_has_every_skill_with_its_addresses_and_fields() -> None:
    text = "\n".join(pages.reference().values())
    sections = {part.split("\n", 1)[0]: part for part in re.split(r"^## ", text, flags=re.M)}
    for made in Skills.load():
        section = sections[made.name]
        wanted = [f"{one.method} {one.path}" for one in made.rest] + sorted(made.scopes)
        wanted += [made.mcp.tool] if made.mcp else []
        wanted += [made.a2a.id] if made.a2a else []
        wanted += list(made.input_schema().get("properties", {})) if made.typed else []
        wanted += list((made.output_schema() or {}).get("properties", {}))
        assert [one for one in wanted if f"`{one}`" not in section] == [], made.name


def test_the_reference_has_every_command_error_and_event() -> None:
    made = pages.reference()
    for command in ("serve", "health", "providers add", "backup restore", "mcp-servers set-client"):
        assert f"\n## hubroute {command}\n" in made["commands.md"]
    drawn = re.findall(r"^ +(\w+) +(?:\d{3}|its own)", errors.__doc__ or "", re.M)
    assert len(drawn) > 20
    assert [name for name in drawn if f"`{name}`" not in made["errors.md"]] == []
    assert [name for name in EVENTS if f"`{name}`" not in made["events.md"]] == []
    for provider in ("demo", "anthropic", "ollama"):
        assert f"`{provider}`" in made["providers.md"]


def test_a_schema_as_fields() -> None:
    node = {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]}, "tags": {"type": "array"}}}
    schema = {
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": {"type": "string", "description": "What it is called."},
            "size": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None},
            "nodes": {"type": "array", "items": {"$ref": "#/$defs/Node"}},
            "more": {"type": "object", "additionalProperties": {"$ref": "#/$defs/Node"}},
            "mode": {"enum": ["a", "b"]},
        },
        "$defs": {"Node": node},
    }
    shown = {field.path: (field.kind, field.needed, field.default) for field in schemas.fields(schema)}
    assert shown == {
        "name": ("string", True, ""),
        "size": ("integer or null", False, "null"),
        "nodes": ("list of object", False, ""),
        "nodes[].next": ("object or null", False, ""),
        "nodes[].tags": ("list of any", False, ""),
        "more": ("object", False, ""),
        "more.*.next": ("object or null", False, ""),
        "more.*.tags": ("list of any", False, ""),
        "mode": ('"a" or "b"', False, ""),
    }
