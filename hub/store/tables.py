"""The tables, as SQLModel classes: the schema that migrations build and management code uses.

Times are epoch milliseconds, JSON is text, money is double with NULL for unknown. The write-behind rows
go by plain SQL (:mod:`hub.store.columns`); a test holds both equal.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Double, Index, Text, text
from sqlmodel import Field

from hub.store.tables_base import EMPTY as _EMPTY
from hub.store.tables_base import EMPTY_OBJECT as _EMPTY_OBJECT
from hub.store.tables_base import ZERO as _ZERO
from hub.store.tables_base import Base
from hub.store.tables_compression import CompressionEngines, CompressionOutputs, CompressionRuns
from hub.store.tables_contents import RequestContents


class ApiKeys(Base, table=True):
    """A hub key; only the keyed digest of its token is kept."""

    id: str = Field(primary_key=True, sa_type=Text)
    name: str = Field(sa_type=Text)
    prefix: str = Field(sa_type=Text)
    digest: str = Field(unique=True, sa_type=Text)
    grants: str = Field(sa_type=Text)
    allowed_models: str = Field(sa_type=Text)
    active: bool
    no_log: bool
    created_at: int = Field(sa_type=BigInteger)
    expires_at: int | None = Field(sa_type=BigInteger)
    revoked_at: int | None = Field(sa_type=BigInteger)
    last_used_at: int | None = Field(sa_type=BigInteger)
    limits: str = Field(sa_type=Text, sa_column_kwargs=_EMPTY_OBJECT)
    registration: str = Field(sa_type=Text, sa_column_kwargs=_EMPTY)


class Connections(Base, table=True):
    """An account at a provider; ``secret``, ``proxy`` and ``extra_secrets`` are sealed by the vault."""

    id: str = Field(primary_key=True, sa_type=Text)
    provider: str = Field(index=True, sa_type=Text)
    name: str = Field(sa_type=Text)
    secret: str = Field(sa_type=Text)
    auth_type: str = Field(sa_type=Text)
    base_url: str = Field(sa_type=Text)
    data: str = Field(sa_type=Text)
    priority: int
    active: bool
    allow_private: bool
    proxy: str = Field(sa_type=Text)
    default_model: str = Field(sa_type=Text)
    models: str = Field(sa_type=Text)
    test_status: str = Field(sa_type=Text)
    last_error: str = Field(sa_type=Text)
    last_error_at: int | None = Field(sa_type=BigInteger)
    cooldown_until: int | None = Field(sa_type=BigInteger)
    backoff_level: int
    created_at: int = Field(sa_type=BigInteger)
    updated_at: int = Field(sa_type=BigInteger)
    rules: str = Field(sa_type=Text, sa_column_kwargs=_EMPTY_OBJECT)
    extra_secrets: str = Field(sa_type=Text, sa_column_kwargs=_EMPTY)


class Usage(Base, table=True):
    """One priced request. ``id`` makes writing it again harmless."""

    # Each index is paid for with every request. Reports go by time and by sums; the other two hold only rows that differ from most.
    __table_args__ = (
        Index(None, "session", "at", sqlite_where=text("session <> ''"), postgresql_where=text("session <> ''")),
        Index(None, "at", "outcome", sqlite_where=text("outcome <> 'ok'"), postgresql_where=text("outcome <> 'ok'")),
    )
    id: str = Field(primary_key=True, sa_type=Text)
    request_id: str = Field(sa_type=Text)
    at: int = Field(index=True, sa_type=BigInteger)
    door: str = Field(sa_type=Text)
    skill: str = Field(sa_type=Text)
    key_id: str = Field(sa_type=Text)
    key_name: str = Field(sa_type=Text)
    provider: str = Field(sa_type=Text)
    model: str = Field(sa_type=Text)
    requested_model: str = Field(sa_type=Text)
    connection_id: str = Field(sa_type=Text)
    input: int = Field(sa_type=BigInteger)
    cache_read: int = Field(sa_type=BigInteger)
    cache_write: int = Field(sa_type=BigInteger)
    cache_write_1h: int = Field(sa_type=BigInteger)
    output: int = Field(sa_type=BigInteger)
    reasoning: int = Field(sa_type=BigInteger)
    estimated: bool
    cost: float | None = Field(sa_type=Double)
    price_source: str = Field(sa_type=Text)
    status: int = Field(sa_type=BigInteger)
    outcome: str = Field(sa_type=Text)
    latency_ms: int = Field(sa_type=BigInteger)
    ttft_ms: int | None = Field(sa_type=BigInteger)
    stream: bool
    fallbacks: int = Field(sa_type=BigInteger)
    error_code: str = Field(sa_type=Text)
    combo: str = Field(sa_type=Text, sa_column_kwargs=_EMPTY)
    step: str = Field(sa_type=Text, sa_column_kwargs=_EMPTY)
    source: str = Field(sa_type=Text, sa_column_kwargs={"server_default": text("'upstream'")})
    session: str = Field(sa_type=Text, sa_column_kwargs=_EMPTY)
    compressed: int = Field(sa_type=BigInteger, sa_column_kwargs=_ZERO)


class Decisions(Base, table=True):
    """Why a request went where it did; ``record`` is the whole decision as JSON."""

    request_id: str = Field(primary_key=True, sa_type=Text)
    at: int = Field(index=True, sa_type=BigInteger)
    key_id: str = Field(sa_type=Text)
    provider: str = Field(sa_type=Text)
    model: str = Field(sa_type=Text)
    outcome: str = Field(sa_type=Text)
    record: str = Field(sa_type=Text)


class AuditLog(Base, table=True):
    """One link of the audit chain: ``hash`` covers the row and ``prev_hash`` (SEC-81)."""

    __table_args__ = (Index(None, "skill", "seq"), Index(None, "key_id", "seq"))
    seq: int = Field(primary_key=True, sa_type=BigInteger, sa_column_kwargs={"autoincrement": False})
    id: str = Field(unique=True, sa_type=Text)
    at: int = Field(index=True, sa_type=BigInteger)
    request_id: str = Field(sa_type=Text)
    door: str = Field(sa_type=Text)
    caller: str = Field(sa_type=Text)
    key_id: str = Field(sa_type=Text)
    skill: str = Field(sa_type=Text)
    outcome: str = Field(sa_type=Text)
    error_code: str = Field(sa_type=Text)
    duration_us: int = Field(sa_type=BigInteger)
    digest: str = Field(sa_type=Text)
    detail: str = Field(sa_type=Text)
    target: str = Field(sa_type=Text)
    prev_hash: str = Field(sa_type=Text)
    hash: str = Field(sa_type=Text)
    ip: str = Field(sa_type=Text, sa_column_kwargs=_EMPTY)


class Tasks(Base, table=True):
    """An A2A task; ``task`` is the protocol object as JSON."""

    __table_args__ = (Index(None, "owner", "updated_at"), Index(None, "state", "updated_at"))
    id: str = Field(primary_key=True, sa_type=Text)
    owner: str = Field(sa_type=Text)
    context_id: str = Field(index=True, sa_type=Text)
    skill: str = Field(sa_type=Text)
    state: str = Field(sa_type=Text)
    created_at: int = Field(sa_type=BigInteger)
    updated_at: int = Field(sa_type=BigInteger)
    task: str = Field(sa_type=Text)


class PushConfigs(Base, table=True):
    """Where events of an A2A task are sent; ``sealed`` holds its secrets. ``due_at`` is when another process may see to what is owed."""

    # Only what is still owed is ever looked for without its task.
    __table_args__ = (Index(None, "due_at", sqlite_where=text("told_at IS NULL"), postgresql_where=text("told_at IS NULL")),)
    task_id: str = Field(primary_key=True, sa_type=Text)
    id: str = Field(primary_key=True, sa_type=Text)
    owner: str = Field(sa_type=Text)
    dialect: str = Field(sa_type=Text)
    url: str = Field(sa_type=Text)
    sealed: str = Field(sa_type=Text)
    created_at: int = Field(sa_type=BigInteger)
    due_at: int = Field(sa_type=BigInteger)
    told_at: int | None = Field(sa_type=BigInteger)


class Values(Base, table=True):
    """One named JSON value: settings, and the vault's wrapped keys."""

    name: str = Field(primary_key=True, sa_type=Text)
    value: str = Field(sa_type=Text)
    updated_at: int = Field(sa_type=BigInteger)


