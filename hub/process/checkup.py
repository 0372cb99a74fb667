"""What ``hubroute doctor`` looks at: program, machine, store, issuers of tokens and providers. Nothing here changes anything."""

from __future__ import annotations

import os
import socket
import sqlite3
import stat
import sys
import time
from importlib.util import find_spec
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from hub import vault
from hub.access import scopes
from hub.clock import Clock
from hub.errors import HubError
from hub.login import oidc
from hub.oauth.keycache import KeyCache
from hub.outbound.client import Outbound
from hub.process.control import Remote, about
from hub.process.mending import lives
from hub.process.reach import reach
from hub.settings import Settings
from hub.store import Store
from hub.store.lock import holder

State = Literal["ok", "warn", "fail"]

#: The WAL-reset fault (libraries.md, trap 3): in 3.7.0 to 3.51.2, mended in 3.51.3 and in two older lines.
_FAULT_FROM, _FAULT_MENDED = (3, 7, 0), (3, 51, 3)
_BACKPORTS = {(3, 50): 7, (3, 44): 6}

#: Variables that are no settings of the model.
_OTHER_VARIABLES = frozenset({"HUBROUTE_CONFIG", "HUBROUTE_API_KEY"})
_YEAR_2026, _YEAR_2100 = 1_767_225_600, 4_102_444_800


class Finding(msgspec.Struct, frozen=True):
    """One check: its name, how it went, and in words what was found and what to do."""

    check: str
    state: State
    words: str


def program() -> list[Finding]:
    """Python, SQLite and the libraries that speed is built on."""
    version = ".".join(map(str, sys.version_info[:3]))
    return [
        Finding("python", "ok" if sys.version_info >= (3, 11) else "fail", f"{version} at {sys.executable}"),
        sqlite(sqlite3.sqlite_version_info),
        _library("httptools", "fail"),
        _library("uvloop", "warn"),
    ]


def sqlite(version: tuple[int, ...]) -> Finding:
    """Whether a version of SQLite has the WAL-reset fault, and why that does not hurt here."""
    name = ".".join(map(str, version))
    mended = version >= _FAULT_MENDED or version[2] >= _BACKPORTS.get((version[0], version[1]), 1000)
    if version < _FAULT_FROM or mended:
        return Finding("sqlite", "ok", f"{name}, without the WAL-reset fault")
    return Finding(
        "sqlite",
        "ok",
        f"{name} has the WAL-reset fault: two writers can corrupt the file (mended in 3.51.3). The hub keeps one writer, so it cannot"
        " strike; do not write to the database with other programs while a hub runs",
    )


def _library(name: str, missing: State) -> Finding:
    if find_spec(name) is None:
        return Finding(name, missing, "not installed; install hubroute again (`make run` does in a checkout)")
    return Finding(name, "ok", "installed")


def machine(settings: Settings) -> list[Finding]:
    """Variables, data folder, who owns it, the port and the clock."""
    return [_variables(), _folder(settings), _owner(settings), _port(settings), _clock(settings)]


def _variables() -> Finding:
    known = {f"HUBROUTE_{name.upper()}" for name in Settings.model_fields} | _OTHER_VARIABLES
    strange = sorted(name for name in os.environ if name.startswith("HUBROUTE_") and name not in known and "_TEST_" not in name)
    if strange:
        return Finding("settings", "warn", f"no setting has the name {', '.join(strange)}; `hubroute settings` lists them")
    return Finding("settings", "ok", "every HUBROUTE_ variable is a setting")


def _folder(settings: Settings) -> Finding:
    folder = settings.data_dir
    if not folder.exists():
        return Finding("data folder", "ok", f"{folder} will be made at the first start")
    if not folder.is_dir():
        return Finding("data folder", "fail", f"{folder} is not a folder; choose another with --data-dir")
    mode = stat.S_IMODE(folder.stat().st_mode)
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        return Finding("data folder", "fail", f"{folder} cannot be written by this user; mend its owner or mode ({mode:04o})")
    if mode & 0o077:
        return Finding("data folder", "warn", f"{folder} has mode {mode:04o}, so others can look into it; run: chmod 700 {folder}")
    return Finding("data folder", "ok", f"{folder}, mode {mode:04o}")


