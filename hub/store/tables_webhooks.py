"""The tables of webhooks, as SQLModel classes (see :mod:`hub.store.tables`)."""

from __future__ import annotations

from sqlalchemy import BigInteger, Index, Text, text
from sqlmodel import Field

from hub.store.tables import Base


class WebhookDeliveries(Base, table=True):
    """One event on its way to one webhook, and what came of it. One that waits has ``due_at``, which is the end of its lease while
    ``owner`` works on it; one that is done has none. ``attempts`` is JSON, a list with a row for each try."""

    # Only what waits is looked for by time.
    __table_args__ = (
        Index(
            None, "webhook_id", "due_at",
            sqlite_where=text("due_at IS NOT NULL"), postgresql_where=text("due_at IS NOT NULL"),
        ),
        Index(None, "webhook_id", "created_at"),
    )  # fmt: skip
    id: str = Field(primary_key=True, sa_type=Text)
    webhook_id: str = Field(sa_type=Text)
    event: str = Field(sa_type=Text)
    message_id: str = Field(sa_type=Text)
    body: str = Field(sa_type=Text)
    state: str = Field(sa_type=Text)
    owner: str = Field(sa_type=Text)
    due_at: int | None = Field(sa_type=BigInteger)
    tries: int = Field(sa_type=BigInteger)
    status: int = Field(sa_type=BigInteger)
    attempts: str = Field(sa_type=Text)
    created_at: int = Field(index=True, sa_type=BigInteger)
    ended_at: int | None = Field(sa_type=BigInteger)


class WebhookStandings(Base, table=True):
    """How a webhook does: its last delivery, and how many in a row have failed."""

    webhook_id: str = Field(primary_key=True, sa_type=Text)
    last_at: int = Field(sa_type=BigInteger)
    last_status: int = Field(sa_type=BigInteger)
    failures: int = Field(sa_type=BigInteger)
