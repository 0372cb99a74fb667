"""Password hashes that cost next to nothing: argon2id as it is, with a sixty-fourth of the memory, so that tests may log in often."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from argon2 import PasswordHasher

from hub.login import hashing

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def quick_hashes() -> Iterator[PasswordHasher]:
    """The hub in this process hashes so while the block lasts; gives the hasher that it would use."""
    with pytest.MonkeyPatch.context() as patch:
        real = hashing.HASHER
        patch.setattr(hashing, "HASHER", PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1))
        yield real
