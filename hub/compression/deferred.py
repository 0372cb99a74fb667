"""The one place where what shortens comes in: at first use. A hub that compresses nothing need not load it at its start."""

from __future__ import annotations


def workshop():
    """:mod:`hub.compression.workshop`."""
    from hub.compression import workshop as module  # noqa: PLC0415 - deferring is what this module is for

    return module
