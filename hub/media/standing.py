"""What was delivered and goes on: the record of it is ended by whoever ordered it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hub.media.order import Delivered

if TYPE_CHECKING:
    from hub.engine.attempts import Run
    from hub.money.prices import Priced
    from hub.routing.strategy import Option


@dataclass(slots=True, kw_only=True)
class Standing(Delivered[Any]):
    """A delivery whose ``run`` is open. ``option`` is where it is, ``priced`` the price there."""

    run: Run
    option: Option
    priced: Priced | None
