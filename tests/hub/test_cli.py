"""The command line as a user has it: child processes, real data folders, a hub that runs and none."""

from __future__ import annotations

import json
import re
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import psutil
import pytest

from hub.cli import in_front
from tests.fakes.command import COMMAND, ROOT, Served, answer, environment, hubroute, serving
from tests.fakes.database import postgres_database

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cli") / "data"


@pytest.fixture(scope="module")
def live(folder: Path) -> Iterator[Served]:
    with serving(folder) as served:
        yield served


def _bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def _one_line(text: str) -> str:
    """An error as it must be: one line that begins so, and no traceback."""
    assert text.startswith("error: "), text
    assert text.count("\n") == 1, text
    return text


def test_first_start_gives_a_key_a_link_and_snippets_once(live: Served) -> None:
    words = live.words
    key = re.search(r"API key .*: (hr_\w+)", words)
    assert key is not None
    assert httpx.get(f"{live.url}/v1/models", headers=_bearer(key[1])).status_code == 200
    assert f"{live.url}/.well-known/agent-card.json" in words
    assert "claude mcp add hubroute" in words
    entries = [json.loads(found)["mcpServers"]["hubroute"] for found in re.findall(r"^  \{\n(?:.*\n)*?  \}$", words, re.M)]
    assert [sorted(entry) for entry in entries] == [["args", "command", "env"], ["headers", "type", "url"]]
    assert Path(entries[0]["command"]).is_absolute()
    assert entries[1]["headers"]["Authorization"] == f"Bearer {key[1]}"


def test_owner_link_sets_a_password_once_and_the_pages_hold_no_secret(live: Served) -> None:
    link = re.search(r"Owner link .*: (http\S+)", live.words)
    assert link is not None
    assert httpx.head(link[1]).status_code == 200  # a link preview does not use it up, and neither does a look
    first = httpx.get(link[1])
    assert first.status_code == 200
    assert "yours" in first.text
    assert "script" not in first.headers["content-security-policy"].replace("default-src 'none'", "")
    assert first.headers["referrer-policy"] == "same-origin"
    done = httpx.post(f"{live.url}/owner", data={"token": link[1].partition("=")[2], "password": "correct horse"})
    assert (done.status_code, done.headers["location"]) == (303, "/dashboard/start")
    assert httpx.get(link[1]).status_code == 404
    assert httpx.get(f"{live.url}/owner").status_code == 404
    page = httpx.get(live.url)
    assert page.status_code == 303
    assert page.headers["location"] == "/login"


