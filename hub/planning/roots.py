"""From a model string to everything that may serve it: a tree of combos, targets and connections, before the state of the moment.

Combo names win over mappings, mappings over models (routing.md 2.8). A tree is made once and kept until
connections, combos, aliases or preferences change; what changes from request to request is the planner's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from hub.errors import BadRequest, HubError, NotConfigured, UnknownModel
from hub.planning.targets import builtin_connection
from hub.providers.catalog import CHAT, KINDS
from hub.records import TERMINAL, Connection
from hub.routing import auto_names, wildcard
from hub.routing.combo import BUILT_IN, ComboConfig, Step, effective
from hub.routing.combos import ordered_by_tiers
from hub.routing.resolve import Resolution
from hub.routing.strategy import Option

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from hub.preferences import Preferences
    from hub.providers.catalog import Catalog, ProviderRow
    from hub.routing.auto_names import AutoName
    from hub.routing.combo import Combo
    from hub.routing.resolve import Resolver

COMBO = "combo"
MAPPING = "mapping"
AUTO = "auto"
_PREFIX = "combo/"
_DEEPEST = 10


@dataclass(slots=True)
class Leaf:
    """One model at one provider: an option for each of its connections, in stored order, and why some are never used.

    ``key`` names the target within its combo (the execution key of routing.md 2.1). ``wanted`` is the one connection that a step or a
    prefix names; a request that names another wins over it. ``accounts`` is the strategy for its connections, where the request names one.
    """

    key: str
    provider: str
    model: str
    options: list[Option] = field(default_factory=list[Option])
    reasons: list[str] = field(default_factory=list[str])
    weight: float = 0.0
    wanted: str = ""
    context: int | None = None
    accounts: str = ""


@dataclass(slots=True)
class Group:
    """Targets and nested groups that a strategy puts in order. ``name`` is the combo's, empty for a plain model."""

    name: str
    key: str
    strategy: str
    config: ComboConfig
    items: list[Leaf | Group] = field(default_factory=list["Leaf | Group"])
    weight: float = 0.0
    auto: AutoName | None = None


Item: TypeAlias = Leaf | Group


@dataclass(slots=True)
class Root:
    """What a model string stands for. ``combo`` is set for combos, with what it changes about the request."""

    resolution: Resolution
    group: Group
    name: str = ""
    combo: Combo | None = None
    leaves: list[Leaf] = field(default_factory=list[Leaf])


