"""What a page of the dashboard is: an address, a template, what fills it, and what its forms do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from transports._dash.forms import Form
    from transports._dash.view import View

    Load: TypeAlias = Callable[[View], Awaitable[dict[str, Any]]]
    Run: TypeAlias = Callable[[View, Form], Awaitable["Outcome"]]

#: The groups of the navigation, in order.
GROUPS = ("Observe", "Route", "Agents", "Access", "System")


@dataclass(frozen=True, slots=True)
class Done:
    """A form did its work: the browser goes to ``to`` (this page when empty) and is told in ``words``; ``failed`` is for bad news."""

    words: str
    to: str = ""
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Shown:
    """A form's answer is this page once more, with ``more`` for its template: what must be seen once, such as a new key."""

    more: dict[str, Any] = field(default_factory=dict[str, Any])


Outcome: TypeAlias = Done | Shown


@dataclass(frozen=True, slots=True)
class Page:
    """One page.

    ``path`` is what stands behind ``/dashboard/``; it may hold ``{names}`` (found in ``view.params``). ``load`` gives the template its
    names. ``actions`` are what forms do, by the value of their field ``do``. Pages with a ``group`` stand in the navigation, in ``order``;
    ``keys`` is the letter that goes there after ``g``. ``words`` are further words that the search finds it by. ``upload`` is the setting
    that says how many MiB a form of this page may bring as files (``enctype="multipart/form-data"``); empty: its forms bring none.
    """

    path: str
    title: str
    template: str
    load: Load
    actions: dict[str, Run] = field(default_factory=dict[str, "Run"])
    group: str = ""
    order: int = 0
    keys: str = ""
    words: str = ""
    upload: str = ""

    @property
    def url(self) -> str:
        """The page's address; with its names in braces still in it."""
        return f"/dashboard/{self.path}" if self.path else "/"
