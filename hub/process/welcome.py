"""What a serving hub says at its start: where it listens and, once, the owner link, one key and snippets to paste."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hub.login.owner import LINK_HOURS
from hub.records import Caller
from hub.version import VERSION

if TYPE_CHECKING:
    from hub.call import Hub
    from hub.settings import Settings


async def greeting(hub: Hub) -> str:
    """The words of this start. On the first one (no key exists) it makes the first key and the owner link."""
    settings = hub.settings
    lines = [f"HubRoute {VERSION} listens on {settings.base_url} (data in {settings.data_dir}; Ctrl-C stops it)"]
    if not hub.store.keys.all():
        ctx = hub.context(Caller.owner(), "cli")
        made = await hub.call(hub.find("keys-create"), {"name": "first", "scopes": ["operator"]}, ctx)
        link = "" if (await hub.login.record.get()).password else await owner_link(hub)
        lines += ["", first_words(settings, made.key, link), ""]
    return "\n".join(lines)


async def owner_link(hub: Hub) -> str:
    """A new link to the page where the owner sets a password; the store keeps its digest only, and an older link ends."""
    return f"{hub.settings.base_url}/owner?token={await hub.login.record.new_link()}"


def command() -> list[str]:
    """How another program starts this very installation of ``hubroute``."""
    beside = Path(sys.executable).with_name("hubroute")
    if beside.is_file():
        return [str(beside)]
    return [sys.executable, "-P", str(Path(__file__).parents[1] / "launcher.py")]


def mcp_stdio(settings: Settings) -> dict[str, Any]:
    """The entry of an ``mcp.json`` that starts ``hubroute mcp`` on this data folder."""
    program, *args = command()
    return {"command": program, "args": [*args, "mcp"], "env": {"HUBROUTE_DATA_DIR": str(settings.data_dir.absolute())}}


def mcp_http(settings: Settings, key: str) -> dict[str, Any]:
    """The entry of an ``mcp.json`` that connects to this hub over HTTP."""
    return {"type": "http", "url": f"{settings.base_url}/api/mcp/stream", "headers": {"Authorization": f"Bearer {key}"}}


def first_words(settings: Settings, key: str, link: str) -> str:
    """Everything a new owner needs, ready to paste; shown once."""
    base = settings.base_url
    stdio = mcp_stdio(settings)
    folder = shlex.quote(f"HUBROUTE_DATA_DIR={stdio['env']['HUBROUTE_DATA_DIR']}")
    started = shlex.join([stdio["command"], *stdio["args"]])
    program = shlex.join(command())
    owner = f"Owner link (sets the dashboard's password, within {LINK_HOURS} hours): {link}" if link else f"Dashboard: {base}/login"
    return f"""\
This is its first start, and this is shown once.

  {owner}
  API key (operator; keep it): {key}

No provider is connected yet: the built-in demo answers at every door until you add one:
  {program} providers add PROVIDER --name NAME --api-key -      (`{program} providers catalog` lists them)

Claude Code
  claude mcp add hubroute --env {folder} -- {started}
  claude mcp add --transport http hubroute {base}/api/mcp/stream --header "Authorization: Bearer {key}"

mcp.json of Claude Code (.mcp.json) and Cursor (.cursor/mcp.json), started by the client:
{_indented({"mcpServers": {"hubroute": stdio}})}
the same over HTTP:
{_indented({"mcpServers": {"hubroute": mcp_http(settings, key)}})}

A2A agent card: {base}/.well-known/agent-card.json      (send `Authorization: Bearer {key}`)

OpenAI SDK
  from openai import OpenAI
  client = OpenAI(base_url="{base}/v1", api_key="{key}")
  print(client.chat.completions.create(model="auto", messages=[{{"role": "user", "content": "Hello"}}]).choices[0].message.content)

curl
  curl {base}/v1/chat/completions -H "Authorization: Bearer {key}" -H "Content-Type: application/json" \\
    -d '{{"model": "auto", "messages": [{{"role": "user", "content": "Hello"}}]}}'
"""


def _indented(value: dict[str, Any]) -> str:
    return "\n".join(f"  {line}" for line in json.dumps(value, indent=2).splitlines())
