"""``hubroute connect`` and ``disconnect`` as a user has them: child processes, a hub that runs, a home folder of their own."""

from __future__ import annotations

import json
import os
import stat
import tomllib
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest
from fastmcp import Client

from hub.connect.catalog import clients
from tests.fakes.command import Served, answer, serving
from tests.hub.connect.conftest import Person

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def person(alone: Person) -> Person:
    return alone


@pytest.fixture
def live(person: Person) -> Iterator[Served]:
    with serving(person.folder) as served:
        yield served


def _keys(person: Person, name: str) -> list[dict[str, Any]]:
    return [key for key in answer(person.folder, "keys", "list")["keys"] if key["name"] == name]


def _refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 1, done.stdout
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, done.stderr
    assert all(word in lines[0] for word in words), lines[0]
    assert "Traceback" not in done.stderr


def test_a_key_is_made_named_reused_and_revoked(person: Person, live: Served) -> None:
    """SEC-21: what is shown has no key in it; the key works as long as the client is connected."""
    done = person("connect", "claude", "--yes")
    assert done.returncode == 0, done.stderr
    entry = json.loads(person.file("claude").read_text())["mcpServers"]["hubroute"]
    assert entry["url"] == f"{live.url}/api/mcp/stream"
    key = entry["headers"]["Authorization"].removeprefix("Bearer ")
    assert key not in done.stdout + done.stderr
    [made] = [one for one in _keys(person, "claude") if not one["revokedAt"]]
    assert key.startswith(made["keyPrefix"].rstrip("…"))
    assert "manage" not in made["scopes"]
    bearer = {"authorization": f"Bearer {key}"}
    assert httpx.get(f"{live.url}/v1/models", headers=bearer).status_code == 200
    assert "already" in person("connect", "claude", "--yes").stderr
    person.ok("connect", "claude", "--models", "--yes")
    settings = json.loads(person.file("claude", "models").read_text())
    assert settings["env"] == {"ANTHROPIC_BASE_URL": live.url, "ANTHROPIC_AUTH_TOKEN": key}
    assert len([one for one in _keys(person, "claude") if not one["revokedAt"]]) == 1
    gone = person("disconnect", "claude", "--yes")
    assert "revoked" in gone.stderr
    assert key not in gone.stdout + gone.stderr
    assert httpx.get(f"{live.url}/v1/models", headers=bearer).status_code == 401
    assert not person.file("claude").exists()
    assert not person.file("claude", "models").exists()


def test_a_revoked_key_is_replaced(person: Person, live: Served) -> None:
    person.ok("connect", "cursor", "--yes")
    old = json.loads(person.file("cursor").read_text())["mcpServers"]["hubroute"]["headers"]["Authorization"]
    assert person("keys", "revoke", _keys(person, "cursor")[0]["id"]).returncode == 0
    person.ok("connect", "cursor", "--yes")
    new = json.loads(person.file("cursor").read_text())["mcpServers"]["hubroute"]["headers"]["Authorization"]
    assert new != old
    assert httpx.get(f"{live.url}/v1/models", headers={"authorization": new}).status_code == 200
    person.ok("disconnect", "cursor", "--yes")
    assert httpx.get(f"{live.url}/v1/models", headers={"authorization": new}).status_code == 401


@pytest.mark.parametrize("options", [[], ["--stdio"]], ids=["http", "stdio"])
@pytest.mark.usefixtures("live")
def test_the_entry_works(person: Person, options: list[str]) -> None:
    """A real MCP client reads the file and lists the tools the key may use."""
    person.ok("connect", "claude", *options, "--scopes", "read-only", "--yes")
    config = json.loads(person.file("claude").read_text())

    async def tools() -> list[str]:
        async with Client(config) as session:
            return [tool.name for tool in await session.list_tools()]

    names = anyio.run(tools)
    assert any("health" in name for name in names)
    assert not any("set_budget" in name for name in names)
    person.ok("disconnect", "claude", "--yes")


def test_it_asks_and_no_is_no(person: Person) -> None:
    path = person.write("cursor", '{\n  "a": 1\n}\n')
    for given in ("n\n", ""):
        done = person("connect", "cursor", stdin=given)
        assert done.returncode != 0
        assert '+    "hubroute": {' in done.stdout
        assert path.read_text() == '{\n  "a": 1\n}\n'
    assert not (person.folder / "hubroute.db").exists()
    assert person("connect", "cursor", stdin="y\n").returncode == 0
    assert "hubroute" in path.read_text()


@pytest.mark.parametrize("option", ["--dry-run", "--print"])
def test_looking_changes_nothing(person: Person, option: str) -> None:
    done = person("connect", "vscode", option)
    assert done.returncode == 0
    assert "YOUR_HUBROUTE_KEY" in done.stdout or '"…"' in done.stdout
    assert list(person.home.iterdir()) == []
    assert not person.folder.exists()


