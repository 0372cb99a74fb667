"""A string that does not show itself: provider keys, tokens and the like."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

MASK = b"[masked]"


class Secret:
    """Holds a secret; its text form, repr and format are a mask. Read it with :meth:`reveal`."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The secret itself. Call it only where the secret leaves for its own host or store."""
        return self._value

    @property
    def masked(self) -> str:
        """Enough to tell two secrets apart, at most four characters of it."""
        return f"…{self._value[-4:]}" if len(self._value) >= 12 else "…" if self._value else ""

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __str__(self) -> str:
        return self.masked

    __repr__ = __str__

    def __reduce__(self) -> tuple[type[Secret], tuple[str]]:
        """Pickled as its mask: a secret never leaves the process by serialisation."""
        return (Secret, (self.masked,))


class Live(Secret):
    """A secret that changes while it is held, such as an access token: :meth:`reveal` gives what it is now. Equal only to itself."""

    __slots__ = ("_read",)

    def __init__(self, read: Callable[[], str]) -> None:
        super().__init__("")
        self._read = read

    def reveal(self) -> str:
        return self._read()

    @property
    def masked(self) -> str:
        return Secret(self._read()).masked

    def __bool__(self) -> bool:
        return bool(self._read())

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)


#: None at all.
NO_SECRET = Secret("")


def mask(body: bytes, secret: Secret) -> bytes:
    """A provider's body without our credential, should it echo it (SEC-25)."""
    return body.replace(spoken(secret), MASK)


def spoken(secret: Secret) -> bytes:
    """A credential as a provider would repeat it; the mask itself when it is too short to be told from other words."""
    value = secret.reveal().encode()
    return value if len(value) >= 8 else MASK
