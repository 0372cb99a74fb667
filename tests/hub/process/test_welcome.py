"""The words of a start: all that a new owner needs, once, and ready to paste."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hub.call import Hub
from hub.errors import NotFound
from hub.process import welcome
from hub.settings import Settings
from tests.fakes.clock import Still

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Hub]:
    made = Hub(Settings(data_dir=tmp_path / "my data", port=4711, public_url="https://hub.example.com/"), clock=Still())
    await made.open()
    yield made
    await made.close()


async def test_the_first_start_tells_all_and_the_next_ones_where_only(hub: Hub) -> None:
    first = await welcome.greeting(hub)
    key = re.search(r"API key .*: (hr_\w+)", first)
    assert key is not None
    caller = hub.authenticate(key[1])
    assert (caller.name, "manage" in caller.scopes) == ("first", False)
    assert first.count(key[1]) > 3
    again = await welcome.greeting(hub)
    assert again == first.splitlines()[0]
    assert "https://hub.example.com" in again
    assert "hr_" not in again


async def test_the_owner_s_link_is_stored_as_a_digest_with_its_end(hub: Hub) -> None:
    link = await welcome.owner_link(hub)
    base, _, token = link.partition("?token=")
    assert base == "https://hub.example.com/owner"
    stored = (await hub.login.record.get()).link
    assert stored is not None
    assert stored.expires_at == hub.clock.now_ms() + 24 * 3_600_000
    assert token not in stored.digest
    assert len(token) >= 40
    assert await welcome.owner_link(hub) != link
    with pytest.raises(NotFound):
        await hub.login.record.check_link(token)


async def test_snippets_are_what_clients_read(hub: Hub) -> None:
    words = welcome.first_words(hub.settings, "hr_key", "https://link")
    found = [json.loads(block) for block in re.findall(r"^  \{\n(?:.*\n)*?  \}$", words, re.M)]
    stdio, http = (entry["mcpServers"]["hubroute"] for entry in found)
    assert stdio["args"][-1] == "mcp"
    assert stdio["env"]["HUBROUTE_DATA_DIR"] == str(hub.settings.data_dir)
    assert http == {"type": "http", "url": "https://hub.example.com/api/mcp/stream", "headers": {"Authorization": "Bearer hr_key"}}
    assert f"'HUBROUTE_DATA_DIR={hub.settings.data_dir}'" in words  # the folder's name has a space
    python = re.search(r"OpenAI SDK\n((?:  .*\n)+)", words)
    assert python is not None
    compile(re.sub(r"^  ", "", python[1], flags=re.M), "snippet", "exec")
    body = re.search(r"-d '(.*)'", words)
    assert body is not None
    assert json.loads(body[1])["model"] == "auto"


def test_the_command_is_this_installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beside = tmp_path / "hubroute"
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    program, *args = welcome.command()
    assert program == str(tmp_path / "python")
    assert Path(args[-1]).is_file()
    beside.touch()
    assert welcome.command() == [str(beside)]


def test_the_command_starts() -> None:
    done = subprocess.run([*welcome.command(), "--help"], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0
    assert "serve" in done.stdout