def test_what_the_hub_keeps_is_the_owners_alone(live: Served, folder: Path) -> None:
    assert live.process.poll() is None
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for name in ("hub.sock", "hub.json", "hub.lock", "master.key", "hubroute.db"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600, name


def test_a_hub_with_nothing_set_up_calls_nobody(live: Served) -> None:
    """SEC-74"""
    connections = psutil.Process(live.process.pid).net_connections("inet")
    assert {one.status for one in connections} <= {"LISTEN", "ESTABLISHED"}
    assert all(one.laddr.ip == "127.0.0.1" for one in connections)
    assert all(one.raddr.ip == "127.0.0.1" for one in connections if one.raddr)


def test_a_key_made_beside_a_running_hub_works_at_once_until_it_is_revoked(live: Served, folder: Path) -> None:
    made = answer(folder, "keys", "create", "ci", "--scopes", "read:models,chat")
    assert made["scopes"] == ["read:models", "chat"]
    assert httpx.get(f"{live.url}/v1/models", headers=_bearer(made["key"])).status_code == 200
    assert "ci" in [key["name"] for key in answer(folder, "keys", "list")["keys"]]
    assert hubroute(folder, "keys", "revoke", "ci").returncode == 0
    assert httpx.get(f"{live.url}/v1/models", headers=_bearer(made["key"])).status_code == 401


def test_a_key_is_the_only_line_of_output_without_json(live: Served, folder: Path) -> None:
    done = hubroute(folder, "keys", "create", "piped")
    assert re.fullmatch(r"hr_\w+\n", done.stdout)
    assert "this once" in done.stderr


def test_provider_connections(live: Served, folder: Path) -> None:
    known = answer(folder, "providers", "catalog", "openai")
    assert "openai" in [row["id"] for row in known]
    done = hubroute(
        folder, "providers", "add", "openai", "--name", "mine", "--api-key", "-", "--priority", "3", "--json", stdin="sk-secret-1\n"
    )
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert made["priority"] == 3
    assert "sk-secret-1" not in done.stdout
    assert [one["name"] for one in answer(folder, "providers", "list")["connections"]] == ["mine"]
    assert hubroute(folder, "providers", "remove", "mine").returncode == 0
    assert answer(folder, "providers", "list")["connections"] == []
    gone = hubroute(folder, "providers", "remove", "mine")
    assert gone.returncode == 1
    assert "mine" in _one_line(gone.stderr)


def test_providers_test_says_what_failed_and_fails(live: Served, folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: connecting is refused
        base = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        answer(folder, "providers", "add", "openai", "--name", "dead", "--api-key", "k", "--base-url", base, "--allow-private")
        done = hubroute(folder, "providers", "test", "--json")
    hubroute(folder, "providers", "remove", "dead")
    assert done.returncode == 1
    [report] = json.loads(done.stdout)
    assert (report["name"], report["valid"]) == ("dead", False)
    assert report["error"]


def test_models_chat_and_skills(live: Served, folder: Path) -> None:
    assert answer(folder, "models")["models"]
    said = hubroute(folder, "chat", "hello there")
    assert said.returncode == 0, said.stderr
    assert "hello there" in said.stdout
    assert hubroute(folder, "chat", stdin="from a pipe").stdout
    listed = hubroute(folder, "skills").stdout
    assert "keys-create" in listed


def test_call_takes_json_a_file_or_standard_input(live: Served, folder: Path) -> None:
    (folder.parent / "ask.json").write_text('{"limit": 1}')
    for data, stdin in (('{"limit": 1}', ""), ("@ask.json", ""), ("-", '{"limit": 1}')):
        done = hubroute(folder, "call", "keys-list", data, "--json", stdin=stdin)
        assert len(json.loads(done.stdout)["keys"]) == 1, done.stderr
    table = hubroute(folder, "call", "keys-list").stdout
    assert table.startswith("id\tname")
    pieces = hubroute(folder, "call", "smart-routing-stream", '{"messages": [{"content": "hi"}]}', "--json").stdout
    assert "hi" in "".join(json.loads(line)["text"] for line in pieces.splitlines())


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (("call", "keys-lst"), 1, "no skill 'keys-lst'"),
        (("call", "keys-create", "{}"), 1, "name: Field required"),
        (("call", "chat"), 1, "HTTP address"),
        (("call", "keys-list", "{"), 2, "not valid JSON"),
        (("call", "keys-list", "[]"), 2, "not a JSON object"),
        (("call", "keys-list", "@none.json"), 2, "none.json"),
        (("keys", "create", "x", "--scopes", "everything"), 1, "everything"),
        (("keys", "create"), 2, "hubroute keys create --help"),
        (("keys", "revoke", "nobody"), 1, "nobody"),
        (("providers", "add", "nonesuch", "--api-key", "k"), 1, "nonesuch"),
        (("providers", "add", "openai", "--api-key", "k", "--data", "region"), 2, "name=value"),
        (("nonsense",), 2, "nonsense"),
        (("serve",), 1, "already owns"),
        (("chat", "-m", "x" * 300, "hi"), 1, "model"),
    ],
)
def test_what_goes_wrong_is_one_line_and_an_exit_code(live: Served, folder: Path, args: tuple[str, ...], code: int, words: str) -> None:
    done = hubroute(folder, *args)
    assert (done.returncode, done.stdout) == (code, "")
    assert words in _one_line(done.stderr)


def test_a_port_that_is_taken_is_named(live: Served, tmp_path: Path) -> None:
    done = hubroute(tmp_path / "other", "serve", "--port", live.url.rsplit(":", 1)[1])
    assert done.returncode == 1
    assert "choose another with --port" in _one_line(done.stderr)


def test_doctor_beside_a_hub_and_alone(live: Served, folder: Path, tmp_path: Path) -> None:
    port = live.url.rsplit(":", 1)[1]
    told = answer(folder, "doctor", HUBROUTE_PORT=port)
    checks = {one["check"]: one["finding"] for one in told["checks"]}
    assert told["ok"]
    assert str(live.process.pid) in checks["owner"]
    assert "this hub" in checks["port"]
    alone = answer(tmp_path / "none", "doctor", "--data-dir", str(tmp_path / "none"), HUBROUTE_PORT="0", HUBROUTE_PROT="1")
    states = {one["check"]: one["state"] for one in alone["checks"]}
    assert states["settings"] == "warn"
    assert not (tmp_path / "none").exists()  # looking changes nothing
    busy = hubroute(tmp_path / "none", "doctor", HUBROUTE_PORT=port)
    assert busy.returncode == 1
    assert "error: 1 of " in busy.stderr


def test_keys_and_connections_without_a_running_hub(tmp_path: Path) -> None:
    data = tmp_path / "data"
    key = answer(data, "keys", "create", "offline", "--scopes", "*")["key"]
    made = answer(data, "providers", "add", "openai", "--name", "early", "--api-key", "k")
    with serving(data) as served:
        assert "first start" not in served.words
        found = httpx.get(f"{served.url}/api/providers", headers=_bearer(key)).json()
        assert [one["id"] for one in found["connections"]] == [made["id"]]
        assert served.stop() == 0
    assert not (data / "hub.sock").exists()
    assert not (data / "hub.json").exists()