class Documents(Base, table=True):
    """Something an owner wrote down (a combo, a mapping, a budget, a policy), as JSON. ``name`` is unique within its kind."""

    __table_args__ = (Index(None, "kind", "name", unique=True),)
    id: str = Field(primary_key=True, sa_type=Text)
    kind: str = Field(sa_type=Text)
    name: str = Field(sa_type=Text)
    body: str = Field(sa_type=Text)
    created_at: int = Field(sa_type=BigInteger)
    updated_at: int = Field(sa_type=BigInteger)


class State(Base, table=True):
    """Something the hub has learned and would rather not forget (a breaker, an affinity, a counter), as JSON; gone after ``until``."""

    kind: str = Field(primary_key=True, sa_type=Text)
    id: str = Field(primary_key=True, sa_type=Text)
    body: str = Field(sa_type=Text)
    until: int | None = Field(sa_type=BigInteger)
    updated_at: int = Field(sa_type=BigInteger)


class Spend(Base, table=True):
    """What a budget has spent in one period, in nano-dollars. ``start`` is the period's first millisecond.

    ``mark`` is the record of the journal up to which ``spent`` counts. The row of period "" is the one that
    processes lock, and its ``held`` is what is held for calls under way.
    """

    budget_id: str = Field(primary_key=True, sa_type=Text)
    period: str = Field(primary_key=True, sa_type=Text)
    start: int = Field(primary_key=True, sa_type=BigInteger, sa_column_kwargs={"autoincrement": False})
    spent: int = Field(sa_type=BigInteger)
    held: int = Field(sa_type=BigInteger)
    warned_at: int | None = Field(sa_type=BigInteger)
    exceeded_at: int | None = Field(sa_type=BigInteger)
    mark: int = Field(sa_type=BigInteger)


