"""Provider discovery: which providers the hub knows, and which suits a task best now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from hub.context import Context
from hub.providers.catalog import ProviderRow
from hub.resilience.health import standings
from hub.skill import A2a, A2aAnswer, A2aAsk, Audit, CostClass, Names, Resource, Rest, skill
from hub.wire import Nothing, Wire

if TYPE_CHECKING:
    from hub.call import Hub

Capability = Literal["chat", "image", "video", "audio", "embed", "rerank", "search", "local"]

#: The catalogue's names of services that count as a capability.
_SERVICES: dict[str, frozenset[str]] = {
    "chat": frozenset({"chat", "responses"}),
    "image": frozenset({"image", "images"}),
    "video": frozenset({"video"}),
    "audio": frozenset({"tts", "stt", "audio", "music"}),
    "embed": frozenset({"embedding", "embeddings"}),
    "rerank": frozenset({"rerank"}),
    "search": frozenset({"search"}),
}
#: Words of a request that name a capability, the first match wins (agents.md 2).
_WORDS: tuple[tuple[str, Capability], ...] = (
    ("image", "image"), ("picture", "image"), ("vision", "image"), ("video", "video"), ("audio", "audio"), ("speech", "audio"),
    ("transcri", "audio"), ("embed", "embed"), ("rerank", "rerank"), ("search", "search"), ("local", "local"),
)  # fmt: skip
_HEALTH_SCORE = {"healthy": 20, "recovering": 5, "down": -100, "unknown": 0}


class DiscoverAsk(Wire):
    """What the provider is wanted for."""

    capability: Capability = Field(default="chat", description="Kind of work the provider must offer.")
    limit: int = Field(default=10, ge=1, le=200, description="Most candidates to return.")


class ProviderCandidate(Wire):
    """A provider and how well it suits."""

    id: str
    name: str
    capabilities: list[str]
    configured: bool
    active: bool
    health: str
    model_count: int
    score: int


class Discovery(Wire):
    """Providers for a capability, best first. ``recommended_provider`` is null when none of them is connected."""

    capability: str
    total_candidates: int
    configured_candidates: int
    recommended_provider: str | None
    candidates: list[ProviderCandidate]


def _offering(ctx: Context, capability: str) -> list[ProviderRow]:
    if capability == "local":
        return [row for row in ctx.hub.catalog.providers.values() if row.local]
    return ctx.hub.catalog.offering(_SERVICES[capability])


class _Rated:
    """A provider with what its place in the list depends on."""

    __slots__ = ("active", "configured", "health", "row", "score")

    def __init__(self, ctx: Context, row: ProviderRow, health: str) -> None:
        connections = ctx.hub.store.connections.of(row.id)
        self.row, self.health = row, health
        self.configured = bool(connections)
        self.active = any(connection.active for connection in connections)
        self.score = 100 + 30 * self.active + 20 * self.configured + _HEALTH_SCORE[health] + min(25, len(row.shown))

    def shown(self) -> ProviderCandidate:
        """The provider as the answer has it."""
        return ProviderCandidate(
            id=self.row.id,
            name=self.row.name,
            capabilities=list(self.row.services),
            configured=self.configured,
            active=self.active,
            health=self.health,
            model_count=len(self.row.shown),
            score=self.score,
        )


def _ask(ask: A2aAsk) -> dict[str, Any]:
    wanted = ask.data.get("capability") or ask.metadata.get("capability")
    if wanted is None:
        text = ask.text.lower()
        wanted = next((capability for word, capability in _WORDS if word in text), "chat")
    limit = ask.data.get("limit", ask.metadata.get("limit"))
    return {"capability": wanted} if limit is None else {"capability": wanted, "limit": limit}


def _answer(found: Discovery) -> A2aAnswer:
    lines = [f"- {one.name}: {'connected' if one.active else 'not connected'}, {one.model_count} models" for one in found.candidates]
    lead = f"Best for {found.capability}: {found.recommended_provider}." if found.recommended_provider else "None of them is connected yet."
    text = "\n".join([f"{found.total_candidates} providers offer {found.capability}. {lead}", *lines])
    data = found.model_dump(mode="json", by_alias=True)
    return A2aAnswer(text, data, data)


@skill(
    "provider-discovery",
    scopes=["read:models"],
    cost=CostClass.FREE,
    rest=[Rest("GET", "/api/providers/discover")],
    a2a=A2a(
        "provider-discovery",
        tags=("providers", "models", "discovery"),
        examples=("Which provider can generate images?", "Find me a provider for embeddings"),
        ask=_ask,
        view=_answer,
        keywords=("provider", "which model", "who offers", "discover", "available models"),
    ),
    read_only=True,
)
async def discover(ctx: Context, ask: DiscoverAsk) -> Discovery:
    """Find providers for a kind of work, connected and healthy ones first."""
    words = {"CLOSED": "healthy", "HALF_OPEN": "recovering", "OPEN": "down"}
    health = {one.provider: words[one.state] for one in standings(ctx.hub)}
    rated = [_Rated(ctx, row, health.get(row.id, "unknown")) for row in _offering(ctx, ask.capability)]
    rated.sort(key=lambda one: (-one.score, one.row.id))
    best = next((one.row.id for one in rated if one.active and one.health != "down"), None)
    return Discovery(
        capability=ask.capability,
        total_candidates=len(rated),
        configured_candidates=sum(one.configured for one in rated),
        recommended_provider=best,
        candidates=[one.shown() for one in rated[: ask.limit]],
    )


class KnownProvider(Wire):
    """One row of the catalogue, in brief. ``needs`` are the facts a connection must give, ``login`` the ways of OAuth."""

    id: str
    alias: str
    name: str
    category: str
    format: str
    chat: bool
    services: list[str]
    model_count: int
    verified: str
    website: str
    needs: list[str]
    login: list[str]
    connections: int


class KnownProviders(Wire):
    """The catalogue."""

    providers: list[KnownProvider]


def _ids(known: KnownProviders) -> list[str]:
    """Connected ones first: people mean those."""
    return [row.id for row in sorted(known.providers, key=lambda row: (not row.connections, row.id))]


def _connections(hub: Hub) -> object:
    return [(one.id, one.provider) for one in hub.store.connections.all()], hub.catalog.version


@skill(
    "providers-list",
    scopes=["read:models"],
    cost=CostClass.FREE,
    rest=[Rest("GET", "/api/providers/catalog")],
    resources=[Resource("hub://providers", "Providers the hub knows, and how many connections each has.", state=_connections)],
    names=Names("provider", _ids),
    read_only=True,
    audit=Audit.NONE,
)
async def providers(ctx: Context, ask: Nothing) -> KnownProviders:
    """List every provider the hub knows and what a connection to it needs."""
    return KnownProviders(
        providers=[
            KnownProvider(
                id=row.id,
                alias=row.alias,
                name=row.name,
                category=row.category,
                format=row.format,
                chat=row.format in ctx.hub.adapters,
                services=list(row.services),
                model_count=len(row.shown),
                verified=row.verified,
                website=row.website,
                needs=row.needs,
                login=row.oauth.ways if row.oauth else [],
                connections=len(ctx.hub.store.connections.of(row.id)),
            )
            for row in ctx.hub.catalog.providers.values()
            if not row.builtin
        ]
    )