def test_commands_at_the_same_time_wait_for_one_another(tmp_path: Path) -> None:
    """D24: with no hub each of them owns the folder for a moment."""
    data = tmp_path / "data"
    run = [*COMMAND, "keys", "create", "same-time"]
    processes = [subprocess.Popen(run, env=environment(data), stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(3)]
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    assert len(answer(data, "keys", "list")["keys"]) == 3


def test_on_postgresql_a_running_hub_sees_a_new_key_within_a_second(tmp_path: Path) -> None:
    """D24: there every process has a hub of its own."""
    with postgres_database() as url, serving(tmp_path / "data", HUBROUTE_DATABASE_URL=url) as served:
        made = answer(tmp_path / "data", "keys", "create", "shared", "--scopes", "chat", HUBROUTE_DATABASE_URL=url)
        transport = httpx.HTTPTransport(retries=0)
        with httpx.Client(transport=transport, headers=_bearer(made["key"])) as client:
            statuses = [client.get(f"{served.url}/v1/models").status_code]
            deadline = psutil.time.monotonic() + 1.0
            while statuses[-1] == 401 and psutil.time.monotonic() < deadline:
                statuses.append(client.get(f"{served.url}/v1/models").status_code)
        assert statuses[-1] == 200
        assert served.stop() == 0


def test_settings_come_from_flags_then_environment_then_file(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "hubroute.toml").write_text('port = 7001\nlog_level = "warning"\nhost = "localhost"\n')

    def value(name: str, *args: str, **env: str) -> object:
        rows = {row["setting"]: row["value"] for row in answer(data, "settings", *args, **env)}
        return rows[f"HUBROUTE_{name}"]

    assert value("PORT") == 7001
    assert value("PORT", HUBROUTE_PORT="7002") == 7002
    other = tmp_path / "other.toml"
    other.write_text("port = 7003\n")
    assert value("PORT", "--config", str(other)) == 7003
    assert value("DATA_DIR", "--data-dir=elsewhere") == "elsewhere"
    assert value("MASTER_KEY", HUBROUTE_MASTER_KEY="c2VjcmV0") == "set"


@pytest.mark.parametrize(
    ("args", "env", "words"),
    [
        (("serve",), {"HUBROUTE_PORT": "many"}, "HUBROUTE_PORT"),
        (("serve", "--port", "70000"), {}, "port"),
        (("serve", "--port", "many"), {}, "serve --help"),
        (("serve", "--host", "0.0.0.0"), {"HUBROUTE_REQUIRE_API_KEY": "false"}, "loopback only"),
        (("keys", "list", "--config", "none.toml"), {}, "no such file"),
        (("keys", "list", "--database-url", "mysql://x"), {}, "postgresql://"),
        (("keys", "list"), {"HUBROUTE_CONFIG": "broken.toml"}, "TOML"),
    ],
)
def test_wrong_settings_are_one_line_and_exit_code_2(tmp_path: Path, args: tuple[str, ...], env: dict[str, str], words: str) -> None:
    """SEC-05 for the key check: off beyond loopback is refused, not passed."""
    (tmp_path / "broken.toml").write_text("port = = 1")
    done = hubroute(tmp_path / "data", *args, **env)
    assert done.returncode == 2
    assert words in _one_line(done.stderr)
    assert not (tmp_path / "data").exists()


def test_a_database_that_cannot_be_reached_is_one_line(tmp_path: Path) -> None:
    done = hubroute(tmp_path / "data", "keys", "list", "--database-url", "postgresql://who:sesame@127.0.0.1:1/none")
    assert done.returncode == 1
    assert "sesame" not in _one_line(done.stderr)


def test_help_is_clean_and_without_arguments_shown() -> None:
    shown = subprocess.run([*COMMAND, "--help"], capture_output=True, text=True, check=True).stdout
    commands = shown.split("Commands:\n")[1].split("\n\n")[0].splitlines()
    assert [line.split()[0] for line in commands] == [
        "serve", "mcp", "connect", "disconnect", "models", "chat", "call", "skills", "doctor", "settings", "providers", "keys",
        "owner", "mcp-servers", "agents", "batches", "audit", "backup", "evals",
    ]  # fmt: skip
    assert all(len(line.split()) > 3 and not line.rstrip().endswith("...") for line in commands)
    assert "Traceback" not in shown


def test_shared_options_move_in_front_of_the_command() -> None:
    assert in_front(["keys", "list", "--data-dir", "/d", "--json"]) == ["--data-dir", "/d", "keys", "list", "--json"]
    assert in_front(["keys", "list", "--config=c"]) == ["--config=c", "keys", "list"]
    assert in_front(["chat", "--", "--data-dir", "x"]) == ["chat", "--", "--data-dir", "x"]
    assert in_front(["keys", "--data-dir"]) == ["--data-dir", "keys"]


def test_what_a_start_imports(tmp_path: Path) -> None:
    """performance.md 5: cold start. What a serving hub does not need at once it must not import."""
    data = tmp_path / "data"
    assert hubroute(data, "keys", "create", "first").returncode == 0
    script = """
import asyncio, importlib, sys
import hub.cli, hub.process.serve
from hub.process.reach import open_hub
from hub.settings import Settings
async def start():
    hub = await open_hub(Settings())
    importlib.import_module("transports._server")
    importlib.import_module("transports._http").build(hub)
    await hub.close()
asyncio.run(start())
heavy = "mcp mcp_types a2a fastmcp sqlmodel sqlalchemy alembic httpx httpx2 genai_prices rich psycopg starlette grpc".split()
print([name for name in heavy if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment(data), capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stdout + done.stderr
