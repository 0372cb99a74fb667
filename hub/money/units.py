"""What a call uses besides tokens, and what that costs: images, seconds of sound or film, characters, searches (routing.md 6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from hub.chat import Usage
from hub.money.prices import MILLION, Prices

if TYPE_CHECKING:
    from hub.providers.catalog import Price


class Units(msgspec.Struct, frozen=True, omit_defaults=True):
    """``images`` made, ``seconds_in`` heard, ``seconds_out`` made, ``characters`` spoken, ``queries`` searched or ranked.

    ``audio_in``, ``audio_cached`` and ``audio_out`` say how many of the call's tokens are sound, of a model that counts those apart.
    """

    images: int = 0
    seconds_in: float = 0.0
    seconds_out: float = 0.0
    characters: int = 0
    queries: int = 0
    audio_in: int = 0
    audio_cached: int = 0
    audio_out: int = 0

    def stated(self) -> dict[str, float]:
        """Those that are not zero, by name."""
        return {name: round(value, 3) for name in self.__struct_fields__ if (value := getattr(self, name))}


NO_UNITS = Units()


def cost(price: Price, usage: Usage, units: Units) -> float | None:
    """Dollars of one call; None when no rate fits what it used.

    Tokens that the provider counted are charged as tokens where they have a price, everything else by its unit. A picture's own
    price goes before tokens, whose rate is then that of words. Searches are charged besides. Nothing is charged twice: many price
    lists have a rate for tokens and one for seconds of the same sound.
    """
    tokens, measured, searched = _tokens(price, usage, units), _measured(price, units), _searched(price, units)
    if measured is not None and (tokens is None or _unit_first(price, usage, units)):
        # The prompt is charged beside what was measured of the answer.
        return measured + usage.prompt * (price.input or 0.0) / 1_000_000 + (searched or 0.0)
    if tokens is None:
        return searched
    return tokens + (searched or 0.0)


def _unit_first(price: Price, usage: Usage, units: Units) -> bool:
    """Whether what was measured is charged though there is a rate for tokens: pictures with a price of their own, or uncounted tokens."""
    pictured = units.images > 0 and price.per_image is not None
    return pictured or usage.estimated or usage.total == 0


def most(price: Price, usage: Usage, units: Units) -> float | None:
    """The most that a call can cost which uses no more than this: for a reservation. None when no rate fits."""
    tokens, measured, searched = _tokens(price, usage, units), _measured(price, units), _searched(price, units)
    known = [part for part in (tokens, measured) if part is not None]
    if not known:
        return searched
    prompt = usage.prompt * (price.input or 0.0) / 1_000_000 if measured is not None else 0.0
    return max(*known, (measured or 0.0) + prompt) + (searched or 0.0)


def _tokens(price: Price, usage: Usage, units: Units) -> float | None:
    """Tokens at their rates, those that are sound at its own. Read from a cache they cost as much as others where no rate says more."""
    heard = ((units.audio_in, price.audio_input), (units.audio_out, price.audio_output))
    cached = price.audio_input if price.audio_cache_read is None else price.audio_cache_read
    sound = [(tokens, rate) for tokens, rate in (*heard, (units.audio_cached, cached)) if tokens > 0]
    if sound:
        usage = msgspec.structs.replace(
            usage,
            input=max(0, usage.input - units.audio_in),
            cache_read=max(0, usage.cache_read - units.audio_cached),
            output=max(0, usage.output - units.audio_out),
        )
    text = Prices.cost(msgspec.structs.replace(price, per_query=None), usage)
    known = [tokens * rate for tokens, rate in sound if rate is not None]
    return text + sum(known) / MILLION if text is not None and len(known) == len(sound) else None


def _measured(price: Price, units: Units) -> float | None:
    """What is charged by unit; None when nothing that was used has such a rate."""
    # Lists that know one rate for a model which listens give it under either name.
    heard = price.per_second_in if price.per_second_in is not None else price.per_second_out
    # What is spoken is charged by its characters, or by how long it takes.
    spoken = (units.characters, price.per_char_in) if price.per_char_in is not None else (units.seconds_out, price.per_second_out)
    pairs = ((units.images, price.per_image), (units.seconds_in, heard), spoken)
    known = [amount * rate for amount, rate in pairs if amount and rate is not None]
    return sum(known) if known else None


def _searched(price: Price, units: Units) -> float | None:
    return units.queries * price.per_query if units.queries and price.per_query is not None else None
