"""The answer when nobody can take a request: each target with its reason, and when to come back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hub.errors import NotConfigured, RateLimited, Unavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hub.planning.roots import Root
    from hub.resilience.resilience import Block
    from hub.routing.strategy import Option

#: How many options a refusal names.
_MOST_TOLD = 20


def refusal(
    root: Root, options: Sequence[Option], reasons: Sequence[str], blocks: Sequence[Block | None], now: float
) -> RateLimited | Unavailable | NotConfigured:
    """The error for a request of which every target is known dead.

    RateLimited where all wait for limits of their own, Unavailable otherwise, NotConfigured where there is no target at all.
    ``now`` is on the monotonic clock, as the ends of the blocks are.
    """
    if not options:
        return NotConfigured(f"{root.resolution.model!r} has no target that could be used: {_missing(root)}", field="model")
    # A cooldown that is not the reason ends without making its connection usable.
    real = list(map(_real, blocks or [None] * len(options), reasons))
    rows = list(map(_row, options, reasons, real, [now] * len(options)))
    listing = "; ".join(f"{row['connection']}: {row['reason']}" for row in rows[:_MOST_TOLD])
    words = f"no connection can take {root.resolution.model} now ({listing})"
    waits = _waits(real, now)
    kind = RateLimited if all(map(_of_account, real)) else Unavailable
    return kind(words, retry_after=min(waits, default=None), data={"targets": rows[:_MOST_TOLD]})


def _of_account(block: Block | None) -> bool:
    """Whether a target waits for the end of a limit of its account, and not for a person or a provider."""
    return block is not None and block.scope != "provider"


def _waits(blocks: Sequence[Block | None], now: float) -> list[float]:
    return [_wait(block, now) for block in blocks if block is not None]


def _real(block: Block | None, reason: str) -> Block | None:
    return block if block is not None and block.reason == reason else None


def _missing(root: Root) -> str:
    return "; ".join(dict.fromkeys(reason for leaf in root.leaves for reason in leaf.reasons)) or "it has no targets"


def _row(option: Option, reason: str, block: Block | None, now: float) -> dict[str, Any]:
    return {
        "connection": option.connection.name,
        "provider": option.provider,
        "model": option.model,
        "reason": reason,
        "retryAfter": round(_wait(block, now), 1) if block else None,
    }


def _wait(block: Block, now: float) -> float:
    return max(0.0, block.until - now)
