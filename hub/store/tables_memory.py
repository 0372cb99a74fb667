"""The tables of memory, as SQLModel classes (see :mod:`hub.store.tables`)."""

from __future__ import annotations

from sqlalchemy import BigInteger, Index, Text, UniqueConstraint
from sqlmodel import Field

from hub.store.tables_base import Base


class Memories(Base, table=True):
    """One thing that is remembered for a key. ``name`` is what it is about, so that saying it anew changes it: in clear behind ``=``,
    else a keyed digest behind ``~``. ``body`` is JSON, ``sealed`` by the vault where the owner wants that; ``version`` counts contents."""

    __table_args__ = (UniqueConstraint("key_id", "name"), Index(None, "key_id", "updated_at"))
    id: str = Field(primary_key=True, sa_type=Text)
    key_id: str = Field(sa_type=Text)
    name: str = Field(sa_type=Text)
    session_id: str = Field(sa_type=Text)
    project: str = Field(sa_type=Text)
    kind: str = Field(sa_type=Text)
    body: str = Field(sa_type=Text)
    sealed: bool
    version: int = Field(sa_type=BigInteger)
    created_at: int = Field(sa_type=BigInteger)
    updated_at: int = Field(index=True, sa_type=BigInteger)
    expires_at: int | None = Field(index=True, sa_type=BigInteger)


class MemoryVectors(Base, table=True):
    """What an embedding model made of a memory's content in a version: little-endian floats as base64, ``sealed`` as the content is."""

    memory_id: str = Field(primary_key=True, sa_type=Text)
    key_id: str = Field(index=True, sa_type=Text)
    model: str = Field(sa_type=Text)
    version: int = Field(sa_type=BigInteger)
    vector: str = Field(sa_type=Text)
    sealed: bool
