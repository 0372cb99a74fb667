"""Settings: where a value comes from, in which order, and which combinations are refused."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

from hub.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.upper().startswith("HUBROUTE_") or name.upper() == "REQUIRE_API_KEY":
            monkeypatch.delenv(name)
    monkeypatch.setenv("HUBROUTE_DATA_DIR", str(tmp_path))


def toml(folder: Path, text: str, name: str = "hubroute.toml") -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_defaults_are_safe() -> None:
    """SEC-05, D4: loopback, keys needed, no private addresses, no shipped secret."""
    settings = Settings()
    assert (settings.host, settings.port, settings.loopback) == ("127.0.0.1", 20128, True)
    assert settings.require_api_key
    assert not settings.allow_private
    assert settings.master_key == settings.database_url == settings.test_profile == ""


def test_flags_over_environment_over_file_over_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toml(tmp_path, 'port = 1111\nlog_level = "debug"\nflush_ms = 7\n')
    assert Settings().port == 1111
    monkeypatch.setenv("HUBROUTE_PORT", "2222")
    monkeypatch.setenv("hubroute_log_level", "error")
    assert (Settings().port, Settings().log_level, Settings().flush_ms) == (2222, "error", 7)
    settings = Settings(port=3333)
    assert (settings.port, settings.log_level, settings.flush_ms, settings.host) == (3333, "error", 7, "127.0.0.1")


def test_the_file_is_looked_for_where_the_data_is_or_where_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "other"
    other.mkdir()
    toml(other, "port = 1\n")
    named = toml(tmp_path, "port = 2\n", "mine.toml")
    assert Settings().port == 20128
    assert Settings(data_dir=other).port == 1
    monkeypatch.setenv("HUBROUTE_CONFIG", str(named))
    assert Settings(data_dir=other).port == 2
    monkeypatch.delenv("HUBROUTE_DATA_DIR")
    monkeypatch.delenv("HUBROUTE_CONFIG")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert Settings().data_dir.name == "hubroute"
    assert Settings().port == 20128


@pytest.mark.parametrize(
    ("variables", "file", "flags", "want"),
    [
        ({}, "", {}, True),
        ({"HUBROUTE_REQUIRE_API_KEY": "false"}, "", {}, False),
        ({"REQUIRE_API_KEY": "false"}, "", {}, False),
        ({"require_api_key": "0"}, "", {}, False),
        ({"HUBROUTE_REQUIRE_API_KEY": "true", "REQUIRE_API_KEY": "false"}, "", {}, True),
        ({}, "require_api_key = false", {}, False),
        ({"HUBROUTE_REQUIRE_API_KEY": "true"}, "require_api_key = false", {}, True),
        ({"REQUIRE_API_KEY": "true"}, "require_api_key = false", {}, True),
        ({"HUBROUTE_REQUIRE_API_KEY": "true"}, "", {"require_api_key": False}, False),
        ({"HUBROUTE_REQUIRE_API_KEY": "false"}, "", {"require_api_key": True}, True),
        ({"REQUIRE_API_KEY": "false"}, "require_api_key = false", {"require_api_key": True}, True),
    ],
)
def test_whether_keys_are_needed(
    variables: dict[str, str], file: str, flags: dict[str, bool], want: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The seed's REQUIRE_API_KEY works too, and ours wins over it."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    toml(tmp_path, file)
    assert Settings(**flags).require_api_key is want


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "hub.example.com", "127.0.0.2", ""])
@pytest.mark.parametrize(
    ("setting", "value"), [("require_api_key", False), ("test_profile", "conformance")], ids=["without keys", "test profile"]
)
def test_what_is_refused_beyond_loopback(host: str, setting: str, value: object) -> None:
    """SEC-05: the process refuses to start, and says why."""
    with pytest.raises(ValidationError, match=rf"{setting}.* is allowed on loopback only, not on {host}"):
        Settings(host=host, **{setting: value})
    assert not Settings(host=host).loopback


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_what_is_allowed_on_loopback(host: str) -> None:
    settings = Settings(host=host, require_api_key=False, test_profile="conformance")
    assert settings.loopback


@pytest.mark.parametrize(
    ("given", "want", "postgres"),
    [
        ("", "", False),
        ("sqlite:////data/x.db", "sqlite:////data/x.db", False),
        ("postgresql://a:b@c/d", "postgresql://a:b@c/d", True),
        ("postgres://a:b@c/postgres://d", "postgresql://a:b@c/postgres://d", True),
    ],
)
def test_databases(given: str, want: str, postgres: bool) -> None:
    settings = Settings(database_url=given)
    assert (settings.database_url, settings.postgres) == (want, postgres)


@pytest.mark.parametrize("given", ["mysql://a:secret-word@b/c", "data.db", "sqlite://", "POSTGRESQL://a:secret-word@b/c"])
def test_other_databases_are_refused(given: str) -> None:
    with pytest.raises(ValidationError, match="write sqlite:///path or postgresql://"):
        Settings(database_url=given)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", -1), ("port", 65536), ("max_body_mb", 0), ("connect_timeout", 0), ("first_byte_timeout", -1), ("idle_timeout", 0),
        ("attempt_limit", 0), ("attempt_limit", 31), ("request_seconds", 0), ("flush_ms", 0), ("flush_ms", 5001), ("queue_rows", 99),
        ("shutdown_seconds", -1), ("log_level", "loud"), ("log_format", "xml"), ("demo", "maybe"), ("master_key_source", "cloud"),
    ],
)  # fmt: skip
def test_values_out_of_bounds(name: str, value: object) -> None:
    with pytest.raises(ValidationError) as caught:
        Settings(**{name: value})
    assert [error["loc"] for error in caught.value.errors()] == [(name,)]


def test_secrets_do_not_show() -> None:
    """SEC-22."""
    settings = Settings(master_key="canary-master", database_url="postgresql://u:canary-word@h/d")
    assert "canary" not in repr(settings) + str(settings)


def test_settings_are_frozen_and_strangers_passed_over() -> None:
    settings = Settings(unheard_of=1)
    with pytest.raises(ValidationError):
        settings.port = 1


@pytest.mark.parametrize(
    ("given", "want"),
    [
        ({}, "http://127.0.0.1:20128"),
        ({"host": "::1", "port": 80}, "http://[::1]:80"),
        ({"host": "0.0.0.0", "public_url": "https://hub.example.com/"}, "https://hub.example.com"),
    ],
)
def test_the_address_that_clients_are_told(given: dict[str, object], want: str) -> None:
    assert Settings(**given).base_url == want


def test_every_setting_is_explained() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_trusted_proxies_are_addresses_or_networks(tmp_path: Path) -> None:
    assert Settings(data_dir=tmp_path, trusted_proxies="10.0.0.0/8, ::1").trusted_proxies == "10.0.0.0/8, ::1"
    with pytest.raises(ValidationError, match=r"proxy\.example"):
        Settings(data_dir=tmp_path, trusted_proxies="10.0.0.1, proxy.example")
