"""The reference of skills, made of the registry: a page for each file of ``skills/``."""

from __future__ import annotations

import sys
from collections import defaultdict
from functools import cache
from typing import TYPE_CHECKING

from hub.registry import Skills
from manual.markdown import code, plain, table
from manual.schemas import listed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hub.skill import Skill

_INTRODUCTION = """\
# Skills

Everything that the hub can do, {count} skills. Each has one definition; its addresses at the doors are made of it. Any of them is called by
`hubroute call NAME JSON` on the hub's machine, and within its scopes by a key elsewhere. A running hub describes itself: by
`GET /openapi.json`, `tools/list` and the agent card, and on the dashboard's page Skills, with a form to try each.

"""


@cache
def _groups() -> Mapping[str, list[Skill]]:
    found: dict[str, list[Skill]] = defaultdict(list)
    for made in Skills.load():
        found[made.run.__module__.rpartition(".")[2].strip("_")].append(made)
    return dict(sorted(found.items()))


def titles() -> dict[str, str]:
    """The title of each page by its name."""
    return {f"{name}.md": _title(name) for name in _groups()}


def pages() -> dict[str, str]:
    """Every page by its name."""
    return {"index.md": _index(), **{f"{name}.md": _page(name, made) for name, made in _groups().items()}}


def _title(name: str) -> str:
    words = name.replace("_", " ")
    for short in ("mcp", "acp", "a2a", "ip", "rtk"):
        words = " ".join(short.upper() if word == short else word for word in words.split())
    return words[0].upper() + words[1:]


def _index() -> str:
    rows = [
        (f"[{made.name}]({name}.md#{made.name})", plain(made.summary), ", ".join(map(code, sorted(made.scopes))))
        for name, group in _groups().items()
        for made in group
    ]
    return _INTRODUCTION.format(count=len(rows)) + table(("skill", "what it does", "scopes"), sorted(rows))


def _page(name: str, group: list[Skill]) -> str:
    module = sys.modules[group[0].run.__module__]
    first = (module.__doc__ or "").strip().split("\n\n")[0]
    return "\n".join([f"# {_title(name)}", "", plain(first), "", *map(_section, group)])


def _section(made: Skill) -> str:
    rest = made.description[len(made.summary) :].strip()
    parts = [f"## {made.name}", plain(made.summary), *(plain(part) for part in rest.split("\n\n") if part), _facts(made)]
    if made.typed:
        parts += ["**Input**", listed(made.input_schema())]
    else:
        parts.append("It takes the request of its door as it is.")
    output = made.output_schema()
    if output is not None:
        parts += ["**Each event**" if made.streams else "**Output**", listed(output, output=True)]
    else:
        parts.append("Its answer is no JSON object of the hub: a file, or what its door's dialect says.")
    return "\n\n".join(parts) + "\n"


def _facts(made: Skill) -> str:
    marks = [
        words
        for words, holds in (
            ("reads only", made.read_only),
            ("destroys", made.destructive),
            ("may be repeated", made.idempotent and not made.read_only),
            ("streams", made.streams),
        )
        if holds
    ]
    rows = [
        ("REST", ", ".join(_address(made))),
        ("MCP tool", code(made.mcp.tool) if made.mcp else ""),
        ("MCP resource", ", ".join(code(one.uri) for one in made.resources)),
        ("agent skill", code(made.a2a.id) if made.a2a else ""),
        ("scopes", ", ".join(map(code, sorted(made.scopes)))),
        ("cost", made.cost.value),
        ("marks", ", ".join(marks)),
    ]
    return "\n".join(f"- {name}: {words}" for name, words in rows if words)


def _address(made: Skill) -> list[str]:
    said: list[str] = []
    for one in made.rest:
        notes = ["no key needed"] if one.public else []
        notes += [f"moved to {code(one.moved)}"] if one.moved else []
        notes += ["takes a form too"] if one.form else []
        said.append(code(f"{one.method} {one.path}") + (f" ({', '.join(notes)})" if notes else ""))
    return said
