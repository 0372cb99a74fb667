"""The table of what was said in requests; those of everything else are in :mod:`hub.store.tables`."""

from __future__ import annotations

from sqlalchemy import BigInteger, Index, Text
from sqlmodel import Field

from hub.store.tables_base import Base


class RequestContents(Base, table=True):
    """What was said in one request, compressed and sealed by the vault; ``size`` is the length of that."""

    # The oldest and the sum of all are found without a look at what is sealed.
    __table_args__ = (Index(None, "at", "request_id", "size"), Index(None, "key_id"))
    request_id: str = Field(primary_key=True, sa_type=Text)
    at: int = Field(sa_type=BigInteger)
    key_id: str = Field(sa_type=Text)
    size: int = Field(sa_type=BigInteger)
    sealed: str = Field(sa_type=Text)
