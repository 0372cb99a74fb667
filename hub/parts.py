"""What a hub is made of: every part once, put together in the order in which they need one another, opened and closed with it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from hub import assembly
from hub.access.actions import Actions
from hub.access.anchors import Anchors
from hub.access.limits import Limits
from hub.access.policies import Policies
from hub.access.policy import Policy
from hub.acp import provider as acp
from hub.acp.local import LocalAgents
from hub.acp.rows import CustomAgent
from hub.assess.assessments import Assessments
from hub.backups import Backups
from hub.batches import held
from hub.batches.batches import Batches
from hub.borders import Borders
from hub.caching.sameness import Sameness
from hub.caching.semantic import Semantic
from hub.clock import Clock
from hub.cloud_agents.tasks import CloudTasks
from hub.compression.combos import CompressionCombo, CompressionCombos
from hub.custom_models import CustomModels
from hub.delivery import Deliverer
from hub.embeddings import Embeddings
from hub.engine.answers import Answers
from hub.engine.attempts import Ledger
from hub.engine.counting import Counting
from hub.engine.engine import ChatEngine
from hub.engine.inflight import InFlight
from hub.engine.relay import Relay
from hub.engine.rounds import Rounds
from hub.evals.suites import Suite
from hub.events import Events
from hub.files import Files
from hub.login.login import Login
from hub.media.engine import Formats, MediaEngine
from hub.media.searches import Searches
from hub.money.budgets import Budgets
from hub.money.pricebook import PriceBook
from hub.money.prices import Prices
from hub.nodes import Nodes
from hub.oauth.resource import ResourceServer
from hub.outbound.client import Outbound
from hub.planning.affinity import Sessions
from hub.planning.comboboard import ComboBoard
from hub.planning.directory import Directory
from hub.planning.plan import Planner
from hub.planning.prefixes import Prefixes
from hub.planning.query import Query
from hub.planning.roots import Roots
from hub.planning.senses import Senses
from hub.planning.targets import Targets
from hub.preferences import PreferenceStore
from hub.process.lifecycle import Lifecycle
from hub.provider_login.logins import ProviderLogins
from hub.providers.base import Adapter
from hub.providers.catalog import Catalog
from hub.registry import Skills, load
from hub.remote_agents.agents import RemoteAgents
from hub.resilience.quota import Quotas
from hub.resilience.resilience import Resilience
from hub.resilience.telemetry import Telemetry
from hub.resilience.throttle import Throttle
from hub.resilience.waiting import Waiting
from hub.retention import Retention
from hub.routing.combo import Combo, Mapping
from hub.routing.resolve import Resolver
from hub.routing.strategy import Strategy
from hub.store import Store
from hub.sync.tokens import Tokens
from hub.tasks.push import Pushes
from hub.tasks.responses import Responses
from hub.tasks.tasks import LiveTasks
from hub.uploads import Spool
from hub.upstream.servers import Upstreams
from hub.webhooks.sources import Sources
from hub.webhooks.webhooks import Webhooks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from hub.engine.ask import ChatAsk
    from hub.preferences import Preferences
    from hub.records import AuditRow, Caller, UsageRow
    from hub.routing.strategy import Option
    from hub.settings import Settings


class Parts(Borders):
    """The parts of one process, by name. Skills and doors use them; who makes a hub opens and closes it."""

    def __init__(self, settings: Settings, *, clock: Clock | None = None, skills: Skills | None = None) -> None:
        self.settings = settings
        self.clock = clock or Clock()
        self.started_ms = self.clock.now_ms()
        #: A2A bindings that listen beside HTTP, and where clients reach them; the agent card shows them.
        self.listening: dict[str, str] = {}
        self.skills = skills or Skills.load()
        self.catalog = Catalog.load()
        self.adapters: dict[str, Adapter] = dict(load("hub.providers", Adapter, lambda adapter: adapter.name))
        self.media_formats = Formats()
        self.strategies = load("hub.routing.strategies", Strategy, lambda strategy: strategy.name)
        self.store = Store(settings, self.clock)
        self.events = Events(self.clock)
        self.preferences = PreferenceStore(self.store.values)
        self.directory = Directory(self.store, self.catalog, demo=settings.demo)
        deliverer = Deliverer(Outbound(), self.clock, allowed=settings.push_allowed_hosts)
        self.pushes = Pushes(self.store, self.clock, deliverer)
        self.webhooks = Webhooks(self.store, self.clock, deliverer, self.events)
        self.tasks = LiveTasks(self.store, self.clock, self.pushes)
        self.outbound = Outbound(allow_private=settings.allow_private)
        super().__init__(settings, self.store, self.outbound, self.clock)
        self._accounts(settings)
        self.spool = Spool(settings.data_dir / "uploads")
        self.files = Files(self.store, self.spool, self.clock)
        self.upstreams = Upstreams(self.store, self.outbound, self.events, self.clock, settings, self.skills)
        self.remote_agents = RemoteAgents(self.store, self.outbound, self.events, self.clock, self.skills)
        self.tasks.on_left.append(self.remote_agents.left)
        self._written()
        self._elsewhere()
        self._learned()
        self._routing()
        self.compressor = assembly.compressor(self)
        self._chats()
        self.batches = Batches(
            self.store,
            self.files,
            self.spool,
            self.clock,
            self.events,
            provider=lambda model, service: self.planner.resolve(model, service).provider,
            vendors=assembly.vendors(self),
        )
        self.backups = Backups(self.store, self.budgets, self.clock, self.events, lambda: self._preferred().backup_schedule)
        self.sync_tokens = Tokens(self.store, self.clock)
        self.sync_serving, self.syncing = assembly.syncing(self)
        self.retention.also += [self.files.sweep, self.batches.sweep]
        self.leaving = self.closing = False  # a stop is announced, to those who ask ``/ready``; it has begun
        self.lifecycle = Lifecycle()
        #: What doors keep for the life of this hub, by name, and what they want done when it stops and closes.
        self.kept: dict[str, Any] = {}
        self.on_stop: list[Callable[[], None]] = []
        self.on_close: list[Callable[[], Awaitable[None]]] = []
        #: Called on the event loop after what owners write down changed, and after each routed call with its row.
        self.on_changed: list[Callable[[], None]] = []
        self.on_call: list[Callable[[UsageRow], None]] = []
        #: Called with each row of the audit log.
        self.on_audited: list[Callable[[AuditRow], None]] = []
        self.elsewhere = assembly.elsewhere(self)
        self.user_skills = assembly.user_skills(self)
        self._watching()

    def _accounts(self, settings: Settings) -> None:
        """Who owns the hub, and its accounts at providers."""
        self.login = Login(self.store, self.outbound, self.clock, settings, self._preferred)
        self.openings.append(lambda: "browsers need no login here; set requireLogin first" if self.login.optional else "")
        self.logins = ProviderLogins(
            self.store,
            self.outbound,
            self.events,
            self.clock,
            settings,
            self.catalog,
            self.mark,
            agents=lambda: ((row.id, row.alias) for row in self.agents.rows()),
        )
        self.targets = Targets(self.catalog, self.adapters, routes=self.proxies.routes, logins=self.logins.accounts.opened)
        self.custom_models = CustomModels(self.store)
        self.nodes = Nodes(self.store, self.catalog, self.directory, self.custom_models)

    def _watching(self) -> None:
        """Who hears of what happens: the audit log's anchors, and webhooks."""
        self.retention.also.append(lambda: self.webhooks.sweep(self._preferred().retention.delivery_days))
        self.actions = Actions(self.skills)
        self.anchors = Anchors(self.store, self.clock, self.events, self.settings.data_dir)
        self._sources = Sources(
            self.webhooks,
            calls=self.on_call,
            audited=self.on_audited,
            moved=self.tasks.on_moved,
            actions=self.actions,
            skills=self.skills,
        )

    def _written(self) -> None:
        """What owners write down: combos and mappings, prices, budgets, policies."""
        self.combos = self.store.collection("combo", what="combo", prefix="combo_", body=Combo)
        self.mappings = self.store.collection("mapping", what="mapping", prefix="map_", body=Mapping)
        self.eval_suites = self.store.collection("eval-suite", what="suite", prefix="evs_", body=Suite)
        compressions = self.store.collection("compression-combo", what="compression combo", prefix="cc_", body=CompressionCombo)
        self.compression_combos = CompressionCombos(compressions, self.started_ms)
        #: Held from the check of a change to combos, mappings or aliases until it is stored.
        self.combo_changes = asyncio.Lock()
        self.pricebook = PriceBook(self.store.values, self.catalog)
        self.prices = Prices(self.catalog, lambda: self.pricebook.overrides, synced=lambda: self.pricebook.synced)
        self.budgets = Budgets(self.store, self.clock, self.events, self._preferred)
        self.policies = Policies(
            self.store.collection("policy", what="policy", prefix="pol_", body=Policy),
            clock=self.clock,
            options=self._options,
            prices=self.prices,
            catalog=self.catalog,
        )
        issuers = self.settings.oauth_issuers
        counted = any(one.per_minute or one.per_day for one in issuers)
        self.limits = Limits(self.store.state, self.clock, shared=self.store.postgres, always=counted)
        self.oauth = ResourceServer(
            issuers, outbound=self.outbound, clock=self.clock, budgets=self.budgets, blocked=lambda: self._preferred().oauth_blocked
        )

    def _elsewhere(self) -> None:
        """Agents beside the hub: on this machine, at vendors, at other hubs."""
        custom = self.store.collection("acp-agent", what="agent", prefix="agent_", body=CustomAgent)
        self.agents = LocalAgents(self.settings, custom, self.clock)
        self.adapters[acp.NAME] = acp.AgentAdapter(self.agents, self.clock, allowed=self.settings.acp_chat)
        self.cloud_tasks = CloudTasks(
            store=self.store,
            outbound=self.outbound,
            agents=self.agents,
            clock=self.clock,
            events=self.events,
            known=self.remote_agents.named,
        )

    def _learned(self) -> None:
        """What the hub learns while it runs: health, quota, latency, sessions, warm caches, how combos did."""
        state, preferences = self.store.state, self._preferred
        self.resilience = Resilience(
            clock=self.clock,
            settings=lambda: preferences().resilience_settings,
            profile=self.catalog.profile,
            per_model=lambda connection: self.catalog.per_model(connection.provider, connection.rules.model_quotas),
            mark=self.mark,
            state=state,
            events=self.events,
            current=self.store.connections.peek,
        )
        self.throttle = Throttle(self.clock)
        self.quotas = Quotas(self.clock, state=state, emit=self.events.emit, learned=self.throttle.learn)
        self.sessions = Sessions(state, self.clock, ttl_ms=lambda: preferences().session_affinity_ttl_ms)
        self.warm_prefixes = Prefixes(self.clock)
        self.board = ComboBoard(state, self.clock)
        self.relay = Relay(state, self.clock)
        self.telemetry = Telemetry(self.clock, hours=self.store.latency, state=state)
        self.inflight = InFlight()
        self.retention = Retention(self.store, self.clock, lambda: preferences().retention)
        self.assessments = Assessments(self.store, self.clock, lambda: preferences().assessments)

    def _routing(self) -> None:
        """From a model string to the targets in their order."""
        directory, board = self.directory, self.board
        self.resolver = Resolver(
            self.catalog,
            directory.connected,
            directory.prefixes,
            directory.aliases,
            discovered=directory.discovered,
            replaced=directory.replaced,
        )
        self.ledger = Ledger(
            clock=self.clock,
            prices=self.prices,
            resilience=self.resilience,
            telemetry=self.telemetry,
            board=board,
            sessions=self.sessions,
            inflight=self.inflight,
            prefixes=self.warm_prefixes,
            budgets=self.budgets,
            add_usage=self._used,
            add_decision=self.store.decisions.add,
        )
        self.senses = Senses(
            catalog=self.catalog,
            prices=self.prices,
            quotas=self.quotas,
            resilience=self.resilience,
            telemetry=self.telemetry,
            board=board,
            prefixes=self.warm_prefixes,
            clock=self.clock,
            running=lambda connection_id: self.ledger.running.get(connection_id, 0),
            last_used=lambda connection_id: self.ledger.called_at.get(connection_id, 0),
        )
        roots = Roots(
            catalog=self.catalog,
            resolver=self.resolver,
            connections=self.store.connections.of,
            connected=directory.connected,
            combos=self._combo,
            mappings=lambda: assembly.mapped(self),
            aliases=directory.aliases,
            preferences=self._preferred,
            formats=frozenset(self.adapters),
            media=self.media_formats.names,
            builtins=self.settings.demo != "off",
        )
        self.planner = Planner(
            roots=roots,
            strategies=self.strategies,
            resilience=self.resilience,
            quotas=self.quotas,
            senses=self.senses,
            board=board,
            sessions=self.sessions,
            preferences=self._preferred,
            clock=self.clock,
        )

    def _chats(self) -> None:
        """What runs a chat, what stands before it, and what runs all that is no chat."""
        waiting = Waiting(lambda: self._preferred().resilience_settings.wait_for_cooldown)
        self.rounds = Rounds(
            targets=self.targets,
            ledger=self.ledger,
            senses=self.senses,
            throttle=self.throttle,
            preferences=self._preferred,
            profile=self.catalog.profile,
            settings=self.settings,
        )
        self.media = MediaEngine(
            planner=self.planner,
            rounds=self.rounds,
            formats=self.media_formats,
            outbound=self.outbound,
            prices=self.prices,
            ledger=self.ledger,
            quotas=self.quotas,
            policies=self.policies,
            waiting=waiting,
            settings=self.settings,
        )
        self.searches = Searches(self.media, self.ledger, self.catalog, self.clock)
        self.sameness = Sameness(
            store=self.store,
            clock=self.clock,
            answers=Answers(self.adapters, self.catalog),
            preferences=self._preferred,
            note=self.ledger.again,
            route=lambda ask: assembly.route(self, ask),
            semantic=Semantic(Embeddings(self.media), self.clock, lambda: self._preferred().response_cache),
        )
        engine = ChatEngine(
            planner=self.planner,
            targets=self.targets,
            adapters=self.adapters,
            outbound=self.outbound,
            prices=self.prices,
            quotas=self.quotas,
            ledger=self.ledger,
            rounds=self.rounds,
            preferences=self._preferred,
            relay=self.relay,
            compressor=self.compressor,
            waiting=waiting,
            settings=self.settings,
        )
        self.counting = Counting(
            planner=self.planner, targets=self.targets, adapters=self.adapters, outbound=self.outbound, preferences=self._preferred
        )
        self.responses = Responses(self.store, self.clock, lambda: self._preferred().retention.response_days)
        self.contents = assembly.contents(self)
        self.memory = assembly.memories(self)
        self.chat = assembly.chats(self, engine)

    async def open(self) -> None:
        """Open the store and take over what was stored. Raises HubError with what to do when that cannot be."""
        await self.store.open()
        self.quotas.open()
        self.sessions.open()
        self.board.load()
        self.relay.load()
        self.limits.open()
        self.preferences.refresh()
        self.store.on_change(self.changed)
        await self.budgets.open()
        await self.telemetry.open()
        await self.tasks.open()
        self.pushes.open()
        await self.webhooks.open()
        await self.anchors.open()
        await self.cloud_tasks.open()
        await self.user_skills.open()
        self.on_stop += [self.tasks.end_streams, self.batches.worker.stop]
        self.changed()
        await self.sameness.open()
        await self.login.open()
        self.retention.start()
        self.backups.open()
        self.syncing.open()
        self.oauth.open()
        self.elsewhere.open()
        self.remote_agents.open()
        await self.batches.worker.open()
        await self.open_borders()
        self.on_close += [self.proxy_watch.close, self.tunnels.close]
        self.on_close += [self.oauth.close, self.remote_agents.close, self.upstreams.close, self.limits.close]
        self.on_close += [self.logins.close, self.agents.close, self.cloud_tasks.close, self.login.oidc.close, self.memory.close]
        self.on_close += [
            self.pushes.close,
            self.webhooks.close,
            self.anchors.close,
            self.tasks.close,
            self.sameness.close,
            self.responses.close,
        ]
        self.on_close += [self.batches.worker.close, self.elsewhere.close]

    def stop(self) -> None:
        """The server stops: doors end their standing streams, calls that run go on."""
        self.leaving = self.closing = True
        while self.on_stop:
            self.on_stop.pop()()

    async def close(self) -> None:
        """Let the doors end, flush the rows that wait, close the store and every outbound connection."""
        self.stop()
        while self.on_close:
            await self.on_close.pop()()
        await self.relay.close()
        await self.outbound.aclose()
        await self.retention.close()
        await self.backups.close()
        await self.syncing.close()
        if self.store.unlocked:
            self.quotas.flush()
            self.board.flush()
            self.telemetry.keep()
        await self.budgets.close()
        await self.store.close()

    def mark(self, connection_id: str, **state: Any) -> None:
        """Note a connection's health; built-in ones have no row to note it in."""
        self.planner.forget()
        if connection_id not in self.directory.builtin:
            if "cooldown_until" in state:
                self.resilience.noted(connection_id, state["cooldown_until"])
            self.store.connections.mark(connection_id, **state)

    def changed(self) -> None:
        """Connections, keys, documents or settings changed, here or in another process."""
        connections = self.store.connections.all()
        self.directory.forget()
        rows = self.nodes.refresh()
        if rows:
            self.targets.clear()
        self.preferences.refresh()
        self.resolver.strip_prefix = self._preferred().strip_model_prefix
        self.resolver.spelling = self._preferred().model_alias_compat_enabled
        self.quotas.keep_only({*self.directory.builtin, *(connection.id for connection in connections)})
        self.planner.forget()
        self.refresh_borders(self.combos, self.targets)
        self.upstreams.refresh()
        self.remote_agents.refresh()
        self.user_skills.refresh()
        self.policies.refresh()
        self.contents.refresh()
        self.limits.refresh(self.store.keys.all())
        self.webhooks.refresh()
        self._sources.refresh()
        if self.pricebook.refresh(again=rows) or rows:
            self.prices.clear()
        self.resilience.load(connections)
        self.logins.refresh()
        for listener in list(self.on_changed):
            listener()

    def _used(self, row: UsageRow) -> None:
        """A routed call ended."""
        self.compressor.ended(row)
        if not held.keeps(row):
            self.store.usage.add(row)
        self.assessments.heard(row)
        for listener in list(self.on_call) if self.on_call else ():
            listener(row)

    def _preferred(self) -> Preferences:
        return self.preferences.current

    def _combo(self, name: str) -> Combo | None:
        found = self.combos.find(name)
        return found.body if found is not None else None

    def _options(self, model: str, ask: ChatAsk, caller: Caller) -> Sequence[Option]:
        """The targets that a model string leads to now. Raises HubError where it leads nowhere."""
        query = Query(model=model, caller=caller, strategy=ask.strategy, connection_id=ask.connection, needs=ask.needs, peek=True)
        return self.planner.plan(query).options
