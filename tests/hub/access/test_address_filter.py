"""Who may come in: lists, bans, spellings of addresses, and whose word on a client's address is believed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.access.address_filter import Ban, Networks, Rules, _bare, _Verdicts  # pyright: ignore[reportPrivateUsage]
from hub.call import Hub
from hub.errors import BadRequest, Forbidden
from hub.outbound.address import forms
from tests.fakes.database import make_settings, postgres_database

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

NOW = 1_000_000


def refused(address: str, **rules: object) -> bool:
    return _Verdicts(Rules.model_validate({"enabled": True, **rules})).refuses(address, NOW)


@pytest.mark.parametrize(
    ("address", "entry", "there"),
    [
        ("203.0.113.7", "203.0.113.7", True),
        ("203.0.113.8", "203.0.113.7", False),
        ("203.0.113.8", "203.0.113.0/24", True),
        ("203.0.114.1", "203.0.113.0/24", False),
        ("203.0.113.8", "0.0.0.0/0", True),
        ("2001:db8::1", "0.0.0.0/0", False),
        ("2001:db8::1", "2001:db8::/32", True),
        ("2001:db9::1", "2001:db8::/32", False),
        # An IPv4 address in other clothes is that address.
        ("::ffff:203.0.113.7", "203.0.113.7", True),
        ("::ffff:cb00:7107", "203.0.113.0/24", True),
        ("64:ff9b::203.0.113.7", "203.0.113.7", True),
        ("2002:cb00:7107::1", "203.0.113.7", True),
        ("fe80::1%eth0", "fe80::/10", True),
    ],
)
def test_who_is_on_the_blacklist(address: str, entry: str, there: bool) -> None:
    assert refused(address, blacklist=(entry,)) is there
    assert not refused(address, blacklist=(entry,), enabled=False)


def test_who_is_on_the_whitelist() -> None:
    rules = {"mode": "whitelist", "whitelist": ("203.0.113.0/24",)}
    assert not refused("203.0.113.7", **rules)
    assert not refused("::ffff:203.0.113.7", **rules)
    for other in ("198.51.100.1", "2001:db8::1", "", "unknown", "203.0.113.7.1", "64:ff9b::203.0.113.7"):
        assert refused(other, **rules), other


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
def test_this_machine_always_comes_in(address: str) -> None:
    assert not refused(address, mode="whitelist", bans=(Ban(ip=address, until=NOW + 1),), blacklist=("0.0.0.0/0", "::/0"))


def test_bans_end_by_themselves_and_count_while_the_lists_are_off() -> None:
    rules = Rules(bans=(Ban(ip="203.0.113.7", until=NOW + 10),))
    verdicts = _Verdicts(rules)
    assert verdicts.active
    assert verdicts.refuses("203.0.113.7", NOW)
    assert verdicts.refuses("::ffff:203.0.113.7", NOW)
    assert not verdicts.refuses("203.0.113.7", NOW + 10)
    assert not verdicts.refuses("203.0.113.8", NOW)


@given(st.ip_addresses(), st.integers(0, 128))
def test_networks_hold_what_the_library_says(address: object, length: int) -> None:
    import ipaddress

    found = ipaddress.ip_address(str(address))
    network = ipaddress.ip_network((found, min(length, found.max_prefixlen)), strict=False)
    known = Networks([str(network), "192.0.2.128/25", "2001:db8:5::/48"])
    assert found in known
    outside = ipaddress.ip_address(int(found) ^ 1)
    assert (outside in known) == any(outside in ipaddress.ip_network(one) for one in (network, "192.0.2.128/25", "2001:db8:5::/48"))


@given(st.text(max_size=40))
def test_any_text_is_judged(text: str) -> None:
    assert refused(text, mode="whitelist") or forms(text)[0].is_loopback


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("198.51.100.1", "203.0.113.7", "198.51.100.1"),  # nobody's word but that of a trusted proxy
        ("10.0.0.1", "203.0.113.7", "203.0.113.7"),
        ("10.0.0.1", "evil, 203.0.113.7", "203.0.113.7"),
        ("10.0.0.1", "1.1.1.1, 203.0.113.7, 10.0.0.2", "203.0.113.7"),
        ("10.0.0.1", "127.0.0.1, 203.0.113.7", "203.0.113.7"),
        ("10.0.0.1", "203.0.113.7:5123", "203.0.113.7"),
        ("10.0.0.1", "[2001:db8::1]:443", "2001:db8::1"),
        ("10.0.0.1", "2001:db8::1", "2001:db8::1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "unknown", ""),
        ("10.0.0.1", "203.0.113.7, garbage", ""),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("::ffff:10.0.0.1", "203.0.113.7", "203.0.113.7"),
    ],
)
async def test_whose_word_is_believed(tmp_path: Path, peer: str, forwarded: str, client: str) -> None:
    hub = Hub(make_settings(tmp_path, trusted_proxies="10.0.0.0/24, 192.0.2.1"))
    assert hub.addresses.client(peer, lambda: forwarded) == client


def test_addresses_with_ports() -> None:
    assert [_bare(one) for one in ("1.2.3.4:5", "[::1]:5", "[::1]", "::1", "1.2.3.4")] == ["1.2.3.4", "::1", "::1", "::1", "1.2.3.4"]


async def test_the_rules_follow_changes_of_other_processes(tmp_path: Path) -> None:
    """D24: a ban in one process holds in the other within a second; two changes at once are both kept."""
    with postgres_database() as url:
        one, two = (Hub(make_settings(tmp_path / name, url, master_key="A" * 43 + "=")) for name in ("one", "two"))
        await one.open()
        await two.open()
        try:

            async def banned(hub: Hub, ip: str) -> None:
                until = hub.clock.now_ms() + 60_000
                await hub.addresses.change(
                    lambda kept: kept.model_copy(update={"bans": (*kept.bans, Ban(ip=ip, until=until))}), asker="", force=False
                )

            await asyncio.gather(banned(one, "203.0.113.1"), banned(two, "203.0.113.2"))
            async with asyncio.timeout(5):
                while len(one.addresses.live_bans()) < 2 or len(two.addresses.live_bans()) < 2:
                    await asyncio.sleep(0.02)
            for hub in (one, two):
                assert hub.addresses.active
                for ip in ("203.0.113.1", "203.0.113.2"):
                    with pytest.raises(Forbidden):
                        hub.addresses.check(ip)
        finally:
            await two.close()
            await one.close()


async def test_a_change_that_shuts_its_author_out_is_refused(tmp_path: Path) -> None:
    hub = Hub(make_settings(tmp_path))
    await hub.open()
    with pytest.raises(BadRequest, match=r"203\.0\.113\.7"):
        await hub.addresses.change(
            lambda kept: kept.model_copy(update={"enabled": True, "mode": "whitelist"}), asker="203.0.113.7", force=False
        )
    assert hub.addresses.rules == Rules()
    assert not hub.addresses.active
    await hub.addresses.change(lambda kept: kept.model_copy(update={"enabled": True, "mode": "whitelist"}), asker="203.0.113.7", force=True)
    assert hub.addresses.active
    await hub.close()
