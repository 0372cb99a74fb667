"""From the model string of a request to one provider and its model, and why (routing.md 1.3).

The order of the rules: the string is well formed; with nothing but built-in providers connected these
answer; a user alias by exact name; ``provider/model``; a user alias by wildcard; the index of listed
models; the vendor of the model's family; the one connected provider that takes any model. Names and
preferences of vendors are rows of the catalogue (D25). What the owner put out of use, or a provider has retired, leads on to what
took its place.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, TypeAlias

from hub.errors import AmbiguousModel, BadRequest, UnknownModel
from hub.routing import wildcard

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

MAX_LENGTH = 256
EXTENDED = "[1m]"
BUILTIN = "builtin"

#: Rules by which a name leads to a place that is taken as it is.
_ELSEWHERE = frozenset({"demo-fallback", "replaced"})

#: A provider and its id of the model.
_Offer: TypeAlias = tuple[str, str]

_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]|\.\./|\.\.\\")
_SPELLING = re.compile(r"[.:_]")


class Model(Protocol):
    """What the resolver reads of a model row."""

    @property
    def id(self) -> str: ...
    @property
    def aliases(self) -> tuple[str, ...]: ...
    @property
    def successor(self) -> str: ...


class Provider(Protocol):
    """What the resolver reads of a provider row."""

    @property
    def id(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def category(self) -> str: ...
    @property
    def services(self) -> tuple[str, ...]: ...
    @property
    def passthrough_models(self) -> bool: ...
    @property
    def family_prefixes(self) -> tuple[str, ...]: ...
    @property
    def retired(self) -> Mapping[str, str]: ...
    @property
    def models(self) -> Sequence[Model]: ...
    @property
    def shown(self) -> Sequence[Model]: ...
    def model(self, model_id: str) -> Model | None: ...


class Catalogue(Protocol):
    """What the resolver reads of :class:`hub.providers.catalog.Catalog`."""

    @property
    def providers(self) -> Mapping[str, Provider]: ...
    @property
    def serving(self) -> Mapping[str, tuple[str, ...]]: ...
    def find(self, name: str) -> Provider | None: ...


@dataclass(frozen=True, slots=True)
class Resolution:
    """Where a model string leads.

    ``rule`` is one of explicit, node, alias, wildcard, index, spelling, vendor, only, demo-fallback; ``why`` says it in
    a sentence. ``connection`` is set where a node's prefix names one connection: no other may serve the request.
    ``considered`` are the ids of providers that were looked at, the chosen one among them. ``notice`` says for clients that what they
    named is deprecated, and what takes its place.
    """

    provider: str
    model: str
    rule: str
    why: str
    extended_context: bool = False
    considered: tuple[str, ...] = ()
    connection: str = ""
    notice: str = ""


class Resolver:
    """Resolves model strings. Pure: reads the catalogue and what the callables give at the time of the call.

    ``connected`` gives the ids of providers that can be used now; ``prefixes`` a compatible node's prefix -> provider id,
    or ``provider/connection`` where the prefix stands for one connection; ``aliases`` the user's names, exact or with
    wildcards -> ``provider/model``; ``replaced`` models that the owner put out of use -> those in their place, itself where
    it stays in use whatever the catalogue says; ``discovered`` provider id -> model ids that its own API listed. ``strip_prefix``
    ignores a provider prefix (setting ``stripModelPrefix``); ``spelling`` lets ``bear:7b`` find
    ``owner/bear-7b`` (``MODEL_ALIAS_COMPAT_ENABLED``).
    """

    def __init__(
        self,
        catalog: Catalogue,
        connected: Callable[[], frozenset[str]],
        prefixes: Callable[[], Mapping[str, str]],
        aliases: Callable[[], Mapping[str, str]],
        *,
        discovered: Callable[[], Mapping[str, Collection[str]]] = dict,
        replaced: Callable[[], Mapping[str, str]] = dict,
        strip_prefix: bool = False,
        spelling: bool = True,
    ) -> None:
        self._catalog = catalog
        self._connected = connected
        self._prefixes = prefixes
        self._aliases = aliases
        self._discovered = discovered
        self._replaced = replaced
        self.strip_prefix = strip_prefix
        self.spelling = spelling
        self._builtin = [row for row in catalog.providers.values() if row.category == BUILTIN]
        self._indexed: Mapping[str, Provider] | None = None
        self._order: dict[str, int] = {}
        self._by_spelling: dict[str, dict[str, str]] | None = None

    def _follow(self) -> None:
        """Make new indexes when the catalogue's rows were replaced."""
        if self._indexed is not self._catalog.providers:
            self._indexed, self._by_spelling = self._catalog.providers, None
            self._order = {name: index for index, name in enumerate(self._indexed)}

    @property
    def _spelled(self) -> dict[str, dict[str, str]]:
        if self._by_spelling is None:
            self._by_spelling = _spellings(self._catalog.providers.values())
        return self._by_spelling

    def resolve(self, model: str) -> Resolution:
        """The provider and model of a model string.

        Raises BadRequest when it is malformed, AmbiguousModel naming two candidates when several connected
        providers serve it, UnknownModel with near names and what to set up when none is known.
        """
        self._follow()
        name, extended = _clean(model)
        look = _Look(self._connected() | {row.id for row in self._builtin}, self._prefixes(), name, extended)
        found = self._fallback(look) or self._by_alias(look) or self._out_of_use(look, name)
        if found is not None:
            return found if found.rule in _ELSEWHERE else self._current(look, found)
        found = self._direct(look) or self._by_wildcard(look) or self._bare(look)
        return self._out_of_use(look, found.model, f"{found.provider}/{found.model}") or self._current(look, found)

    def _out_of_use(self, look: _Look, *names: str) -> Resolution | None:
        """What the owner put in the place of a model, by one of its names; None where nothing is."""
        owned = self._replaced()
        old = next((name for name in names if owned.get(name, name) != name), "") if owned else ""
        if not old:
            return None
        there = _Look(look.connected, look.prefixes, owned[old], look.extended)
        found = self._direct(there) or self._bare(there)
        notice = f"{old} is out of use here; {found.provider}/{found.model} answers in its place"
        return replace(found, rule="replaced", why=f"the owner put {owned[old]!r} in the place of {old!r}: {found.why}", notice=notice)

    def _current(self, look: _Look, found: Resolution) -> Resolution:
        """The model that is served in the place of one that its provider has retired; one that is deprecated stays, with a notice."""
        row, owned = self._catalog.find(found.provider), self._replaced()
        if row is None or found.connection or found.model in (owned.get(found.model), owned.get(f"{row.id}/{found.model}")):
            return found
        new = row.retired.get(found.model)
        if new is not None:
            notice = f"{found.model} is retired; {row.id}/{new} answers in its place"
            return replace(found, model=new, why=f"{found.why}; it has retired {found.model!r}, and {new!r} takes its place", notice=notice)
        listed = row.model(found.model)
        if listed is None or not listed.successor:
            return found
        return replace(found, notice=f"{found.model} is deprecated; its vendor names {row.id}/{listed.successor} in its place")

    def _fallback(self, look: _Look) -> Resolution | None:
        """With nothing else connected a built-in provider that is switched on answers every model string (D3)."""
        connected = self._connected()
        row = next((row for row in self._builtin if row.id in connected), None)
        if row is None or connected - {row.id for row in self._builtin}:
            return None
        prefix, slash, rest = look.name.partition("/")
        named = self._catalog.find(prefix) if slash else None
        listed = row.model(rest if named is row else look.name)
        if listed is not None:
            return look.found(row.id, listed.id, "index", f"{row.name} lists {listed.id!r}")
        return look.found(
            row.id, row.models[0].id, "demo-fallback", f"no provider is connected yet, so {row.name} answers instead of {look.name!r}"
        )

    def _by_alias(self, look: _Look) -> Resolution | None:
        target = self._aliases().get(look.name)
        return self._aliased(look, look.name, target, "alias") if target else None

    def _by_wildcard(self, look: _Look) -> Resolution | None:
        aliases = self._aliases()
        pattern = wildcard.best(aliases, look.name)
        return self._aliased(look, pattern, aliases[pattern], "wildcard") if pattern else None

    def _aliased(self, look: _Look, key: str, target: str, rule: str) -> Resolution:
        """An alias leads to a provider's model or a bare id, never to another alias, so that no loop can be set up."""
        name, extended = _clean(target)
        there = _Look(look.connected, look.prefixes, name, look.extended or extended)
        found = self._direct(there) or self._bare(there)
        return there.found(
            found.provider, found.model, rule, f"alias {key!r} stands for {target!r}: {found.why}", found.considered, found.connection
        )

    def _direct(self, look: _Look) -> Resolution | None:
        """``prefix/model``, split at the first slash. None for a bare id, which ``look.name`` then holds."""
        prefix, slash, rest = look.name.partition("/")
        node = look.prefixes.get(prefix) if slash else None
        if node is not None:
            provider, _, connection = node.partition("/")
            return look.found(provider, rest, "node", f"{prefix!r} is the prefix of a compatible node", connection=connection)
        row = self._catalog.find(prefix) if slash else None
        if row is None or self._is_whole(look.name, row, rest):
            return None
        if self.strip_prefix:
            look.name = rest
            return None
        model = self._called(row, rest)
        renamed = f", which calls it {model!r}" if model != rest else ""
        return look.found(row.id, model, "explicit", f"{prefix!r} names {row.name}{renamed}")

    def _called(self, row: Provider, model: str) -> str:
        """What a provider calls a model that was asked of it."""
        listed = row.model(model) or self._spelled_at(row, model)
        return listed.id if listed else model

    def _is_whole(self, name: str, row: Provider, rest: str) -> bool:
        """Whether ``a/b`` is itself a listed model id, rather than model ``b`` of provider ``a``."""
        if name not in self._catalog.serving or row.model(rest) is not None:
            return False
        return row.model(name) is not None or not row.passthrough_models

    def _spelled_at(self, row: Provider, model: str) -> Model | None:
        """The one model of a provider that differs from a name in spelling only; never where any name may be a model's."""
        if not self.spelling or row.passthrough_models:
            return None
        found = self._spelled.get(_spell(model), {}).get(row.id)
        return row.model(found) if found else None

    def _bare(self, look: _Look) -> Resolution:
        exact = self._listed(look.name)
        spelled = self._spelled_like(look.name, exact)
        for rule, offers in (("index", exact), ("spelling", spelled)):
            connected = [offer for offer in offers if offer[0] in look.connected]
            if connected:
                return self._choose(look, rule, connected)
        gone = self._retired(look)
        if gone is not None:
            return gone
        if not exact and not spelled:
            return self._unlisted(look)
        return self._only(look) or self._unconnected(look, exact, spelled)

    def _listed(self, name: str) -> list[_Offer]:
        """The providers that list this very name."""
        rows = [self._catalog.providers[provider] for provider in self._catalog.serving.get(name, ())]
        found = {row.id: model.id for row in rows if (model := row.model(name)) is not None}
        for provider, models in self._discovered().items():
            if name in models:
                found.setdefault(provider, name)
        return list(found.items())

    def _spelled_like(self, name: str, exact: list[_Offer]) -> list[_Offer]:
        """The other providers that spell this name differently."""
        near = self._spelled.get(_spell(name), {}) if self.spelling else {}
        have = {provider for provider, _ in exact}
        return [(provider, found) for provider, found in near.items() if found and provider not in have]

    def _retired(self, look: _Look) -> Resolution | None:
        """The connected provider that served this name until it was retired: it knows what took its place."""
        rows = (row for row in self._catalog.providers.values() if row.id in look.connected and look.name in row.retired)
        row = next(rows, None)
        return look.found(row.id, look.name, "index", f"{row.name} served it") if row is not None else None

    def _choose(self, look: _Look, rule: str, offers: list[_Offer]) -> Resolution:
        names = tuple(provider for provider, _ in offers)
        if len(offers) == 1:
            chosen, why = offers[0], f"{names[0]} is the connected provider that lists it"
        else:
            vendor = next((name for name in self._vendors(look.name) if name in names), None)
            if vendor is None:
                raise _ambiguous(look.name, [f"{provider}/{model}" for provider, model in offers])
            chosen, why = next(offer for offer in offers if offer[0] == vendor), f"{vendor} makes this family of models"
        spelled = f", as {chosen[1]!r}" if chosen[1] != look.name else ""
        return look.found(chosen[0], chosen[1], rule, why + spelled, names)

    def _vendors(self, name: str) -> tuple[str, ...]:
        """Providers whose family prefix the model's last path segment starts with, longest prefix first."""
        last = name.rpartition("/")[2].lower()
        found = [
            (-len(prefix), self._order[row.id], row.id)
            for row in self._catalog.providers.values()
            for prefix in row.family_prefixes
            if last.startswith(prefix)
        ]
        return tuple(dict.fromkeys(provider for _, _, provider in sorted(found)))

    def _only(self, look: _Look) -> Resolution | None:
        """The single place among the connected ones that takes model ids the catalogue does not list."""
        nodes = [(prefix, *target.partition("/")[::2]) for prefix, target in look.prefixes.items()]
        behind = {provider for _, provider, _ in nodes}
        rows = (self._catalog.providers[name] for name in look.connected if name in self._catalog.providers)
        open_rows = sorted(row.id for row in rows if row.passthrough_models and "chat" in row.services and row.id not in behind)
        places = [*((name, name, "") for name in open_rows), *nodes]
        if len(places) != 1:
            return None
        prefix, provider, connection = places[0]
        why = f"{prefix} is the only connected provider that takes models which no list has"
        return look.found(provider, look.name, "only", why, connection=connection)

    def _unlisted(self, look: _Look) -> Resolution:
        """No list has it: the family's vendor, or the one provider that takes any model. Raises UnknownModel."""
        # A path before the name was meant for somebody: it is not dropped to please a vendor.
        vendors: tuple[str, ...] = () if "/" in look.name else self._vendors(look.name)
        vendor = next((name for name in vendors if name in look.connected), None)
        if vendor is not None:
            return look.found(vendor, look.name, "vendor", f"no list has {look.name!r}, and {vendor} makes this family", vendors)
        only = self._only(look)
        if only is not None:
            return only
        if not vendors:
            raise self._unknown(look)
        return look.found(vendors[0], look.name, "vendor", f"{vendors[0]} makes this family, but is not connected", vendors)

    def _unconnected(self, look: _Look, exact: list[_Offer], spelled: list[_Offer]) -> Resolution:
        """The provider that would serve it, so that the answer can say what to connect. Raises UnknownModel when several would."""
        offers = exact + spelled
        vendors = self._vendors(look.name)
        by_vendor = [offer for offer in offers if offer[0] in vendors][:1]
        chosen = next((some[0] for some in (by_vendor, exact, offers) if len(some) == 1), None)
        providers = tuple(provider for provider, _ in offers)
        if chosen is None:
            raise _not_connected(look.name, providers)
        return look.found(chosen[0], chosen[1], "index", f"{chosen[0]} serves it, but is not connected", providers)

    def _unknown(self, look: _Look) -> UnknownModel:
        near = self._near(look)
        prefix, slash, _ = look.name.partition("/")
        what = f"no provider is called {prefix!r} and none lists {look.name!r}" if slash else f"no provider lists {look.name!r}"
        hint = f"did you mean {', '.join(map(repr, near))}?" if near else "`hubroute models` lists what can be used."
        return UnknownModel(f"{what}; {hint} Write provider/model to use one that is not listed.", field="model", data={"near": near})

    def _near(self, look: _Look) -> list[str]:
        """Up to three listed names close to an unknown one, those of connected providers before others."""
        rows = [self._catalog.providers[name] for name in look.connected if name in self._catalog.providers]
        known = dict.fromkeys(model.id for row in rows if row.category != BUILTIN for model in row.shown)
        word = look.name.rpartition("/")[2]
        for names in (known, self._catalog.serving):
            found = difflib.get_close_matches(word, [name for name in names if abs(len(name) - len(word)) <= 8], n=3, cutoff=0.7)
            if found:
                return found
        return []