def _owner(settings: Settings) -> Finding:
    if settings.postgres:
        return Finding("owner", "ok", "PostgreSQL: any number of processes may share it")
    pid = holder(settings.data_dir / "hub.lock")
    if pid is None:
        return Finding("owner", "ok", "no hub runs on this folder")
    where = about(settings.data_dir).get("url") or "the control socket only"
    return Finding("owner", "ok", f"process {pid or '?'} runs the hub; it answers at {where}")


def _port(settings: Settings) -> Finding:
    where = f"{settings.host}:{settings.port}"
    url: str = about(settings.data_dir).get("url", "")
    if url and urlsplit(url).port == settings.port and _serves(settings):
        return Finding("port", "ok", f"{where} is in use by this hub")
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((settings.host, settings.port))
        except OSError as error:
            return Finding("port", "fail", f"{where} cannot be used ({error.strerror}); stop what uses it, or choose another with --port")
    return Finding("port", "ok", f"{where} is free")


def _serves(settings: Settings) -> bool:
    """Whether the hub that wrote where it answers is still there; on PostgreSQL nobody holds the folder."""
    if settings.postgres:
        return lives(int(about(settings.data_dir).get("pid", 0)))
    return holder(settings.data_dir / "hub.lock") is not None


def _clock(settings: Settings) -> Finding:
    now = time.time()
    if not _YEAR_2026 < now < _YEAR_2100:
        return Finding(
            "clock", "fail", f"the clock says {time.strftime('%Y-%m-%d', time.gmtime(now))}; set it, or keys and TLS will not work"
        )
    newest = max((path.stat().st_mtime for path in settings.data_dir.glob("hubroute.db*")), default=0.0)
    if newest > now + 60:
        return Finding("clock", "warn", f"the database was written {round(newest - now)} s in the future: the clock was set back")
    return Finding("clock", "ok", time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now)))


async def store(settings: Settings) -> list[Finding]:
    """Database, migrations and master key; asked of the hub where one runs."""
    key = _master_key(settings)
    try:
        remote = None if settings.postgres else await Remote.connect(settings.data_dir)
        if remote is not None:
            try:
                return [*_told(await remote.call("health", {})), key]
            finally:
                await remote.close()
        return [*await _looked_at(settings), key]
    except (HubError, OSError) as error:
        return [Finding("database", "fail", _words(error)), key]


def _told(health: dict[str, Any]) -> list[Finding]:
    state = health["store"]
    if not state["ok"]:
        return [Finding("database", "fail", "the hub runs, but its database does not answer; see its log")]
    return [
        Finding("database", "ok", f"{state['dialect']}, answers the hub in {state['latencyMs']} ms"),
        Finding("migrations", "ok", "none pending: the hub runs on it"),
    ]


async def _looked_at(settings: Settings) -> list[Finding]:
    looked = Store(settings, Clock())
    try:
        pending = await looked.pending_migrations()
        shrinks = await looked.shrinks()
    finally:
        await looked.close()
    where = "PostgreSQL answers" if settings.postgres else f"SQLite in {settings.data_dir}"
    words = f"the next start runs {', '.join(pending)}" if pending else "none pending"
    found = [Finding("database", "ok", where), Finding("migrations", "ok", words)]
    return found if shrinks else [*found, _grown()]


def _grown() -> Finding:
    """A file of an earlier version keeps the room of deleted rows; only writing it anew changes that, which is the owner's to start."""
    how = 'sqlite3 hubroute.db "PRAGMA auto_vacuum=INCREMENTAL; VACUUM"'
    return Finding(
        "file size", "warn", f"the file does not shrink when old rows are deleted; with the hub stopped and a backup made, run: {how}"
    )


def _master_key(settings: Settings) -> Finding:
    where = "HUBROUTE_MASTER_KEY" if settings.master_key else f"the {settings.master_key_source} ({settings.data_dir / 'master.key'})"
    if not settings.master_key and settings.master_key_source == "keychain":
        where = "the system's keychain"
    try:
        key = vault.source(settings).read("")
    except (HubError, OSError) as error:
        return Finding("master key", "fail", _words(error))
    if key is not None:
        return Finding("master key", "ok", f"{vault.fingerprint(key)}, from {where}")
    if any(settings.data_dir.glob("hubroute.db")):
        return Finding(
            "master key", "fail", f"there is a database but no master key in {where}; put it back, or stored credentials are lost"
        )
    return Finding("master key", "ok", f"will be made at the first start, in {where}")