class Holds(Base, table=True):
    """Nano-dollars held of one budget for one call under way, where several processes share the database."""

    id: str = Field(primary_key=True, sa_type=Text)
    budget_id: str = Field(primary_key=True, sa_type=Text)
    amount: int = Field(sa_type=BigInteger)
    process: str = Field(index=True, sa_type=Text)
    at: int = Field(sa_type=BigInteger)


class Processes(Base, table=True):
    """The processes that share the database, each seen alive at ``seen_at``."""

    id: str = Field(primary_key=True, sa_type=Text)
    seen_at: int = Field(sa_type=BigInteger)


class UsageHours(Base, table=True):
    """Usage of one hour (since 1970-01-01 UTC) in sums, written with the rows it sums up and kept when they are pruned."""

    hour: int = Field(primary_key=True, sa_type=BigInteger, sa_column_kwargs={"autoincrement": False})
    key_id: str = Field(primary_key=True, sa_type=Text)
    provider: str = Field(primary_key=True, sa_type=Text)
    model: str = Field(primary_key=True, sa_type=Text)
    connection_id: str = Field(primary_key=True, sa_type=Text)
    combo: str = Field(primary_key=True, sa_type=Text)
    source: str = Field(primary_key=True, sa_type=Text)
    key_name: str = Field(sa_type=Text)
    requests: int = Field(sa_type=BigInteger)
    errors: int = Field(sa_type=BigInteger)
    cancelled: int = Field(sa_type=BigInteger)
    fallbacks: int = Field(sa_type=BigInteger)
    unpriced: int = Field(sa_type=BigInteger)
    cost: float = Field(sa_type=Double)
    input: int = Field(sa_type=BigInteger)
    cache_read: int = Field(sa_type=BigInteger)
    cache_write: int = Field(sa_type=BigInteger)
    output: int = Field(sa_type=BigInteger)
    reasoning: int = Field(sa_type=BigInteger)
    latency_ms: int = Field(sa_type=BigInteger)
    last_at: int = Field(sa_type=BigInteger)


class UsageDays(Base, table=True):
    """The same of one day (since 1970-01-01 UTC), so that long reports read little."""

    day: int = Field(primary_key=True, sa_type=BigInteger, sa_column_kwargs={"autoincrement": False})
    key_id: str = Field(primary_key=True, sa_type=Text)
    provider: str = Field(primary_key=True, sa_type=Text)
    model: str = Field(primary_key=True, sa_type=Text)
    connection_id: str = Field(primary_key=True, sa_type=Text)
    combo: str = Field(primary_key=True, sa_type=Text)
    source: str = Field(primary_key=True, sa_type=Text)
    key_name: str = Field(sa_type=Text)
    requests: int = Field(sa_type=BigInteger)
    errors: int = Field(sa_type=BigInteger)
    cancelled: int = Field(sa_type=BigInteger)
    fallbacks: int = Field(sa_type=BigInteger)
    unpriced: int = Field(sa_type=BigInteger)
    cost: float = Field(sa_type=Double)
    input: int = Field(sa_type=BigInteger)
    cache_read: int = Field(sa_type=BigInteger)
    cache_write: int = Field(sa_type=BigInteger)
    output: int = Field(sa_type=BigInteger)
    reasoning: int = Field(sa_type=BigInteger)
    latency_ms: int = Field(sa_type=BigInteger)
    last_at: int = Field(sa_type=BigInteger)


