"""Secrets at rest: AES-256-GCM under a data key of the store, which is itself sealed by the owner's master key (SEC-23).

A sealed text is bound to its place (``table:row id:column``), so moving it to another row makes it
unreadable. The master key comes from HUBROUTE_MASTER_KEY, the system's keychain or a file of mode 0600.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

import msgspec

from hub.errors import NotConfigured

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    from hub.settings import Settings

_FORMAT = b"\x01"
_ID_BYTES = 4
_NONCE_BYTES = 12
_KEY_BYTES = 32
_SERVICE = "hubroute"


class WrongMasterKey(NotConfigured):
    """The master key at hand does not open this store. Nothing was changed."""


class Unreadable(NotConfigured):
    """A sealed text does not open: it was damaged, or moved from another row."""


class WrappedKey(msgspec.Struct, kw_only=True):
    """The data key as it is stored: sealed by the master key whose fingerprint is ``master_id``."""

    key_id: str
    master_id: str
    box: str


class Vault:
    """Seals and opens texts with one data key."""

    def __init__(self, data_key: bytes) -> None:
        self._data_key = data_key
        self._cipher = _cipher(data_key)
        self._id = bytes.fromhex(fingerprint(data_key))

    @property
    def key_id(self) -> str:
        """Names the data key, and tells nothing about it."""
        return self._id.hex()

    @classmethod
    def create(cls) -> Vault:
        """A vault with a new random data key."""
        return cls(secrets.token_bytes(_KEY_BYTES))

    @classmethod
    def unlock(cls, wrapped: WrappedKey, masters: Sequence[bytes]) -> Vault:
        """The vault of a store, opened by the first master key that fits. Raises WrongMasterKey."""
        for master in masters:
            if fingerprint(master) == wrapped.master_id:
                return cls(base64.b64decode(_open(_cipher(master), wrapped.box, f"data-key:{wrapped.key_id}")))
        have = f"the key at hand has id {fingerprint(masters[0])}" if masters else "none is set here"
        raise WrongMasterKey(
            f"the stored credentials were encrypted with the master key {wrapped.master_id}, and {have}; put that key back "
            "(HUBROUTE_MASTER_KEY, the keychain or master.key in the data folder). Nothing was changed"
        )

    def wrap(self, master: bytes) -> WrappedKey:
        """The data key sealed by a master key, to be stored."""
        box = _seal(_cipher(master), base64.b64encode(self._data_key), f"data-key:{self.key_id}", self._id)
        return WrappedKey(key_id=self.key_id, master_id=fingerprint(master), box=box)

    def derive(self, purpose: str) -> bytes:
        """A key of 32 bytes for one purpose: the same in every process on this store, and telling nothing of the data key."""
        return hashlib.blake2b(purpose.encode(), digest_size=_KEY_BYTES, key=self._data_key, person=b"hubroute-derive").digest()

    def seal(self, text: str, place: str) -> str:
        """Encrypt a text for its place; base64, different every time."""
        return _seal(self._cipher, text.encode(), place, self._id)

    def open(self, sealed: str, place: str) -> str:
        """Decrypt a text. Raises Unreadable when it is damaged or was sealed for another place."""
        return _text(_open(self._cipher, sealed, place), place)

    def seal_bytes(self, data: bytes, place: str) -> str:
        """The same for what is no text."""
        return _seal(self._cipher, data, place, self._id)

    def open_bytes(self, sealed: str, place: str) -> bytes:
        """Decrypt what :meth:`seal_bytes` made. Raises Unreadable."""
        return _open(self._cipher, sealed, place)


def fingerprint(key: bytes) -> str:
    """Eight hex digits that name a key and tell nothing about it."""
    return hashlib.blake2b(key, digest_size=_ID_BYTES, person=b"hubroute-key-id").hexdigest()


def _cipher(key: bytes) -> AESGCM:
    # Deferred: the import costs 20 ms, and only a process that opens a store needs it.
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - deferred: only a process that opens a store needs it

    return AESGCM(key)


def _seal(cipher: AESGCM, data: bytes, place: str, key_id: bytes) -> str:
    nonce = os.urandom(_NONCE_BYTES)
    head = _FORMAT + key_id
    return base64.b64encode(head + nonce + cipher.encrypt(nonce, data, head + place.encode())).decode()


def _text(data: bytes, place: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise _unreadable(place) from error


def _open(cipher: AESGCM, sealed: str, place: str) -> bytes:
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - deferred: only a process that opens a store needs it

    start = len(_FORMAT) + _ID_BYTES
    try:
        data = base64.b64decode(sealed, validate=True)
        head, nonce, box = data[:start], data[start : start + _NONCE_BYTES], data[start + _NONCE_BYTES :]
        return cipher.decrypt(nonce, box, head + place.encode())
    except (InvalidTag, ValueError) as error:
        raise _unreadable(place) from error


def _unreadable(place: str) -> Unreadable:
    return Unreadable(f"the secret at {place} cannot be decrypted; enter it again")


class MasterSource(Protocol):
    """Where the master key lives. ``slot`` "" is the key in use, ".new" the one that a rotation is about to use."""

    def read(self, slot: str) -> bytes | None: ...
    def write(self, slot: str, key: bytes) -> None: ...
    def promote(self) -> None:
        """Make ".new" the key in use."""
        ...


class KeyFile:
    """``master.key`` in the data folder, base64, readable by its owner only."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "master.key"

    def read(self, slot: str) -> bytes | None:
        """The key, None when there is no file. Raises NotConfigured when others may read it or it holds no key."""
        path = self._at(slot)
        try:
            mode = path.stat().st_mode & 0o777
        except FileNotFoundError:
            return None
        if mode & 0o077:
            raise NotConfigured(f"{path} has mode {mode:04o}, so other users can read the master key; run: chmod 600 {path}")
        return decode(path.read_text("ascii", "replace"), str(path))

    def write(self, slot: str, key: bytes) -> None:
        """Put the key on the disk, whole or not at all. An existing file of the first slot is kept: another process made it."""
        path = self._at(slot)
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        draft.unlink(missing_ok=True)
        file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(file, "w") as out:
            out.write(encode(key) + "\n")
            out.flush()
            os.fsync(out.fileno())
        try:
            if slot:
                draft.replace(path)
            else:
                with suppress(FileExistsError):
                    os.link(draft, path)
        finally:
            draft.unlink(missing_ok=True)

    def promote(self) -> None:
        """See MasterSource."""
        self._at(".new").replace(self._path)

    def _at(self, slot: str) -> Path:
        return self._path.with_name(self._path.name + slot)


