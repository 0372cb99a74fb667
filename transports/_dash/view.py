"""What a page works with: one request of a browser, whose it is, and the skills that it may call."""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import TYPE_CHECKING, Any

from transports import _session
from transports._dash import forms

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

    from hub.call import Hub
    from transports._dash.forms import Field, Form
    from transports._http import Exchange

_FLASH = "flash"
_THEME = "theme"
_THEMES = re.compile("auto|light|dark")
_PACKED = re.compile("[A-Za-z0-9_-]{1,4000}")
_LONGEST_FLASH = 600
_AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9.-]{1,253})(:[0-9]{1,5})?", re.IGNORECASE)


class View:
    """One request. ``params`` are the names in the page's address; ``values`` and ``faults`` fill a form again that was refused."""

    def __init__(self, exchange: Exchange, params: dict[str, str]) -> None:
        self.exchange = exchange
        self.params = params
        self.values: dict[str, str] = {}
        self.faults: dict[str, str] = {}
        self.did = ""
        #: Headers that the answer has besides: cookies that this request changes.
        self.headers: list[tuple[bytes, bytes]] = []
        self.query = exchange.query

    @property
    def hub(self) -> Hub:
        """The hub."""
        return self.exchange.hub

    @property
    def csrf(self) -> str:
        """What every form carries."""
        session = self.exchange.session
        return session.csrf if session is not None else ""

    @property
    def path(self) -> str:
        """The address of this page as it was asked for."""
        return self.exchange.scope["path"]

    @property
    def base(self) -> str:
        """The hub's address for what is copied from a page: its public one, else the one that this browser came by."""
        hub, host = self.hub, self.exchange.head.host
        if hub.settings.public_url or hub.base_url != hub.settings.base_url or not _AUTHORITY.fullmatch(host):
            return hub.base_url
        return f"{self.exchange.scope['scheme']}://{host}"

    @property
    def theme(self) -> str:
        """auto, light or dark."""
        return _session.cookie(self.exchange, _THEME, _THEMES) or "auto"

    @theme.setter
    def theme(self, value: str) -> None:
        value = value if _THEMES.fullmatch(value) else "auto"
        self.headers.append(_cookie(_THEME, value, seconds=31_536_000))

    @property
    def flash(self) -> dict[str, str] | None:
        """What the last form said, once: ``{"kind": "done" | "error", "words": …}``."""
        return _unpacked(_session.cookie(self.exchange, _FLASH, _PACKED))

    def keep(self, form: Form) -> None:
        """Fill the form again with what was typed, though it did its work: for trials that are changed and tried again."""
        self.values = form.values()

    async def ask(self, skill: str, /, **data: Any) -> Any:
        """What a skill answers to the person at the browser. Raises HubError."""
        return await self.hub.call(self.hub.find(skill), data, self.exchange.ctx)

    def listen(self, skill: str, /, **data: Any) -> AsyncIterator[Any]:
        """What a streaming skill tells the person at the browser. Raises HubError."""
        return self.hub.stream(self.hub.find(skill), data, self.exchange.ctx)

    def fields(self, skill: str, *names: str) -> list[Field]:
        """Fields of a skill's input, as a form shows them."""
        return forms.fields(self.hub.find(skill), names)

    async def sent(self, skill: str, form: Form, /, *names: str, stored: Mapping[str, Any] | None = None, **more: Any) -> Any:
        """Call a skill with what was typed into these of its fields; ``stored`` is what a form that changes was filled with.

        Raises HubError.
        """
        return await self.ask(skill, **forms.filled(self.hub.find(skill), form, names, stored=stored), **more)

    def number(self, name: str, default: int, *, least: int = 0, most: int = 10**6) -> int:
        """A number of the query within bounds; the default for anything else."""
        typed = self.query.get(name, "")
        return min(max(int(typed), least), most) if typed.isascii() and typed.isdigit() and len(typed) < 10 else default

    def choice(self, name: str, choices: Iterable[str], default: str) -> str:
        """A word of the query that must be one of these; the default for anything else."""
        typed = self.query.get(name, "")
        return typed if typed in choices else default


def flash(kind: str, words: str) -> tuple[bytes, bytes]:
    """The cookie that carries what a form said to the page that comes next."""
    text = json.dumps({"kind": kind, "words": words[:_LONGEST_FLASH]})
    return _cookie(_FLASH, base64.urlsafe_b64encode(text.encode()).decode().rstrip("="), seconds=30)


def flash_seen() -> tuple[bytes, bytes]:
    """The end of that cookie."""
    return _cookie(_FLASH, "", seconds=0)


def _cookie(name: str, value: str, *, seconds: int) -> tuple[bytes, bytes]:
    return b"set-cookie", f"{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax".encode()


def _unpacked(packed: str) -> dict[str, str] | None:
    """Only what :func:`flash` may have written; a cookie is what a browser says."""
    try:
        said: Any = json.loads(base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4)))
        return {"kind": "error" if said["kind"] == "error" else "done", "words": str(said["words"])[:_LONGEST_FLASH]}
    except (binascii.Error, ValueError, KeyError, TypeError):
        return None
