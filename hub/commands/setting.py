"""``hubroute settings``: every setting with its value, and the page of the documentation about them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from hub.commands.session import AsJson, settings_of
from hub.commands.show import show
from hub.settings import Settings

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

_INTRODUCTION = """\
# Settings

Written by `hubroute settings --markdown > docs/settings.md`; a test holds it equal to the program.

A flag wins over the environment, the environment over the TOML file, the file over the default. The file is
`hubroute.toml` in the data folder, or what `--config` or `HUBROUTE_CONFIG` names; its keys are the names below in lower
case without `HUBROUTE_`. `HUBROUTE_API_KEY` is no setting: `hubroute mcp` takes it as the key whose authority it has.

| variable | default | meaning |
| --- | --- | --- |
"""


def settings(
    ctx: typer.Context,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the documentation page.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show every setting, its value and its meaning."""
    if markdown:
        print(page(), end="")
        return
    now = settings_of(ctx)
    rows = [
        {"setting": f"HUBROUTE_{name.upper()}", "value": _value(now, name, info), "meaning": info.description}
        for name, info in Settings.model_fields.items()
    ]
    show(rows, as_json=as_json)


def page() -> str:
    """The documentation page about settings."""
    lines = [f"| `HUBROUTE_{name.upper()}` | {_default(info)} | {info.description} |" for name, info in Settings.model_fields.items()]
    return _INTRODUCTION + "\n".join(lines) + "\n"


def _default(info: FieldInfo) -> str:
    if info.default_factory is not None:
        return "the user's data folder"
    default: Any = info.default
    if default in ("", ()):
        return "empty"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _value(now: Settings, name: str, info: FieldInfo) -> Any:
    """The value as text; one that may hold a secret is not shown."""
    value = getattr(now, name)
    if isinstance(value, tuple):
        return ", ".join(map(str, cast("tuple[object, ...]", value)))
    if info.repr:
        return value if isinstance(value, (bool, int, float)) else str(value)
    return "set" if value else ""