class Keychain:
    """The system's keychain, one entry per data folder."""

    def __init__(self, folder: Path) -> None:
        self._name = str(folder)

    def read(self, slot: str) -> bytes | None:
        """The key, None when there is no entry. Raises NotConfigured when no keychain works here."""
        import keyring  # noqa: PLC0415 - deferred: only master_key_source=keychain needs it
        from keyring.errors import KeyringError  # noqa: PLC0415 - deferred: only master_key_source=keychain needs it

        try:
            text = keyring.get_password(_SERVICE, self._name + slot)
        except KeyringError as error:
            raise _no_keychain(error) from error
        return decode(text, "the keychain entry") if text else None

    def write(self, slot: str, key: bytes) -> None:
        """Store the key."""
        import keyring  # noqa: PLC0415 - deferred: only master_key_source=keychain needs it
        from keyring.errors import KeyringError  # noqa: PLC0415 - deferred: only master_key_source=keychain needs it

        try:
            keyring.set_password(_SERVICE, self._name + slot, encode(key))
        except KeyringError as error:
            raise _no_keychain(error) from error

    def promote(self) -> None:
        """See MasterSource."""
        key = self.read(".new")
        if key is not None:
            self.write("", key)


class GivenKey:
    """HUBROUTE_MASTER_KEY. It cannot be written: the owner changes the setting."""

    def __init__(self, text: str) -> None:
        self._key = decode(text, "HUBROUTE_MASTER_KEY")

    def read(self, slot: str) -> bytes | None:
        """The key of the setting."""
        return None if slot else self._key

    def write(self, slot: str, key: bytes) -> None:
        """Nothing to write to."""

    def promote(self) -> None:
        """Nothing to promote."""


def source(settings: Settings) -> MasterSource:
    """Where the settings say that the master key lives. Raises NotConfigured for a malformed HUBROUTE_MASTER_KEY."""
    if settings.master_key:
        return GivenKey(settings.master_key)
    return Keychain(settings.data_dir) if settings.master_key_source == "keychain" else KeyFile(settings.data_dir)


def masters(place: MasterSource) -> list[bytes]:
    """The keys that may open the store: the one in use, and the one of a rotation that was cut off."""
    return [key for key in (place.read(""), place.read(".new")) if key is not None]


def first_master(place: MasterSource) -> bytes:
    """The master key for a store without one, made at random where the source has none yet."""
    key = place.read("")
    if key is None:
        place.write("", secrets.token_bytes(_KEY_BYTES))
        key = place.read("")
    if key is None:
        raise NotConfigured("the master key could not be stored; set HUBROUTE_MASTER_KEY")
    return key


def encode(key: bytes) -> str:
    """A key as base64."""
    return base64.b64encode(key).decode()


def decode(text: str, where: str) -> bytes:
    """A key from base64. Raises NotConfigured naming ``where`` it was read, never the text."""
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != _KEY_BYTES:
        raise NotConfigured(f"{where} is not the base64 of 32 bytes; make a key with: openssl rand -base64 32")
    return key


def _no_keychain(error: Exception) -> NotConfigured:
    why = type(error).__name__
    return NotConfigured(f"the system's keychain cannot be used ({why}); set HUBROUTE_MASTER_KEY, or master_key_source=file")