def test_the_name_of_a_variable_instead_of_the_key(person: Person) -> None:
    done = person("connect", "codex", "--env", "--models", "--yes")
    assert done.returncode == 0, done.stderr
    key = done.stdout.split("export HUBROUTE_API_KEY=")[1].strip()
    tree = tomllib.loads(person.file("codex").read_text())
    assert tree["mcp_servers"]["hubroute"]["bearer_token_env_var"] == "HUBROUTE_API_KEY"
    assert tree["model_providers"]["hubroute"]["env_key"] == "HUBROUTE_API_KEY"
    assert key not in person.file("codex").read_text()
    again = person("connect", "codex", "--env", "--models", "--yes")
    assert "already" in again.stderr
    assert again.stdout == ""
    person.ok("disconnect", "codex", "--yes")
    assert all(one["revokedAt"] for one in _keys(person, "codex"))
    set_here = person("connect", "cursor", "--env", "--yes", HUBROUTE_API_KEY="hr_x")
    assert "export" not in set_here.stdout
    assert "${env:HUBROUTE_API_KEY}" in person.file("cursor").read_text()
    _refused(person("connect", "zed", "--env", "--yes"), "Zed", "--env")
    _refused(person("connect", "claude", "--env", "--models", "--yes"), "Claude Code")


def test_a_file_the_client_changed_meanwhile_keeps_its_changes(person: Person) -> None:
    path = person.write("claude", '{\n  "a": 1\n}\n')
    person.ok("connect", "claude", "--key", "hr_given_key_0123456789", "--yes")
    tree = json.loads(path.read_text())
    path.write_text(json.dumps({**tree, "tipsHistory": {"x": 3}}, indent=2) + "\n")
    person.ok("disconnect", "claude", "--yes")
    assert path.read_text() == '{\n  "a": 1,\n  "tipsHistory": {\n    "x": 3\n  }\n}\n'


def test_what_was_replaced_comes_back_and_what_the_user_chose_since_stays(person: Person) -> None:
    path = person.write("codex", 'model = "gpt"\nmodel_provider = "azure"\n')
    person.ok("connect", "codex", "--models", "--model", "auto", "--key", "hr_given_key_0123456789", "--yes")
    text = path.read_text().replace('model = "auto"', 'model = "mine"') + "\n[new]\nx = 1\n"
    path.write_text(text)
    person.ok("disconnect", "codex", "--yes")
    assert tomllib.loads(path.read_text()) == {"model": "mine", "model_provider": "azure", "new": {"x": 1}}


def test_without_a_receipt_our_entry_still_goes(person: Person) -> None:
    path = person.write("gemini-cli", '{"mcpServers": {"hubroute": {"httpUrl": "x"}, "b": {}}}')
    person.ok("disconnect", "gemini-cli", "--yes")
    assert path.read_text() == '{"mcpServers": {"b": {}}}'


@pytest.mark.parametrize(
    ("name", "text", "where"),
    [
        ("cursor", '{\n  "a": 1,\n  oops\n}', "line 3"),
        ("codex", 'a = 1\nb = "\n', "line 2"),
        ("qwen", "[]", "not an object"),
        ("zed", "\x00", "line 1"),
    ],
)
def test_a_malformed_file_is_never_overwritten(person: Person, name: str, text: str, where: str) -> None:
    path = person.write(name, text)
    for command in ("connect", "disconnect"):
        _refused(person(command, name, "--yes"), str(path), where)
    assert path.read_text() == text
    assert not (person.folder / "hubroute.db").exists()
    row = next(row for row in json.loads(person.ok("connect", "--list", "--json")) if row["client"] == name)
    assert row["connected"] == "unreadable"


def test_bytes_that_are_no_text_are_never_overwritten(person: Person) -> None:
    path = person.write("cursor", "")
    path.write_bytes(b'{"a": "\xff"}')
    _refused(person("connect", "cursor", "--yes"), str(path), "UTF-8")
    assert path.read_bytes() == b'{"a": "\xff"}'


def test_a_file_with_comments_is_left_alone_and_the_lines_are_printed(person: Person) -> None:
    text = '// Zed settings\n{\n  "theme": "One Dark",\n}\n'
    path = person.write("zed", text)
    done = person("connect", "zed", "--yes")
    _refused(done, str(path), "comments")
    assert json.loads(done.stdout)["context_servers"]["hubroute"]["url"]
    assert path.read_text() == text


