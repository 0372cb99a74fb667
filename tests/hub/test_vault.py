"""SEC-23: secrets at rest."""

from __future__ import annotations

import base64
import os
from typing import TYPE_CHECKING

import keyring
import pytest
from keyring.backend import KeyringBackend

from hub import vault as vaults
from hub.errors import NotConfigured
from hub.settings import Settings
from hub.vault import KeyFile, Unreadable, Vault, WrongMasterKey

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MASTER = bytes(range(32))


@pytest.mark.parametrize("text", ["", "k", "é\n" * 1000, "x\x00y"])
def test_a_text_comes_back_from_its_place_only(text: str) -> None:
    vault = Vault.create()
    sealed = vault.seal(text, "connections:con_1:secret")
    assert vault.open(sealed, "connections:con_1:secret") == text
    assert vault.seal(text, "connections:con_1:secret") != sealed
    for place in ("connections:con_2:secret", "connections:con_1:proxy", ""):
        with pytest.raises(Unreadable, match="enter it again"):
            vault.open(sealed, place)


def test_keys_for_a_purpose_come_from_the_data_key() -> None:
    vault = Vault.create()
    again = Vault.unlock(vault.wrap(MASTER), [MASTER])
    assert vault.derive("a") == again.derive("a")
    assert len({vault.derive("a"), vault.derive("b"), vault.derive(""), Vault.create().derive("a")}) == 4
    assert len(vault.derive("a")) == 32


def test_every_flipped_byte_is_noticed() -> None:
    vault = Vault.create()
    data = base64.b64decode(vault.seal("secret", "p"))
    for at in range(len(data)):
        harmed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        with pytest.raises(Unreadable):
            vault.open(base64.b64encode(harmed).decode(), "p")
    for text in ("", "!", "AAAA", base64.b64encode(data[:-1]).decode()):
        with pytest.raises(Unreadable):
            vault.open(text, "p")


def test_the_data_key_opens_with_its_master_key_only() -> None:
    vault = Vault.create()
    wrapped = vault.wrap(MASTER)
    sealed = vault.seal("secret", "p")
    assert Vault.unlock(wrapped, [bytes(32), MASTER]).open(sealed, "p") == "secret"
    with pytest.raises(WrongMasterKey, match=f"{wrapped.master_id}, and the key at hand has id {vaults.fingerprint(bytes(32))}"):
        Vault.unlock(wrapped, [bytes(32)])
    with pytest.raises(WrongMasterKey, match="none is set here"):
        Vault.unlock(wrapped, [])
    again = vault.wrap(bytes(32))
    assert Vault.unlock(again, [bytes(32)]).open(sealed, "p") == "secret"
    assert base64.b64encode(MASTER).decode() not in wrapped.box


def test_the_key_file_is_made_once_with_mode_0600(tmp_path: Path) -> None:
    place = vaults.source(Settings(data_dir=tmp_path))
    assert vaults.masters(place) == []
    key = vaults.first_master(place)
    path = tmp_path / "master.key"
    assert path.stat().st_mode & 0o777 == 0o600
    assert (len(key), vaults.first_master(place), vaults.masters(place)) == (32, key, [key])
    place.write("", bytes(32))
    assert place.read("") == key
    assert [item.name for item in tmp_path.iterdir()] == ["master.key"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_key_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    place = KeyFile(tmp_path)
    vaults.first_master(place)
    (tmp_path / "master.key").chmod(mode)
    with pytest.raises(NotConfigured, match=f"mode {mode:04o}.*run: chmod 600 .*master.key"):
        place.read("")


@pytest.mark.parametrize("text", ["", "hello", base64.b64encode(bytes(31)).decode(), "é" * 44])
def test_a_malformed_key_is_refused_without_repeating_it(tmp_path: Path, text: str) -> None:
    path = tmp_path / "master.key"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(NotConfigured, match="is not the base64 of 32 bytes") as caught:
        KeyFile(tmp_path).read("")
    assert not text or text not in str(caught.value)


def test_a_given_key_wins_and_writes_nothing(tmp_path: Path) -> None:
    place = vaults.source(Settings(data_dir=tmp_path, master_key=vaults.encode(MASTER), master_key_source="keychain"))
    assert vaults.first_master(place) == MASTER
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(NotConfigured, match="HUBROUTE_MASTER_KEY is not"):
        vaults.source(Settings(data_dir=tmp_path, master_key="nonsense"))


def test_a_rotation_writes_the_new_key_beside_the_old(tmp_path: Path) -> None:
    place = KeyFile(tmp_path)
    old = vaults.first_master(place)
    new = os.urandom(32)
    place.write(".new", new)
    assert vaults.masters(place) == [old, new]
    place.promote()
    assert vaults.masters(place) == [new]


class Chain(KeyringBackend):
    """A keychain in memory."""

    priority = 1  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()
        self.entries: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.entries.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.entries[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.entries[service, username]


@pytest.fixture
def chain() -> Iterator[Chain]:
    before, made = keyring.get_keyring(), Chain()
    keyring.set_keyring(made)
    yield made
    keyring.set_keyring(before)


def test_the_keychain_keeps_one_key_per_folder(tmp_path: Path, chain: Chain) -> None:
    place = vaults.source(Settings(data_dir=tmp_path, master_key_source="keychain"))
    key = vaults.first_master(place)
    assert chain.entries == {("hubroute", str(tmp_path)): vaults.encode(key)}
    place.write(".new", MASTER)
    place.promote()
    assert place.read("") == MASTER
    assert list(tmp_path.iterdir()) == []


def test_no_keychain_says_what_else_to_do(tmp_path: Path) -> None:
    from keyring.backends.fail import Keyring

    before = keyring.get_keyring()
    keyring.set_keyring(Keyring())
    try:
        with pytest.raises(NotConfigured, match="set HUBROUTE_MASTER_KEY"):
            vaults.first_master(vaults.source(Settings(data_dir=tmp_path, master_key_source="keychain")))
    finally:
        keyring.set_keyring(before)