class LatencyHours(Base, table=True):
    """What one process saw of a model in one hour: calls, output tokens and the time they took, sketches of latency and first token."""

    hour: int = Field(primary_key=True, sa_type=BigInteger, sa_column_kwargs={"autoincrement": False})
    provider: str = Field(primary_key=True, sa_type=Text)
    model: str = Field(primary_key=True, sa_type=Text)
    process: str = Field(primary_key=True, sa_type=Text)
    requests: int = Field(sa_type=BigInteger)
    errors: int = Field(sa_type=BigInteger)
    output: int = Field(sa_type=BigInteger)
    busy_ms: int = Field(sa_type=BigInteger)
    latency: str = Field(sa_type=Text)
    ttft: str = Field(sa_type=Text)


class Replays(Base, table=True):
    """The answer to a request that carried an idempotency key; ``id`` binds caller, endpoint and key together."""

    id: str = Field(primary_key=True, sa_type=Text)
    request: str = Field(sa_type=Text)
    state: str = Field(sa_type=Text)
    reply: str = Field(sa_type=Text)
    process: str = Field(sa_type=Text)
    created_at: int = Field(sa_type=BigInteger)
    expires_at: int = Field(index=True, sa_type=BigInteger)


class Responses(Base, table=True):
    """A cached answer; ``id`` is the signature of everything that shaped it, ``owner`` who may see it again."""

    __table_args__ = (Index(None, "owner", "model"),)
    id: str = Field(primary_key=True, sa_type=Text)
    owner: str = Field(sa_type=Text)
    model: str = Field(sa_type=Text)
    request: str = Field(sa_type=Text)
    reply: str = Field(sa_type=Text)
    tokens: int = Field(sa_type=BigInteger)
    created_at: int = Field(sa_type=BigInteger)
    expires_at: int = Field(index=True, sa_type=BigInteger)


class CloudAgentTasks(Base, table=True):
    """A task for an agent elsewhere. ``next_poll_at`` is when somebody looks at it next; who claims it moves that on."""

    id: str = Field(primary_key=True, sa_type=Text)
    provider_id: str = Field(sa_type=Text)
    external_id: str = Field(sa_type=Text)
    credential_id: str = Field(sa_type=Text)
    status: str = Field(sa_type=Text)
    prompt: str = Field(sa_type=Text)
    source: str = Field(sa_type=Text)
    options: str = Field(sa_type=Text)
    result: str | None = Field(sa_type=Text)
    error: str = Field(sa_type=Text)
    idempotency: str | None = Field(unique=True, index=True, sa_type=Text)
    next_poll_at: int | None = Field(index=True, sa_type=BigInteger)
    wait_ms: int = Field(sa_type=BigInteger)
    failures: int = Field(sa_type=BigInteger)
    created_at: int = Field(index=True, sa_type=BigInteger)
    updated_at: int = Field(sa_type=BigInteger)
    completed_at: int | None = Field(sa_type=BigInteger)


class CloudAgentActivities(Base, table=True):
    """Something that was done in such a task. ``id`` is the agent's own; rows are only ever added."""

    __table_args__ = (Index(None, "task_id", "id", unique=True),)
    task_id: str = Field(primary_key=True, sa_type=Text)
    seq: int = Field(primary_key=True, sa_type=BigInteger, sa_column_kwargs={"autoincrement": False})
    id: str = Field(sa_type=Text)
    type: str = Field(sa_type=Text)
    content: str = Field(sa_type=Text)
    facts: str = Field(sa_type=Text)
    at: int = Field(sa_type=BigInteger)


class ModelResponses(Base, table=True):
    """An answer that a client of the Responses API asked to be kept. ``body`` is the response object, ``input`` the items of its turn;
    ``alive_at`` is when whoever still works on it last said so."""

    __table_args__ = (Index(None, "key_id", "created_at"),)
    id: str = Field(primary_key=True, sa_type=Text)
    key_id: str = Field(sa_type=Text)
    previous_id: str = Field(sa_type=Text)
    status: str = Field(sa_type=Text)
    body: str = Field(sa_type=Text)
    input: str = Field(sa_type=Text)
    created_at: int = Field(sa_type=BigInteger)
    alive_at: int = Field(sa_type=BigInteger)
    expires_at: int = Field(index=True, sa_type=BigInteger)


