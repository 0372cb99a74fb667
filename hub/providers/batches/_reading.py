"""Reads the JSON of batch services."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from hub.errors import UpstreamFailed

Kind = TypeVar("Kind")


def decoded(body: bytes, kind: type[Kind]) -> Kind:
    """JSON as a struct. Raises UpstreamFailed for anything else."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UpstreamFailed(f"the provider's batch service answered in another form: {error}", code="malformed_answer") from error
