"""Issuers in the settings: how they are written, what is refused, and what clients are told to ask for."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from hub.access.scopes import ALL
from hub.oauth.issuer import Issuer
from hub.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

AS = "https://login.example"


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.upper().startswith("HUBROUTE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HUBROUTE_DATA_DIR", str(tmp_path))


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("", []),
        (AS, [AS]),
        (f" {AS} , http://127.0.0.1:9/realms/a,", [AS, "http://127.0.0.1:9/realms/a"]),
        (json.dumps({"issuer": AS, "grants": ["operator"]}), [AS]),
        (json.dumps([{"issuer": AS}, "https://b.example/"]), [AS, "https://b.example/"]),
    ],
)
def test_from_the_environment(text: str, want: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUBROUTE_OAUTH_ISSUERS", text)
    assert [one.issuer for one in Settings().oauth_issuers] == want


def test_from_the_file(tmp_path: Path) -> None:
    (tmp_path / "hubroute.toml").write_text(
        f'[[oauth_issuers]]\nissuer = "{AS}"\naudience = ["api://hub"]\n[oauth_issuers.scopes]\n"hub.use" = ["operator"]\n'
    )
    issuer = Settings().oauth_issuers[0]
    assert (issuer.audience, issuer.scopes) == (("api://hub",), {"hub.use": ("operator",)})


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"issuer": "http://login.example"}, "must be https"),
        ({"issuer": "http://127.0.0.1.evil.example"}, "must be https"),
        ({"issuer": "login.example"}, "http"),
        ({"issuer": "https://user:word@login.example"}, "user name"),
        ({"issuer": f"{AS}?x=1"}, "no query"),
        ({"issuer": f"{AS}#x"}, "fragment"),
        ({"issuer": "javascript:alert(1)"}, "http"),
        ({"issuer": AS, "jwks_url": "http://keys.example"}, "jwks_url must be https"),
        ({"issuer": AS, "grants": ["no-such-scope"]}, "unknown grants"),
        ({"issuer": AS, "scopes": {"a": ["nothing:*"]}}, "unknown grants"),
        ({"issuer": AS, "ask": ['x", evil="1']}, "cannot be asked for"),
        ({"issuer": AS, "audiences": ["x"]}, "Extra inputs"),
        ({"issuer": AS, "daily_usd": -1}, "greater than 0"),
        ({}, "issuer"),
    ],
)
def test_entries_that_are_refused(entry: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """SEC-05: an issuer that anybody could answer for, or words that mean nothing, do not start."""
    monkeypatch.setenv("HUBROUTE_OAUTH_ISSUERS", json.dumps([entry]))
    with pytest.raises(ValidationError, match=words):
        Settings()


def test_what_does_not_go_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUBROUTE_OAUTH_ISSUERS", f"{AS},{AS}")
    with pytest.raises(ValidationError, match="twice"):
        Settings()
    monkeypatch.setenv("HUBROUTE_OAUTH_ISSUERS", "[{")
    with pytest.raises(ValidationError, match="comma list of issuers, or JSON"):
        Settings()
    monkeypatch.setenv("HUBROUTE_OAUTH_ISSUERS", AS)
    with pytest.raises(ValidationError, match="needs public_url"):
        Settings(host="0.0.0.0")
    assert Settings(host="0.0.0.0", public_url="https://hub.example").oauth_issuers


def test_what_clients_are_told_to_ask_for() -> None:
    """SEC-54: for each scope that is missing the narrowest that gives it; nothing that no token can give."""
    plain = Issuer(issuer=AS)
    assert plain.asking(frozenset({"mcp:connect", "chat"})) == ["chat", "mcp:connect"]
    assert plain.asking(frozenset({"manage"})) == []
    assert Issuer(issuer=AS, grants=("mcp:connect",)).asking(frozenset({"mcp:connect"})) == []
    mapped = Issuer(issuer=AS, scopes={"hub": ("operator",), "hub.read": ("read-only",), "hub.admin": ("manage",), "All Staff": ("chat",)})
    assert mapped.asking(frozenset({"read:models", "mcp:connect"})) == ["hub.read"]
    assert mapped.asking(frozenset({"chat", "read:models"})) == ["hub", "hub.read"]
    assert mapped.asking(frozenset({"manage"})) == ["hub.admin"]
    assert mapped.offered == ["hub", "hub.read", "hub.admin"]
    roles = Issuer(issuer=AS, scope_claim="roles", scopes={"admin": ("manage",)}, ask=("openid",))
    assert (roles.offered, roles.asking(frozenset({"chat"}))) == (["openid"], [])


def test_a_mapping_may_give_all_and_names_alone_never_do() -> None:
    everything = frozenset({*ALL, "*", "owner", "operator", "read:*"})
    assert Issuer(issuer=AS).granted(everything) == ALL - {"manage", "process"}
    assert Issuer(issuer=AS, scopes={"admin": ("owner",)}).granted(frozenset({"admin"})) == ALL