class Files(Base, table=True):
    """A file that a key keeps; its content is on the disk under its id."""

    __table_args__ = (Index(None, "key_id", "created_at"),)
    id: str = Field(primary_key=True, sa_type=Text)
    key_id: str = Field(sa_type=Text)
    filename: str = Field(sa_type=Text)
    content_type: str = Field(sa_type=Text)
    purpose: str = Field(sa_type=Text)
    bytes: int = Field(sa_type=BigInteger)
    created_at: int = Field(sa_type=BigInteger)
    expires_at: int | None = Field(index=True, sa_type=BigInteger)


class Batches(Base, table=True):
    """Requests of a file that are worked off one by one. ``owner`` ends the batch until ``due_at``; ``facts`` is JSON."""

    __table_args__ = (Index(None, "key_id", "created_at"),)
    id: str = Field(primary_key=True, sa_type=Text)
    key_id: str = Field(sa_type=Text)
    status: str = Field(index=True, sa_type=Text)
    input_file_id: str = Field(sa_type=Text)
    facts: str = Field(sa_type=Text)
    total: int = Field(sa_type=BigInteger)
    completed: int = Field(sa_type=BigInteger)
    failed: int = Field(sa_type=BigInteger)
    input_tokens: int = Field(sa_type=BigInteger)
    cached_tokens: int = Field(sa_type=BigInteger)
    output_tokens: int = Field(sa_type=BigInteger)
    reasoning_tokens: int = Field(sa_type=BigInteger)
    created_at: int = Field(sa_type=BigInteger)
    expires_at: int = Field(sa_type=BigInteger)
    owner: str = Field(sa_type=Text)
    due_at: int = Field(sa_type=BigInteger)


class BatchItems(Base, table=True):
    """One request of a batch. ``due_at`` is when it may be taken, for one that ``owner`` works on the end of its lease; none once done."""

    # Only what is not done is looked for without its line.
    __table_args__ = (
        Index(
            None, "batch_id", "category", "due_at",
            sqlite_where=text("due_at IS NOT NULL"), postgresql_where=text("due_at IS NOT NULL"),
        ),
        Index(None, "owner", sqlite_where=text("owner <> ''"), postgresql_where=text("owner <> ''")),
    )  # fmt: skip
    batch_id: str = Field(primary_key=True, sa_type=Text)
    line: int = Field(primary_key=True, sa_type=BigInteger, sa_column_kwargs={"autoincrement": False})
    custom_id: str = Field(sa_type=Text)
    category: str = Field(sa_type=Text)
    start: int = Field(sa_type=BigInteger)
    size: int = Field(sa_type=BigInteger)
    owner: str = Field(sa_type=Text)
    due_at: int | None = Field(sa_type=BigInteger)
    tries: int = Field(sa_type=BigInteger)
    ok: bool
    result: str = Field(sa_type=Text)


class LoginSessions(Base, table=True):
    """A browser that is logged in; only the digest of its token is kept."""

    id: str = Field(primary_key=True, sa_type=Text)
    digest: str = Field(unique=True, sa_type=Text)
    created_at: int = Field(sa_type=BigInteger)
    last_seen: int = Field(sa_type=BigInteger)
    expires_at: int = Field(index=True, sa_type=BigInteger)
    address: str = Field(sa_type=Text)
    agent: str = Field(sa_type=Text)


class LoginTries(Base, table=True):
    """Failed logins at an account or from an address: the next is looked at after ``until``, all is forgotten after ``forget_at``."""

    name: str = Field(primary_key=True, sa_type=Text)
    failures: int = Field(sa_type=BigInteger)
    until: int = Field(sa_type=BigInteger)
    forget_at: int = Field(index=True, sa_type=BigInteger)


class LoginOwner(Base, table=True):
    """The owner: hash of the password, second factor, link, as JSON; one row."""

    id: str = Field(primary_key=True, sa_type=Text)
    body: str = Field(sa_type=Text)


class Revision(Base, table=True):
    """One row: the counter of management writes that other processes watch, and the head of the audit chain."""

    id: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    version: int = Field(sa_type=BigInteger)
    audit_seq: int = Field(sa_type=BigInteger)
    audit_hash: str = Field(sa_type=Text)


#: Tables that are declared elsewhere.
MORE: tuple[type[Base], ...] = (CompressionRuns, CompressionEngines, CompressionOutputs, RequestContents)

#: What management code may name.
TABLES: dict[str, type[Base]] = {"api_keys": ApiKeys, "connections": Connections, "values": Values, "documents": Documents}