class Roots:
    """Makes trees. Reads only memory: the catalogue, the connections, the combos, the owner's preferences."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        resolver: Resolver,
        connections: Callable[[str], Sequence[Connection]],
        connected: Callable[[], frozenset[str]],
        combos: Callable[[str], Combo | None],
        mappings: Callable[[], Iterable[tuple[str, str]]],
        aliases: Callable[[], Mapping[str, str]],
        preferences: Callable[[], Preferences],
        formats: frozenset[str],
        media: Callable[[], frozenset[tuple[str, str]]] = frozenset,
        builtins: bool = True,
    ) -> None:
        self._catalog = catalog
        self._resolver = resolver
        self._connections = connections
        self._connected = connected
        self._combos = combos
        self._mappings = mappings
        self._aliases = aliases
        self._preferences = preferences
        self._formats = formats
        self._media = media
        self._builtin = {row.id: (builtin_connection(row),) for row in catalog.providers.values() if row.builtin and builtins}

    def make(self, model: str, needs: frozenset[str], *, direct: bool = False, service: str = CHAT) -> Root:
        """The tree of a model string. ``needs`` are abilities that ``auto`` asks of a model; ``direct`` means the model itself,
        whatever combo or mapping stands in front of its name; ``service`` is what is asked of it.

        Raises BadRequest, AmbiguousModel, UnknownModel, and NotConfigured for a provider without a connection, a combo that is
        switched off or a wire format that no adapter speaks.
        """
        name = model.strip()
        found = None if direct else self._combo(name)
        if found is not None:
            root = self._combo_root(*found, service)
        elif (auto := auto_names.parse(name)) is not None:
            root = self._auto_root(name, auto, needs) if service == CHAT else self._service_root(name, service)
        else:
            root = self._model_root(model, service)
        root.leaves = list(_leaves(root.group))
        return root

    def _combo(self, name: str) -> tuple[str, Combo, str] | None:
        """The combo that a string leads to: by name, as ``combo/name``, by a mapping, or by an alias of one of these; and why."""
        combo = self._combos(name)
        if combo is not None:
            return name, combo, f"{name!r} is a combo"
        if name.startswith(_PREFIX):
            short = name.removeprefix(_PREFIX)
            combo = self._combos(short)
            if combo is None:
                raise UnknownModel(f"there is no combo {short!r}; GET /api/combos lists them", field="model")
            return short, combo, f"{name!r} names the combo {short!r}"
        for pattern, target in self._mappings():
            if wildcard.matches(pattern, name) and (combo := self._combos(target)) is not None and combo.is_active:
                return target, combo, f"the mapping {pattern!r} sends {name!r} to the combo {target!r}"
        return self._aliased(name)

    def _aliased(self, name: str) -> tuple[str, Combo, str] | None:
        target = self._aliases().get(name, "").removeprefix(_PREFIX)
        combo = self._combos(target) if target else None
        return (target, combo, f"alias {name!r} stands for the combo {target!r}") if combo is not None else None

    def _combo_root(self, name: str, combo: Combo, why: str, service: str) -> Root:
        if not combo.is_active:
            raise NotConfigured(
                f"the combo {name!r} is switched off; switch it on with PUT /api/combos/{{id}} {{isActive: true}}", field="model"
            )
        group = self._group(name, combo, service, key="", depth=0, seen=(name,))
        if not group.items:
            raise NotConfigured(f"the combo {name!r} has no targets; add some with PUT /api/combos/{{id}}", field="model")
        rule = MAPPING if why.startswith("the mapping") else COMBO
        return Root(Resolution(provider="", model=name, rule=rule, why=why), group, name, combo)

    def _group(self, name: str, combo: Combo, service: str, *, key: str, depth: int, seen: tuple[str, ...]) -> Group:
        """The tree of a combo. What is nested too deep or in a circle was refused when it was saved, and expands to nothing here."""
        preferences = self._preferences()
        config = effective(BUILT_IN, preferences.combo_defaults, combo.config)
        strategy = combo.strategy or config.strategy or "priority"
        group = Group(name, key, strategy, config)
        for step in ordered_by_tiers(combo):
            path = f"{key}>{step.id}" if key else step.id
            item = self._nested(step, service, path, depth, seen) or self._target(step, service, path, combo)
            item.weight = step.weight
            group.items.append(item)
        return group

    def _nested(self, step: Step, service: str, path: str, depth: int, seen: tuple[str, ...]) -> Group | None:
        if step.kind == "combo-ref":
            combo = self._combos(step.combo_name)
            if combo is None or not combo.is_active or step.combo_name in seen or depth + 1 >= _DEEPEST:
                return Group(step.combo_name, path, "priority", BUILT_IN)
            return self._group(step.combo_name, combo, service, key=path, depth=depth + 1, seen=(*seen, step.combo_name))
        auto = auto_names.parse(step.model)
        if auto is None:
            return None
        return self._auto_group(step.model, auto, frozenset(), key=path) if service == CHAT else self._offers(step.model, service, path)

    def _target(self, step: Step, service: str, path: str, combo: Combo) -> Leaf:
        try:
            resolution = self._resolver.resolve(step.model)
        except HubError as error:
            return Leaf(path, step.provider_id, step.model, reasons=[error.message], weight=step.weight)
        leaf = self._leaf(resolution, path, service, wanted=step.connection_id or resolution.connection, tags=step.tags)
        leaf.context = combo.context_length
        if combo.allowed_providers and resolution.provider not in combo.allowed_providers:
            leaf.reasons = ["the combo does not allow this provider"] * len(leaf.options)
        return leaf

    def _model_root(self, model: str, service: str) -> Root:
        resolution = self._resolver.resolve(model)
        self._require_adapter(resolution, service)
        leaf = self._leaf(resolution, "", service, wanted=resolution.connection)
        if not leaf.options:
            raise self._nothing(resolution.provider)
        preferences = self._preferences()
        config = effective(BUILT_IN, preferences.provider_overrides.get(resolution.provider, ComboConfig()))
        return Root(resolution, Group("", "", "priority", config, [leaf]))

    def _leaf(self, resolution: Resolution, key: str, service: str, *, wanted: str = "", tags: Sequence[str] = ()) -> Leaf:
        """Every connection of one provider, with the model asked for."""
        provider, model = resolution.provider, resolution.model
        leaf = Leaf(key, provider, model, wanted=wanted)
        row = self._catalog.find(provider)
        blocked = provider in self._preferences().blocked_providers
        unheard = self._unheard(row, model, service) if row is not None else ""
        only = self._having(provider, model)
        for connection in self._accounts_of(provider):
            leaf.options.append(Option(connection, provider, model, key or connection.id))
            leaf.reasons.append("this provider is blocked" if blocked else unheard if unheard else _never(connection, model, tags, only))
        return leaf

    def _unheard(self, row: ProviderRow, model: str, service: str) -> str:
        """Why a provider's model cannot do what is asked of it, whoever asks; empty when it can."""
        wire = row.speaks(service, model)
        if service == CHAT and wire:
            return "" if wire in self._formats else "no adapter speaks its wire format"
        listed = row.model(model)
        if listed is not None and not listed.does(service) and not row.builtin:
            return f"it is a model for {listed.kind}, not for {KINDS[service]}"
        if not wire:
            return f"{row.name} does not offer {service}"
        return "" if (service, wire) in self._media() else f"no adapter speaks its wire format for {service}"

    def _service_root(self, name: str, service: str) -> Root:
        """Everybody connected who offers a service, the cheapest first."""
        group = self._offers(name, service, "")
        if not group.items:
            raise NotConfigured(f"no connection offers {service}; add one with `hubroute providers add`", field="model")
        why = f"{name!r} stands for the connections that offer {service}, the cheapest first"
        return Root(Resolution(provider="", model=name, rule=AUTO, why=why), group, name)

    def _offers(self, name: str, service: str, key: str) -> Group:
        """One target for each connection whose provider offers a service: its cheapest model of that kind."""
        group = Group(name, key, "priority", effective(BUILT_IN, self._preferences().combo_defaults))
        found: list[tuple[float, Leaf]] = []
        for provider in sorted(self._connected() - frozenset(self._preferences().blocked_providers)):
            price, model = self._offered(provider, service)
            for connection in self._accounts_of(provider) if model else ():
                at = f"{key}>{connection.id}" if key else connection.id
                never = _never(connection, model, (), self._having(provider, model))
                leaf = Leaf(at, provider, model, [Option(connection, provider, model, at)], [never])
                found.append((price, leaf))
        group.items = [leaf for _, leaf in sorted(found, key=lambda pair: (pair[0], _stored_order(pair[1])))]
        return group

    def _offered(self, provider: str, service: str) -> tuple[float, str]:
        """What the cheapest model of a provider costs that does a service, and its id; empty where it has none."""
        row = self._catalog.find(provider)
        found = row.cheapest(KINDS[service]) if row is not None else None
        return found if row is not None and found and not self._unheard(row, found[1], service) else (0.0, "")

    def _having(self, provider: str, model: str) -> Sequence[str]:
        """The connections that alone have a model; empty where all do."""
        row = self._catalog.find(provider)
        listed = row.model(model) if row is not None else None
        return listed.only if listed is not None else ()

    def _accounts_of(self, provider: str) -> Sequence[Connection]:
        return self._builtin.get(provider) or self._connections(provider)

    def _auto_root(self, name: str, auto: AutoName, needs: frozenset[str]) -> Root:
        group = self._auto_group(name, auto, needs, key="")
        if not group.items:
            raise NotConfigured(
                f"no connection offers a model for {name!r}; add one with `hubroute providers add`, or name a model", field="model"
            )
        why = f"{name!r} stands for the connection that suits best"
        return Root(Resolution(provider="", model=name, rule=AUTO, why=why), group, name)

    def _auto_group(self, name: str, auto: AutoName, needs: frozenset[str], *, key: str) -> Group:
        """One target for each connection whose provider chats, with the model it prefers among those that can do what is needed."""
        config = effective(BUILT_IN, self._preferences().combo_defaults)
        group = Group(name, key, "auto", config, auto=auto)
        wanted = needs | auto.needs
        blocked = self._preferences().blocked_providers
        for provider in sorted(self._connected()):
            row = self._catalog.find(provider)
            if row is None or row.format not in self._formats or provider in blocked:
                continue
            for connection in self._accounts_of(provider):
                model = preferred_model(row, connection, wanted, self._formats)
                if model:
                    at = f"{key}>{connection.id}" if key else connection.id
                    option = Option(connection, provider, model, at)
                    group.items.append(Leaf(at, provider, model, [option], [_never(connection, model, ())]))
        group.items.sort(key=_stored_order)
        return group

    def _require_adapter(self, resolution: Resolution, service: str) -> None:
        row = self._catalog.find(resolution.provider)
        if row is None:
            return
        if service != CHAT:
            self._require_service(row, resolution, service)
            return
        wire = row.speaks(CHAT, resolution.model)
        if not wire:
            words = self._unheard(row, resolution.model, CHAT)
            raise NotConfigured(f"{words}; choose another model or provider for {CHAT}", field="model")
        if wire not in self._formats:
            words = f"{resolution.model!r} of {row.name} speaks the wire format {wire!r}, for which this version has no chat adapter"
            raise NotConfigured(f"{words}; choose another {'model' if row.format in self._formats else 'provider'}", field="model")

    def _require_service(self, row: ProviderRow, resolution: Resolution, service: str) -> None:
        """Raise BadRequest for a model of another kind, NotConfigured where a provider has no such service."""
        if resolution.rule == "demo-fallback" and service not in row.services:
            raise NotConfigured(f"no provider is connected that offers {service}; add one with `hubroute providers add`", field="model")
        words = "" if resolution.rule == "demo-fallback" else self._unheard(row, resolution.model, service)
        if not words:
            return
        listed = row.model(resolution.model)
        if listed is not None and not listed.does(service):
            raise BadRequest(f"{resolution.model!r} of {row.name}: {words}", field="model", code="model_not_supported")
        raise NotConfigured(f"{words}; choose another provider for {service}", field="model")

    def _nothing(self, provider: str) -> NotConfigured:
        row = self._catalog.get(provider)
        return NotConfigured(
            f"no connection for {row.name}; add one with `hubroute providers add {row.id} --name main --api-key …`", field="model"
        )


