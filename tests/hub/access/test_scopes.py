"""Grants cover exactly what they say; nothing unknown covers anything."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.access.scopes import ALL, BUNDLES, SCOPES, expand, unknown

GRANTS = st.sampled_from([*SCOPES, *BUNDLES, "*", "read:*", "write:*", "write:pricing"])


def test_there_are_the_seed_s_and_ours() -> None:
    assert len(SCOPES) == 27
    assert set(SCOPES) - {"chat", "mcp:connect", "manage", "execute:tools", "execute:agents", "process"} == {
        "read:health", "read:combos", "write:combos", "read:quota", "read:usage", "read:models", "execute:completions",
        "execute:search", "write:budget", "write:resilience", "pricing:write", "read:cache", "write:cache", "read:compression",
        "write:compression", "read:proxies", "read:memory", "write:memory", "read:skills", "write:skills", "execute:skills",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("grants", "want"),
    [
        ([], set()),
        (["chat"], {"chat"}),
        (["chat", "chat", "read:health"], {"chat", "read:health"}),
        (["write:pricing"], {"pricing:write"}),
        (["*"], ALL),
        (["manage"], ALL),
        (["owner"], ALL),
        (["operator"], ALL - {"manage", "process"}),
        (["pr*"], {"pricing:write"}),
        (["read-only"], {scope for scope in SCOPES if scope.startswith("read:")} | {"mcp:connect"}),
        (["execute:*"], {"execute:completions", "execute:search", "execute:skills", "execute:tools", "execute:agents"}),
        (["m*"], {"mcp:connect"}),
        (["read:*", "nothing:*", "Chat", "", "chat ", "read:health2"], {scope for scope in SCOPES if scope.startswith("read:")}),
    ],
)
def test_what_grants_cover(grants: list[str], want: set[str]) -> None:
    assert expand(grants) == want


@pytest.mark.parametrize("grant", ["", "Manage", "manage ", "**x", "x*", "read", "READ:*", "*:read", "owner*"])
def test_unknown_grants_are_told_and_cover_nothing(grant: str) -> None:
    assert unknown([grant, "chat"]) == [grant]
    assert expand([grant]) == frozenset()


@given(st.lists(GRANTS, max_size=5), st.lists(GRANTS, max_size=5))
def test_more_grants_never_cover_less(some: list[str], more: list[str]) -> None:
    assert expand(some) | expand(more) == expand([*some, *more])
    assert unknown(some) == []


@given(st.text(max_size=12).filter(lambda text: text not in {"*", "manage", "owner", "process"}))
def test_only_three_words_give_manage(grant: str) -> None:
    assert not {"manage", "process"} & expand([grant])