async def providers(settings: Settings, *, online: bool) -> list[Finding]:
    """Every connected provider, when the network may be used."""
    if not online:
        return [Finding("providers", "ok", "not called; `hubroute doctor --online` calls each of them")]
    try:
        async with reach(settings) as hub:
            connections = (await hub.call("connections-list", {}))["connections"]
            found = [_provider(one, await hub.call("connections-test", {"id": one["id"]})) for one in connections if one["isActive"]]
    except (HubError, OSError) as error:
        return [Finding("providers", "fail", _words(error))]
    return found or [Finding("providers", "ok", "none connected; the built-in demo answers")]


async def issuers(settings: Settings) -> list[Finding]:
    """Every authorization server whose tokens are taken, and the owner's identity provider: is it there, has it keys, who can log in?"""
    outbound = Outbound(allow_private=settings.allow_private)
    try:
        found = [await _issuer(KeyCache(one, outbound, Clock()), settings.base_url) for one in settings.oauth_issuers]
        if settings.oidc_issuer:
            found.append(await _identity(KeyCache(oidc.provider(settings), outbound, Clock()), settings.base_url))
        return found
    finally:
        await outbound.aclose()


async def _issuer(cache: KeyCache, here: str) -> Finding:
    name = f"issuer {cache.issuer}"
    try:
        keys = await cache.current()
    except HubError:
        return Finding(name, "fail", f"{cache.fault}; until it answers, its tokens are refused with 503")
    finally:
        await cache.close()
    doubt = _doubt(cache)
    audiences = " or ".join((here, *cache.issuer.audience))
    found = f"keys for {', '.join(keys.algorithms) or 'nothing'}; its tokens must be for {audiences}"
    return Finding(name, "warn" if doubt else "ok", doubt or found)


async def _identity(cache: KeyCache, here: str) -> Finding:
    name = f"identity provider {cache.issuer}"
    try:
        keys = await cache.current()
    except HubError:
        return Finding(name, "fail", f"{cache.fault}; until it answers, nobody can log in by it")
    finally:
        await cache.close()
    if cache.metadata is None or not cache.metadata.authorization_endpoint or not cache.metadata.token_endpoint:
        return Finding(name, "fail", "its metadata names no endpoints for a login; is it the issuer of an OpenID Connect provider?")
    return Finding(name, "ok", f"keys for {', '.join(keys.algorithms)}; the address to register there is {here}{oidc.CALLBACK}")


def _doubt(cache: KeyCache) -> str:
    """Why clients could fail to get a token that opens the MCP and A2A doors."""
    issuer, metadata = cache.issuer, cache.metadata
    door = frozenset({"mcp:connect"})
    asked = list(issuer.ask) or issuer.asking(door)
    if not asked and not door <= scopes.expand(issuer.grants):
        return "none of its tokens opens the MCP and A2A doors: give mcp:connect by `scopes` or `grants`"
    if metadata is None:
        return ""
    if "S256" not in metadata.code_challenge_methods_supported:
        return f"{metadata.found_at} does not name PKCE with S256, so MCP clients will not log in there"
    strange = [name for name in asked if metadata.scopes_supported and name not in metadata.scopes_supported]
    if strange:
        words = f"clients will ask it for {', '.join(strange)}, which {metadata.found_at} does not list"
        return f"{words}: define it there, or set `scopes` or `ask`"
    return ""


def _words(error: HubError | OSError) -> str:
    return error.message if isinstance(error, HubError) else f"{error.filename}: {error.strerror}"


def _provider(connection: dict[str, Any], report: dict[str, Any]) -> Finding:
    name = f"provider {connection['name']}"
    if not report["valid"]:
        return Finding(name, "fail", report["error"] or "it does not accept the connection")
    return Finding(name, "warn" if report["warning"] else "ok", report["warning"] or f"answers in {report['latencyMs']} ms")
