"""The records that the core keeps: keys, connections, usage, decisions, audit, tasks.

Plain structs, so that routing and doors need not know the database; :mod:`hub.store` loads and saves
them. Times are milliseconds since the epoch (UTC), money is US dollars, ``None`` means unknown.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

import msgspec

from hub.access.scopes import ALL, expand
from hub.chat import Usage
from hub.secret import NO_SECRET, Secret

if TYPE_CHECKING:
    from collections.abc import Iterable


class Schedule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """When a key works: on these weekdays (0 Sunday), from ``start`` until ``until`` (HH:MM, over midnight too) in this time zone.

    ``enabled`` False keeps it without effect.
    """

    enabled: bool = True
    days: tuple[int, ...] = ()
    start: str = ""
    until: str = ""
    zone: str = "UTC"


class KeyLimits(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a key may do besides its scopes; 0 and empty are no limit (routing.md 1.2, 6.6).

    ``hourly`` and ``daily`` are requests in a clock hour and a day of UTC, ``per_minute`` and ``per_day`` in a window that moves.
    ``mcp_profile`` says which tools are listed (D9): empty for the hub's own choice.
    """

    hourly: int = 0
    daily: int = 0
    per_minute: int = 0
    per_day: int = 0
    sessions: int = 0
    connections: tuple[str, ...] = ()
    schedule: Schedule | None = None
    tags: tuple[str, ...] = ()
    mcp_profile: str = ""