def test_yaml_is_printed(person: Person) -> None:
    done = person("connect", "goose", "--yes")
    _refused(done, "YAML")
    assert "extensions:\n  hubroute:\n" in done.stdout
    _refused(person("disconnect", "goose"), "YAML", "by hand")


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_link_out_of_the_home_is_refused(person: Person, tmp_path: Path, kind: str) -> None:
    """SEC-40: nothing outside the home folder is read into it or written."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "mcp.json").write_text('{"secret": 1}')
    path = person.file("cursor")
    if kind == "file":
        path.parent.mkdir()
        path.symlink_to(outside / "mcp.json")
    else:
        path.parent.symlink_to(outside)
    done = person("connect", "cursor", "--yes")
    _refused(done, str(path), "outside")
    assert "secret" not in done.stdout
    assert (outside / "mcp.json").read_text() == '{"secret": 1}'
    assert [one.name for one in outside.iterdir()] == ["mcp.json"]


def test_a_link_inside_the_home_stays_a_link(person: Person) -> None:
    dotfiles = person.home / "dotfiles"
    dotfiles.mkdir()
    (dotfiles / "mcp.json").write_text("{}")
    path = person.file("cursor")
    path.parent.mkdir()
    path.symlink_to(dotfiles / "mcp.json")
    person.ok("connect", "cursor", "--yes")
    assert path.is_symlink()
    assert "hubroute" in (dotfiles / "mcp.json").read_text()
    person.ok("disconnect", "cursor", "--yes")
    assert path.is_symlink()
    assert path.read_text() == "{}"


def test_what_is_no_plain_file_is_refused(person: Person) -> None:
    path = person.file("cursor")
    path.mkdir(parents=True)
    _refused(person("connect", "cursor", "--yes"), "plain file")
    path.rmdir()
    os.mkfifo(path)
    _refused(person("connect", "cursor", "--yes"), "plain file")


def test_a_folder_that_cannot_be_written_changes_nothing_and_leaves_no_key(person: Person) -> None:
    """A file stands where the folder should be, which stops even root."""
    blocked = person.home / ".qwen"
    blocked.write_text("in the way")
    done = person("connect", "qwen", "--yes")
    _refused(done, "qwen")
    assert blocked.read_text() == "in the way"
    assert not (person.folder / "hubroute.db").exists() or all(one["revokedAt"] for one in _keys(person, "qwen"))


def test_writing_can_be_switched_off(person: Person) -> None:
    for variable in ("CLI_ALLOW_CONFIG_WRITES", "HUBROUTE_CLI_ALLOW_CONFIG_WRITES"):
        _refused(person("connect", "cursor", "--yes", **{variable: "false"}), "CLI_ALLOW_CONFIG_WRITES")
        assert person("connect", "cursor", "--dry-run", **{variable: "false"}).returncode == 0
    assert list(person.home.iterdir()) == []


def test_copies_and_receipts_are_the_owners_alone(person: Person) -> None:
    person.write("windsurf", '{"token": "theirs"}')
    person.ok("connect", "windsurf", "--yes")
    kept = list((person.folder / "clients").rglob("*"))
    assert kept
    for path in kept:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    assert "theirs" in "".join(path.read_text() for path in kept if path.suffix == ".copy")


def test_the_diff_hides_other_people_s_secrets(person: Person) -> None:
    """SEC-21"""
    person.write(
        "cursor",
        '{\n  "mcpServers": {\n    "x": {"headers": {"Authorization": "Bearer abc-secret"}, "env": {"API_KEY": "s3cret"}}\n  }\n}\n',
    )
    done = person("connect", "cursor", "--dry-run")
    assert "hubroute" in done.stdout
    assert "abc-secret" not in done.stdout
    assert "s3cret" not in done.stdout


def test_list_names_every_client(person: Person) -> None:
    person.write("cursor", "{}")
    rows = {row["client"]: row for row in json.loads(person.ok("connect", "--list", "--json"))}
    assert sorted(rows) == sorted(clients())
    assert rows["cursor"]["installed"]
    assert rows["cursor"]["connected"] == "no"
    assert person.ok("connect").splitlines()[0].split("\t")[0] == "client"


def test_wrong_use(person: Person) -> None:
    _refused(person("connect", "cluade"), "claude")
    for args in (["claude", "--no-key"], ["claude", "--model", "x"], ["claude", "--url", "ftp://x"]):
        assert person("connect", *args).returncode == 2
    _refused(person("connect", "zed", "--models"), "Zed")
    _refused(person("connect", "openclaw"), "which model")


def test_clients_find_the_doors_that_their_requests_go_to(person: Person, live: Served) -> None:
    """What a client's own protocol asks for is served: a bad request is told so, and is not at a wrong address."""
    key = answer(person.folder, "keys", "create", "probe", "--scopes", "chat")["key"]
    headers = {"authorization": f"Bearer {key}"}
    for door in ("/v1/chat/completions", "/v1/messages", "/v1/responses"):
        assert httpx.post(f"{live.url}{door}", headers=headers, json={}).status_code == 400, door
    for name in ("claude", "codex"):
        assert "warning" not in person("connect", name, "--models", "--dry-run").stderr
