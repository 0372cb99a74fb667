"""The tables of compression; those of everything else are in :mod:`hub.store.tables`."""

from __future__ import annotations

from sqlalchemy import BigInteger, Double, Index, Text
from sqlmodel import Field

from hub.store.tables_base import Base


class CompressionRuns(Base, table=True):
    """One request that compression changed; tokens are estimates but for those after ``terse`` where ``receipt`` says so."""

    id: str = Field(primary_key=True, sa_type=Text)
    at: int = Field(index=True, sa_type=BigInteger)
    request_id: str = Field(sa_type=Text)
    key_id: str = Field(sa_type=Text)
    key_name: str = Field(sa_type=Text)
    provider: str = Field(sa_type=Text)
    model: str = Field(sa_type=Text)
    combo: str = Field(sa_type=Text)
    mode: str = Field(sa_type=Text)
    source: str = Field(sa_type=Text)
    compression_combo: str = Field(sa_type=Text)
    original: int = Field(sa_type=BigInteger)
    compressed: int = Field(sa_type=BigInteger)
    duration_us: int = Field(sa_type=BigInteger)
    usd_saved: float | None = Field(sa_type=Double)
    fallback: bool
    terse: bool
    prompt: int = Field(sa_type=BigInteger)
    output: int = Field(sa_type=BigInteger)
    cache_read: int = Field(sa_type=BigInteger)
    cache_write: int = Field(sa_type=BigInteger)
    receipt: bool


class CompressionEngines(Base, table=True):
    """What an engine saved in one request, in tokens."""

    run_id: str = Field(primary_key=True, sa_type=Text)
    engine: str = Field(primary_key=True, sa_type=Text)
    at: int = Field(index=True, sa_type=BigInteger)
    saved: int = Field(sa_type=BigInteger)


class CompressionOutputs(Base, table=True):
    """Output of a tool as it was before it was shortened, sealed by the vault."""

    __table_args__ = (Index(None, "key_id", "at"),)
    id: str = Field(primary_key=True, sa_type=Text)
    key_id: str = Field(sa_type=Text)
    at: int = Field(sa_type=BigInteger)
    expires_at: int = Field(index=True, sa_type=BigInteger)
    sealed: str = Field(sa_type=Text)