class Registration(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a registered key comes from: issued for a provider and an account, once for an idempotency key."""

    provider: str = ""
    account_id: str = ""
    idempotency_key: str = ""


NO_LIMITS = KeyLimits()

#: How the ids of principals of authorization servers begin, which stand where those of keys do.
PRINCIPAL = "oauth_"


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """A hub key without its secret. ``prefix`` is its public part, ``grants`` as they were given.

    ``registration`` is set for keys that were issued through ``/api/v1/registered-keys``.
    """

    id: str
    name: str
    prefix: str
    grants: tuple[str, ...]
    scopes: frozenset[str]
    active: bool = True
    allowed_models: tuple[str, ...] = ()
    no_log: bool = False
    created_at: int = 0
    expires_at: int | None = None
    revoked_at: int | None = None
    last_used_at: int | None = None
    limits: KeyLimits = NO_LIMITS
    registration: Registration | None = None


class TestStatus(StrEnum):
    """What is known of a connection's credential (routing.md 3.3)."""

    __test__ = False  # pytest: not a test class

    UNKNOWN = "unknown"
    ACTIVE = "active"
    UNAVAILABLE = "unavailable"  # cooling down
    EXPIRED = "expired"  # the credential is refused
    BANNED = "banned"
    CREDITS_EXHAUSTED = "credits_exhausted"


#: States that no timer ends: a person has to act (routing.md 3.3).
TERMINAL = frozenset({TestStatus.EXPIRED, TestStatus.BANNED, TestStatus.CREDITS_EXHAUSTED})


class ConnectionRules(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How routing may use a connection, as its owner set it (routing.md 1.4, 3.6, 6.5). 0 and empty are no rule.

    ``limit_percent`` passes the connection over once a window (one of ``limit_windows``, or any) is used that far;
    ``preflight`` does so at 98 %. ``model_quotas`` says that a 429 concerns the model and not the account;
    ``lenient`` that a 401 or 403 is a passing state and not the end of the credential. ``global_priority`` orders connections over
    all providers (lower first, before ``Connection.priority``), ``tier`` is that of the account: ultra, pro, standard or free;
    ``group`` is a word for people.
    """

    tags: tuple[str, ...] = ()
    excluded_models: tuple[str, ...] = ()
    max_concurrent: int = 0
    rate_limit: bool = False
    preflight: bool = False
    limit_percent: int = 0
    limit_windows: tuple[str, ...] = ()
    model_quotas: bool | None = None
    lenient: bool = False
    weight: float = 0.0
    global_priority: int = 0
    tier: str = ""
    group: str = ""


NO_RULES = ConnectionRules()


class Connection(msgspec.Struct, kw_only=True):
    """One account or key at a provider. ``data`` fills the base URL's template and vendor extras (region, deployment).

    ``extra_secrets`` are further keys of the same account, used in turn with ``secret``.

    Replaced as a whole when it changes; the engine reads it, only the store makes it.
    """

    id: str
    provider: str
    name: str
    secret: Secret
    auth_type: str = "apikey"
    base_url: str = ""
    data: dict[str, str] = {}
    priority: int = 1
    active: bool = True
    allow_private: bool = False
    proxy: Secret | None = None
    default_model: str = ""
    models: tuple[str, ...] = ()
    rules: ConnectionRules = NO_RULES
    extra_secrets: tuple[Secret, ...] = ()
    test_status: TestStatus = TestStatus.UNKNOWN
    last_error: str = ""
    last_error_at: int | None = None
    cooldown_until: int | None = None
    backoff_level: int = 0
    created_at: int = 0
    updated_at: int = 0


class UsageRow(msgspec.Struct, kw_only=True):
    """One upstream-backed request, priced at the time of the call (D17).

    ``cost`` None means that the price is unknown, never that it was free; ``price_source`` says which
    layer priced it. ``status`` is what the client saw; ``outcome`` ok, error or cancelled. ``source`` says where the answer
    is from: upstream, cache, semantic, lexical, coalesced, idempotent. ``combo`` and ``step`` name the combo and the execution key
    of its target. ``compressed`` are the prompt tokens that compression took out before anything was sent, an estimate.
    """

    request_id: str
    at: int
    door: str
    skill: str
    key_id: str
    key_name: str
    provider: str
    model: str
    requested_model: str
    connection_id: str
    usage: Usage
    cost: float | None
    price_source: str
    status: int
    outcome: str
    latency_ms: int
    ttft_ms: int | None = None
    stream: bool = False
    fallbacks: int = 0
    error_code: str = ""
    combo: str = ""
    step: str = ""
    source: str = "upstream"
    session: str = ""
    compressed: int = 0


class Candidate(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One target that was considered. ``excluded`` says why it was not used, empty when it was in the order.

    ``step`` is the execution key of a combo's target; ``note`` is what its last assessment found wrong with its model.
    """

    provider: str
    model: str
    connection_id: str
    connection: str
    excluded: str = ""
    step: str = ""
    score: float | None = None
    factors: dict[str, float] = {}
    note: str = ""


class Attempt(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One upstream call of a request and how it ended; ``way`` is the proxy it went through and the level that named it."""

    provider: str
    model: str
    connection_id: str
    started_at: int
    latency_ms: int = 0
    status: int | None = None
    kind: str = "ok"
    message: str = ""
    way: str = ""


class Level(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One order that a strategy made: of the targets of a combo, or of the connections of a provider.

    ``given`` are the keys of the options as it got them, ``weights`` theirs where one has any, ``sights`` what it saw of each,
    ``facts`` what it knew besides (:meth:`hub.routing.strategy.Facts.inputs`), ``order`` places in ``given``. From these the same
    order can be made again.
    """

    strategy: str
    facts: dict[str, Any] = {}
    given: list[str] = []
    weights: list[float] = []
    sights: list[dict[str, Any]] = []
    order: list[int] = []


class Decision(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Why a request went where it did (D21). ``resolution`` names the rule that read the model string.

    ``units`` is what it used besides tokens (:class:`hub.money.units.Units`), by name; ``changes`` says in words what the hub made of the
    request on its way, beside its translation.
    """

    request_id: str
    at: int
    key_id: str
    requested_model: str
    resolution: str
    strategy: str
    combo: str = ""
    levels: list[Level] = []
    candidates: list[Candidate] = []
    order: list[int] = []
    attempts: list[Attempt] = []
    outcome: str = ""
    provider: str = ""
    model: str = ""
    cost: float | None = None
    latency_ms: int = 0
    units: dict[str, float] = {}
    changes: list[str] = []


class AuditRow(msgspec.Struct, kw_only=True):
    """One call in the audit log (SEC-80). ``digest`` is SHA-256 of the input; ``detail`` only at level full, masked.

    ``target`` is the id of what was read or changed, ``ip`` the address from where the call came; empty where there was none.
    ``seq`` is its place in the chain, ``hash`` its seal and ``prev_hash`` that of the row before; given when it is stored.
    """

    at: int
    request_id: str
    door: str
    caller: str
    key_id: str
    skill: str
    outcome: str
    error_code: str = ""
    duration_us: int = 0
    digest: str = ""
    detail: str = ""
    target: str = ""
    ip: str = ""
    seq: int = 0
    prev_hash: str = ""
    hash: str = ""


class TaskRow(msgspec.Struct, kw_only=True):
    """An A2A task. ``owner`` is the key id of its caller; ``task`` is the protocol object as JSON."""

    id: str
    owner: str
    context_id: str
    skill: str
    state: str
    created_at: int
    updated_at: int
    task: dict[str, Any]


class PushConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Where the events of an A2A task are sent: ``url``, in the words of ``dialect`` (1.0 or 0.3).

    ``token`` goes into X-A2A-Notification-Token, ``scheme`` and ``credentials`` into Authorization, ``secret`` signs.
    ``told_at`` is when the end of the task was delivered or given up, None while it is still owed.
    """

    dialect: str
    url: str
    id: str = ""
    token: Secret = NO_SECRET
    scheme: str = ""
    credentials: Secret = NO_SECRET
    secret: Secret = NO_SECRET
    task_id: str = ""
    owner: str = ""
    created_at: int = 0
    told_at: int | None = None


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who calls: a key, a principal of an authorization server, the owner on the control socket, or nobody.

    ``scopes`` are concrete, never wildcards. ``issuer`` is the principal's, empty for others, and ``ends_ms`` when its token ends.
    ``session`` is the id of the owner's browser session, empty for all others.
    """

    key_id: str
    name: str
    scopes: frozenset[str]
    allowed_models: tuple[str, ...] = ()
    no_log: bool = False
    limits: KeyLimits = NO_LIMITS
    issuer: str = ""
    ends_ms: int = 0
    session: str = ""

    @classmethod
    def of(cls, key: Key) -> Caller:
        """The caller behind a valid key."""
        return cls(key_id=key.id, name=key.name, scopes=key.scopes, allowed_models=key.allowed_models, no_log=key.no_log, limits=key.limits)

    @classmethod
    def owner(cls, session: str = "", *, ends_ms: int = 0) -> Caller:
        """The owner: on the control socket, or in a browser's session, which is named in records."""
        name = f"owner ({session})" if session else "owner"
        return cls(key_id="owner", name=name, scopes=ALL, ends_ms=ends_ms, session=session)

    @classmethod
    def anonymous(cls, grants: Iterable[str] = ()) -> Caller:
        """No credential; reaches public addresses, and what the operator opened on loopback (D4)."""
        return cls(key_id="", name="anonymous", scopes=expand(grants))