@dataclass(slots=True)
class _Look:
    """One resolution under way."""

    connected: frozenset[str]
    prefixes: Mapping[str, str]
    name: str
    extended: bool

    def found(self, provider: str, model: str, rule: str, why: str, considered: tuple[str, ...] = (), connection: str = "") -> Resolution:
        return Resolution(provider, model, rule, why, self.extended, considered or (provider,), connection)


def _clean(model: str) -> tuple[str, bool]:
    """The name without blanks around it and without ``[1m]``, and whether that was there. Raises BadRequest."""
    if len(model) > MAX_LENGTH:
        raise BadRequest(f"the model's name is longer than {MAX_LENGTH} characters", field="model")
    if _FORBIDDEN.search(model):
        raise BadRequest("the model's name holds control characters or '../'", field="model")
    name = model.strip()
    extended = name.lower().endswith(EXTENDED)
    name = name[: -len(EXTENDED)].rstrip() if extended else name
    if not name:
        raise BadRequest("no model is named; send one as 'model', such as provider/model", field="model")
    if name.startswith("/") or name.endswith("/"):
        raise BadRequest(f"model {name!r} is not of the form provider/model", field="model")
    return name, extended


def _ambiguous(name: str, offers: list[str]) -> AmbiguousModel:
    return AmbiguousModel(
        f"{name!r} is served by several connected providers; write {offers[0]!r} or {offers[1]!r}",
        field="model",
        data={"candidates": offers},
    )


def _not_connected(name: str, providers: Sequence[str]) -> UnknownModel:
    return UnknownModel(
        f"no connected provider serves {name!r}; connect one that does ({', '.join(providers[:4])}) with `hubroute providers add`",
        field="model",
        data={"providers": list(providers)},
    )


def _spell(name: str) -> str:
    """A name without what vendors vary: letter case, and ``.``, ``:`` or ``_`` for ``-``."""
    return _SPELLING.sub("-", name.lower())


def _spellings(rows: Iterable[Provider]) -> dict[str, dict[str, str]]:
    """Spelling -> provider -> its model id, empty where two of its models are spelled alike.

    A listed ``owner/name`` is found by ``name`` too; a path that the caller wrote has to fit.
    """
    found: dict[str, dict[str, str]] = {}
    for row in rows:
        for model in row.models:
            names = {_spell(name) for name in (model.id, *model.aliases)}
            for key in names | {name.rpartition("/")[2] for name in names}:
                at = found.setdefault(key, {})
                at[row.id] = model.id if at.get(row.id, model.id) == model.id else ""
    return found
