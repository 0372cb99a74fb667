"""What ``hubroute doctor`` finds: each check in each of its states, and nothing changed by looking."""

from __future__ import annotations

import os
import socket
import sqlite3
import time
from typing import TYPE_CHECKING, Any

import pytest

from hub.call import Hub
from hub.oauth.issuer import Issuer as Trusted
from hub.process import checkup
from hub.process.serve import hosted
from hub.registry import Skills
from hub.settings import Settings
from tests.fakes.issuer import Issuer
from tests.fakes.upstream import FaultUpstream, json_answer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from hub.process.checkup import Finding

pytestmark = pytest.mark.anyio

MODELS = json_answer({"object": "list", "data": [{"id": "m1"}]})


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("HUBROUTE_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return Settings(data_dir=tmp_path / "data", port=sock.getsockname()[1])


@pytest.fixture
async def hub(settings: Settings) -> AsyncIterator[Hub]:
    made = Hub(settings)
    await made.open()
    yield made
    await made.close()


def by_name(findings: list[Finding]) -> dict[str, tuple[str, str]]:
    return {one.check: (one.state, one.words) for one in findings}


def machine(settings: Settings, check: str) -> tuple[str, str]:
    return by_name(checkup.machine(settings))[check]


def test_the_program() -> None:
    found = by_name(checkup.program())
    assert set(found) == {"python", "sqlite", "httptools", "uvloop"}
    assert {state for state, _ in found.values()} == {"ok"}


@pytest.mark.parametrize(
    ("version", "fault"),
    [
        ((3, 6, 99), False), ((3, 7, 0), True), ((3, 44, 5), True), ((3, 44, 6), False), ((3, 44, 7), False), ((3, 45, 9), True),
        ((3, 50, 6), True), ((3, 50, 7), False), ((3, 51, 2), True), ((3, 51, 3), False), ((3, 52, 0), False), ((4, 0, 0), False),
    ],
)  # fmt: skip
def test_the_known_fault_of_sqlite(version: tuple[int, int, int], fault: bool) -> None:
    """REL-11: the WAL-reset fault, mended in 3.51.3 and in two older lines."""
    found = checkup.sqlite(version)
    assert found.state == "ok"
    assert ("has the WAL-reset fault" in found.words) is fault


def test_a_library_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkup, "find_spec", lambda name: None if name == "uvloop" else object())
    found = by_name(checkup.program())
    assert found["uvloop"][0] == "warn"
    assert found["httptools"][0] == "ok"