def _leaves(group: Group) -> Iterable[Leaf]:
    for item in group.items:
        if isinstance(item, Leaf):
            yield item
        else:
            yield from _leaves(item)


def _stored_order(item: Item) -> tuple[int, int, str]:
    connection = item.options[0].connection if isinstance(item, Leaf) else None
    return (connection.priority, connection.created_at, connection.id) if connection else (0, 0, "")


def _never(connection: Connection, model: str, tags: Sequence[str], only: Sequence[str] = ()) -> str:
    """Why a connection cannot serve a target until somebody changes something; empty when it can. ``only`` are those with the model."""
    if not connection.active:
        return "switched off"
    if only and connection.id not in only:
        return "its owner says that other connections have this model"
    if connection.test_status in TERMINAL:
        return f"{connection.test_status.value}: {connection.last_error or 'needs a person'}"
    return _ruled_out(connection, model, tags)


def _ruled_out(connection: Connection, model: str, tags: Sequence[str]) -> str:
    """Why a connection's own rules keep it from a target; empty when they do not."""
    rules = connection.rules
    if rules.excluded_models and any(wildcard.matches(pattern, model) for pattern in rules.excluded_models):
        return "its rules exclude this model"
    if tags and not set(tags) & set(rules.tags):
        return "it has none of the step's tags"
    return ""


def preferred_model(row: ProviderRow, connection: Connection, needs: frozenset[str], formats: frozenset[str]) -> str:
    """The model a connection uses when none is named: its default, else the provider's first chat model with the abilities
    needed. Models that are hidden, are another connection's, or speak none of these wire formats are passed over."""
    if connection.default_model:
        names = [connection.default_model]
    elif connection.models:
        able = _able(row, needs)
        names = sorted(connection.models, key=lambda name: able.index(name) if name in able else len(able))
    else:
        names = _able(row, needs)
    return next((name for name in names if _offers_to(row, connection, name) and row.speaks(CHAT, name) in formats), "")


def _offers_to(row: ProviderRow, connection: Connection, name: str) -> bool:
    """Whether the owner lets ``auto`` choose a model on a connection."""
    listed = row.model(name)
    return name not in row.hidden and (listed is None or not listed.only or connection.id in listed.only)


def _able(row: ProviderRow, needs: frozenset[str]) -> list[str]:
    """The provider's chat models with these abilities."""
    return [model.id for model in row.shown if model.does(CHAT) and needs.issubset(model.caps)]
