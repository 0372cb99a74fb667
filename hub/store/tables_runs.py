"""The tables of evals and assessments; as in :mod:`hub.store.tables`."""

from __future__ import annotations

from sqlalchemy import BigInteger, Index, Text, text
from sqlmodel import Field

from hub.store.tables import Base


class EvalRuns(Base, table=True):
    """A run of an eval suite or an assessment. ``owner`` works on it until ``due_at``; ``facts``, ``work`` and ``summary`` are JSON."""

    __table_args__ = (
        Index(None, "kind", "created_at"),
        # Only what is not over is looked for without its id.
        Index(None, "status", sqlite_where=text("ended_at IS NULL"), postgresql_where=text("ended_at IS NULL")),
    )
    id: str = Field(primary_key=True, sa_type=Text)
    kind: str = Field(sa_type=Text)
    subject: str = Field(sa_type=Text)
    group_id: str = Field(sa_type=Text)
    key_id: str = Field(sa_type=Text)
    status: str = Field(sa_type=Text)
    facts: str = Field(sa_type=Text)
    work: str = Field(sa_type=Text)
    summary: str = Field(sa_type=Text)
    total: int = Field(sa_type=BigInteger)
    done: int = Field(sa_type=BigInteger)
    created_at: int = Field(sa_type=BigInteger)
    ended_at: int | None = Field(sa_type=BigInteger)
    owner: str = Field(sa_type=Text)
    due_at: int = Field(sa_type=BigInteger)


class EvalResults(Base, table=True):
    """What came of one piece of a run: a case once, or a model that was probed. Rows are only ever added."""

    run_id: str = Field(primary_key=True, sa_type=Text)
    seq: int = Field(primary_key=True, sa_type=BigInteger, sa_column_kwargs={"autoincrement": False})
    result: str = Field(sa_type=Text)


class Assessments(Base, table=True):
    """What the last assessment of a model found; ``body`` is JSON."""

    model_id: str = Field(primary_key=True, sa_type=Text)
    provider_id: str = Field(sa_type=Text)
    status: str = Field(sa_type=Text)
    tested_at: int = Field(index=True, sa_type=BigInteger)
    body: str = Field(sa_type=Text)