def test_variables_that_are_no_settings(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HUBROUTE_PORT", "HUBROUTE_CONFIG", "HUBROUTE_API_KEY", "HUBROUTE_TEST_POSTGRES"):
        monkeypatch.setenv(name, "1")
    assert machine(settings, "settings")[0] == "ok"
    monkeypatch.setenv("HUBROUTE_PROT", "1")
    monkeypatch.setenv("HUBROUTE_HOTS", "1")
    assert machine(settings, "settings") == (
        "warn", "no setting has the name HUBROUTE_HOTS, HUBROUTE_PROT; `hubroute settings` lists them",
    )  # fmt: skip


def test_the_folder(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = settings.data_dir
    assert machine(settings, "data folder") == ("ok", f"{folder} will be made at the first start")
    assert not folder.exists()
    folder.mkdir(mode=0o700)
    assert machine(settings, "data folder") == ("ok", f"{folder}, mode 0700")
    folder.chmod(0o755)
    assert machine(settings, "data folder")[0] == "warn"
    assert "chmod 700" in machine(settings, "data folder")[1]
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert machine(settings, "data folder")[0] == "fail"
    folder.rmdir()
    folder.write_text("")
    assert machine(settings, "data folder") == ("fail", f"{folder} is not a folder; choose another with --data-dir")


async def test_a_file_in_the_folder_s_place_does_not_end_the_checks(settings: Settings) -> None:
    settings.data_dir.write_text("")
    found = [*checkup.machine(settings), *await checkup.store(settings), *await checkup.providers(settings, online=True)]
    failed = {one.check for one in found if one.state == "fail"}
    assert failed == {"data folder", "master key", "providers"}
    assert {one.check for one in found} >= {"owner", "port", "clock", "database"}


def test_the_port(settings: Settings) -> None:
    assert machine(settings, "port") == ("ok", f"127.0.0.1:{settings.port} is free")
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", settings.port))
        sock.listen()
        state, words = machine(settings, "port")
    assert state == "fail"
    assert "--port" in words
    assert machine(Settings(data_dir=settings.data_dir, host="::1", port=0), "port")[1] == "::1:0 is free"


def test_the_clock(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """REL-12."""
    assert machine(settings, "clock")[0] == "ok"
    settings.data_dir.mkdir()
    database = settings.data_dir / "hubroute.db"
    database.touch()
    ahead = time.time() + 7200
    os.utime(database, (ahead, ahead))
    state, words = machine(settings, "clock")
    assert (state, "the clock was set back" in words) == ("warn", True)
    monkeypatch.setattr(checkup.time, "time", lambda: 1_000_000.0)
    state, words = machine(settings, "clock")
    assert (state, "1970" in words) == ("fail", True)


async def test_before_the_first_start_nothing_is_made(settings: Settings) -> None:
    found = by_name(await checkup.store(settings))
    assert found["database"][0] == "ok"
    assert found["migrations"][1].startswith("the next start runs ")
    assert found["master key"][1].startswith("will be made at the first start, in the file (")
    assert not settings.data_dir.exists()
    assert machine(settings, "owner") == ("ok", "no hub runs on this folder")
    shared = settings.model_copy(update={"database_url": "postgresql://127.0.0.1/x"})
    assert machine(shared, "owner") == ("ok", "PostgreSQL: any number of processes may share it")


async def test_after_a_stop(settings: Settings) -> None:
    made = Hub(settings, skills=Skills({}))
    await made.open()
    await made.close()
    found = by_name(await checkup.store(settings))
    assert found["database"] == ("ok", f"SQLite in {settings.data_dir}")
    assert found["migrations"] == ("ok", "none pending")
    assert found["master key"][0] == "ok"
    (settings.data_dir / "master.key").unlink()
    state, words = by_name(await checkup.store(settings))["master key"]
    assert (state, "put it back" in words) == ("fail", True)


async def test_beside_a_running_hub(hub: Hub) -> None:
    """Its own state is asked of it, and nobody else touches its database."""
    settings = hub.settings
    url = f"http://127.0.0.1:{settings.port}"
    async with hosted(hub, url=url):
        found = by_name([*checkup.machine(settings), *await checkup.store(settings)])
        assert f"process {os.getpid()} runs the hub; it answers at {url}" in found["owner"][1]
        assert found["port"] == ("ok", f"127.0.0.1:{settings.port} is in use by this hub")
        assert found["database"][1].startswith("sqlite, answers the hub in ")
        assert found["migrations"] == ("ok", "none pending: the hub runs on it")
    async with hosted(hub, url=""):
        assert machine(settings, "owner")[1].endswith("it answers at the control socket only")


async def test_a_running_hub_whose_database_fails(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from hub.errors import Unavailable

    async def broken(work: Any) -> Any:
        raise Unavailable("the disk is gone")

    async with hosted(hub, url=""):
        with monkeypatch.context() as patch:
            patch.setattr(hub.store._database, "read", broken)
            found = by_name(await checkup.store(hub.settings))
        assert found["database"] == ("fail", "the hub runs, but its database does not answer; see its log")


async def test_a_database_that_is_no_database(settings: Settings) -> None:
    """REL-11: said, and left as it is."""
    settings.data_dir.mkdir()
    file = settings.data_dir / "hubroute.db"
    file.write_bytes(b"not a database at all" * 100)
    found = by_name(await checkup.store(settings))
    assert found["database"][0] == "fail"
    assert file.read_bytes().startswith(b"not a database")
    with pytest.raises(sqlite3.DatabaseError):
        sqlite3.connect(file).execute("SELECT 1 FROM x").fetchall()


@pytest.mark.parametrize(
    ("given", "state", "words"),
    [
        ({"master_key": "bm90IDMyIGJ5dGVz"}, "fail", ""),
        ({"master_key": "A" * 43 + "="}, "ok", "from HUBROUTE_MASTER_KEY"),
    ],
)
async def test_the_master_key_of_the_environment(settings: Settings, given: dict[str, Any], state: str, words: str) -> None:
    found = by_name(await checkup.store(settings.model_copy(update=given)))["master key"]
    assert found[0] == state
    assert words in found[1]


async def test_a_keychain_is_named(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    class Empty:
        def read(self, suffix: str) -> None:
            return None

    monkeypatch.setattr(checkup.vault, "source", lambda settings: Empty())
    found = by_name(await checkup.store(settings.model_copy(update={"master_key_source": "keychain"})))["master key"]
    assert found == ("ok", "will be made at the first start, in the system's keychain")


async def test_providers_are_called_only_when_asked_for(hub: Hub) -> None:
    settings = hub.settings
    made = hub.store.connections.create
    async with FaultUpstream() as upstream, hosted(hub, url=""):
        upstream.answer(
            MODELS,
            json_answer({"error": {"message": "no such page"}}, status=404),
            json_answer({"error": {"message": "bad key"}}, status=401),
        )
        assert by_name(await checkup.providers(settings, online=True)) == {"providers": ("ok", "none connected; the built-in demo answers")}
        for name in ("a", "b", "c"):
            await made(provider="openai", name=name, secret=f"sk-{name}-secret", base_url=f"{upstream.url}/v1", allow_private=True)
        off = await made(provider="openai", name="off", secret="sk-off-secret", base_url=f"{upstream.url}/v1")
        await hub.store.connections.update(off.id, active=False)
        assert "--online" in by_name(await checkup.providers(settings, online=False))["providers"][1]
        assert upstream.requests == []
        found = by_name(await checkup.providers(settings, online=True))
        assert {name: state for name, (state, _) in found.items()} == {"provider a": "ok", "provider b": "warn", "provider c": "fail"}
        assert "bad key" in found["provider c"][1]


async def test_providers_behind_a_hub_that_cannot_start(settings: Settings) -> None:
    settings.data_dir.mkdir()
    (settings.data_dir / "hubroute.db").write_bytes(b"not a database at all" * 100)
    found = by_name(await checkup.providers(settings, online=True))
    assert found["providers"][0] == "fail"


async def test_authorization_servers(settings: Settings) -> None:
    """Is each one there, and could a client log in: what is wrong in words that say what to do."""
    assert await checkup.issuers(settings) == []
    async with Issuer() as issuer:

        async def found(**options: Any) -> tuple[str, str]:
            entry = settings.model_copy(update={"oauth_issuers": (Trusted(issuer=issuer.issuer, **options),)})
            return by_name(await checkup.issuers(entry))[f"issuer {issuer.issuer}"]

        here = f"http://127.0.0.1:{settings.port}"
        assert await found(audience=("api://hub",)) == ("ok", f"keys for RS256; its tokens must be for {here} or api://hub")
        issuer.described = {"code_challenge_methods_supported": ["plain"]}
        assert "PKCE" in (await found())[1]
        issuer.described = {"scopes_supported": ["openid"]}
        assert await found(grants=("operator",)) == ("ok", f"keys for RS256; its tokens must be for {here}")
        state, words = await found()
        assert (state, "mcp:connect" in words) == ("warn", True)
        assert "opens the MCP" in (await found(scopes={"a": ("chat",)}))[1]
        issuer.described = {"issuer": "https://other.example"}
        state, words = await found()
        assert (state, "exactly as it names itself" in words) == ("fail", True)
        assert (await found(jwks_url=f"{issuer.url}/keys"))[0] == "ok"


async def test_the_owner_s_identity_provider(settings: Settings) -> None:
    async with Issuer(openid=True) as issuer:
        entry = settings.model_copy(update={"oidc_issuer": issuer.issuer})
        name = f"identity provider {issuer.issuer}"
        state, words = by_name(await checkup.issuers(entry))[name]
        assert (state, words.endswith(f"127.0.0.1:{settings.port}/api/auth/oidc/callback")) == ("ok", True)
        issuer.described = {"token_endpoint": ""}
        assert by_name(await checkup.issuers(entry))[name][0] == "fail"
        issuer.described = {"issuer": "https://other.example"}
        assert "exactly as it names itself" in by_name(await checkup.issuers(entry))[name][1]
