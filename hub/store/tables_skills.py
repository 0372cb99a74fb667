"""The table of runs of installed skills; as in :mod:`hub.store.tables`."""

from __future__ import annotations

from sqlalchemy import BigInteger, Index, Text, text
from sqlmodel import Field

from hub.store.tables import Base


class SkillExecutions(Base, table=True):
    """One run of an installed skill. ``input`` and ``output`` are JSON, empty where nothing is kept of the key."""

    __table_args__ = (
        Index(None, "key_id", "created_at"),
        # Only what runs is looked for without its key.
        Index(None, "status", sqlite_where=text("ended_at IS NULL"), postgresql_where=text("ended_at IS NULL")),
    )
    id: str = Field(primary_key=True, sa_type=Text)
    skill_id: str = Field(sa_type=Text)
    skill: str = Field(sa_type=Text)
    key_id: str = Field(sa_type=Text)
    session_id: str = Field(sa_type=Text)
    request_id: str = Field(sa_type=Text)
    door: str = Field(sa_type=Text)
    input: str = Field(sa_type=Text)
    output: str = Field(sa_type=Text)
    status: str = Field(sa_type=Text)
    error: str = Field(sa_type=Text)
    tries: int = Field(sa_type=BigInteger)
    duration_ms: int = Field(sa_type=BigInteger)
    created_at: int = Field(index=True, sa_type=BigInteger)
    ended_at: int | None = Field(sa_type=BigInteger)
