"""The provider catalogue: rows of facts, read once from ``catalog.json`` (D25), and what the owner lays over them.

A row of the catalogue says where a provider is, which wire format it speaks, how it takes its key,
what it offers and what its models cost. ``catalog.json`` keeps one fact of a provider and one model a
line, so that a change reads well as a diff. Providers and models of the owner's own are rows like the shipped
ones (:mod:`hub.nodes` makes them), so that everything that reads the catalogue treats them alike.
"""

from __future__ import annotations

import importlib.resources
import re
import zlib
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from hub.errors import BadRequest, NotFound

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

CHAT = "chat"
#: What else a provider may offer (its ``services``), and the kind of model that does it.
KINDS = {
    CHAT: "chat",
    "embeddings": "embedding",
    "rerank": "rerank",
    "moderation": "moderation",
    "search": "search",
    "images": "image",
    "tts": "tts",
    "stt": "stt",
    "video": "video",
    "music": "music",
    "realtime": "realtime",
}


class Tier(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Rates that apply to *all* tokens of a call whose prompt is longer than ``above`` tokens; None keeps the base rate."""

    above: int
    input: float | None = None
    output: float | None = None
    cache_read: float | None = None
    cache_write: float | None = None
    cache_write_1h: float | None = None
    reasoning: float | None = None


class Price(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """US dollars per million tokens, or per unit where the name says so. None is unknown, 0 is free.

    ``audio_`` rates are for tokens that are sound, of a model that counts those apart from text.
    ``tiers`` are the long-context rates, in rising order.
    """

    input: float | None = None
    output: float | None = None
    cache_read: float | None = None
    cache_write: float | None = None
    cache_write_1h: float | None = None
    reasoning: float | None = None
    per_image: float | None = None
    per_second_in: float | None = None
    per_second_out: float | None = None
    per_char_in: float | None = None
    per_query: float | None = None
    audio_input: float | None = None
    audio_output: float | None = None
    audio_cache_read: float | None = None
    tiers: tuple[Tier, ...] = ()


class Auth(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """How a provider takes its key. ``type``: bearer, header, query, optional_bearer and optional_header (which work without one), none,
    aws-sigv4 (``param`` is the service that is signed for), service-account (Google's JSON, or an access token), oauth_bearer.

    ``value`` holds ``{key}``; ``extra`` is a second header as ``Name: {field}`` filled from the connection's data;
    ``also`` is a second query parameter filled the same way.
    """

    type: str
    header: str = "Authorization"
    value: str = "Bearer {key}"
    param: str = ""
    also: str = ""
    extra: str = ""
    note: str = ""


#: Ways of taking a key that also work without one.
KEYLESS = frozenset({"none", "optional_bearer", "optional_header"})


class ModelRow(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One model of a provider. ``kind`` is chat unless stated; ``wire`` overrides the provider's format for its kind of work.

    ``aliases`` are other names for it at this provider; ``max_thinking`` is the largest budget of thinking it takes;
    ``sizes`` are those of its pictures, where its vendor has a list;
    ``successor`` is the model that its vendor names in its place, set where it is deprecated and still served.
    ``price_src``: P the provider's public table, V the model vendor's list price (notional at a reseller or in a plan), O a
    rough default. Of a model that the owner added, ``serves`` are further services that it does, and ``only`` the connections that have
    it, where not all do.
    """

    id: str
    name: str = ""
    kind: str = "chat"
    context: int | None = None
    max_output: int | None = None
    max_thinking: int | None = None
    caps: tuple[str, ...] = ()
    price: Price | None = None
    price_src: str = ""
    wire: str = ""
    dimensions: int | None = None
    sizes: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    successor: str = ""
    drop_params: tuple[str, ...] = ()
    serves: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    custom: bool = False

    def does(self, service: str) -> bool:
        """Whether it is a model for a service."""
        return self.kind == KINDS[service] or service in self.serves


class Compat(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What the owner changes of the requests to one model. ``short_ids`` gives tool calls ids of nine letters and digits;
    ``developer`` False sends the developer's words as the system's, else they go as the client wrote them; ``headers`` go along with
    every request. None is unsaid.

    ``by_dialect`` holds what is otherwise for clients of a dialect.
    """

    short_ids: bool | None = None
    developer: bool | None = None
    headers: tuple[tuple[str, str], ...] = ()
    by_dialect: dict[str, Compat] = {}


class ApiType(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What an owner's own provider may be for: one ``service``, at a ``path``, in a ``format`` where that is not the row's.

    ``all`` says that the row's other services come with it.
    """

    service: str
    path: str
    format: str = ""
    all: bool = False


class NodeKind(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Marks a row that owners make providers of their own of. Without ``api_types`` such a provider is for all that the row offers."""

    api_types: dict[str, ApiType] = {}


class VendorBatch(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A provider's own batch service. ``format`` names the adapter that speaks to it, ``discount`` is the share of the price that it takes
    off."""

    format: str
    discount: float


class SignIn(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """How a provider lets programs of others sign its users in (OAuth), by a client that the hub's owner has registered there (D5).

    Addresses, ``issuer`` and ``extra`` may hold ``{fields}`` of the connection's data; addresses also ``{origin}``, that of its base URL.
    ``authorize_url`` is for codes with PKCE, ``device_url`` for device codes. ``client`` says what kind is registered: public (a secret
    is sent where it has one), secret (it must have one), none (nothing is registered). ``method`` is how a secret is sent.
    ``params`` are further fields of the request for a code. ``exchange`` says what a code is good for: tokens, or a lasting key.
    ``final`` are errors of its own after which a refresh is not tried again; ``loopback`` is the name of this machine in redirect
    addresses that it takes with any port. Requests carry the token as ``header`` with ``value``, and
    ``extra`` as a second header. ``register`` is the page where a client is registered, ``docs`` the one that says all this.
    """

    token_url: str
    docs: str
    register: str = ""
    authorize_url: str = ""
    device_url: str = ""
    revoke_url: str = ""
    issuer: str = ""
    scopes: tuple[str, ...] = ()
    client: Literal["public", "secret", "none"] = "public"
    method: Literal["client_secret_post", "client_secret_basic"] = "client_secret_post"
    params: dict[str, str] = {}
    exchange: Literal["tokens", "key"] = "tokens"
    final: tuple[str, ...] = ()
    loopback: Literal["127.0.0.1", "localhost"] = "127.0.0.1"
    header: str = "Authorization"
    value: str = "Bearer {token}"
    extra: str = ""
    note: str = ""

    @property
    def ways(self) -> list[str]:
        """The flows that it has: ``code``, ``device``."""
        return [name for name, url in (("code", self.authorize_url), ("device", self.device_url)) if url]

    @property
    def fields(self) -> list[str]:
        """Fields of the connection's data that it needs."""
        texts = (self.authorize_url, self.token_url, self.device_url, self.revoke_url, self.issuer, self.extra)
        return list(dict.fromkeys(name for text in texts for name in re.findall(r"{(\w+)}", text) if name != "origin"))


class ProviderRow(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One provider. ``category`` as in the reference (api_key, local, oauth, search, ...) or agent; ``builtin`` needs no connection.

    ``base_url_template`` holds ``{fields}`` that a connection's data must fill (region, account ...); a row with
    neither it nor ``base_url`` takes the base URL from the connection. ``passthrough_models`` accepts model ids the
    catalogue does not list. ``family_prefixes`` are the starts of model ids that lead to this provider when nothing
    else decides (it is their vendor); ``prices_as`` is its id in the genai-prices data. ``also`` maps further client dialects whose
    bytes the provider takes as they are, each read by the adapter of that name, to their path; ``paths`` maps wire formats that only
    some models speak to theirs. ``refuses`` are fields of a request that no model of it takes. ``retired`` maps models that it no
    longer serves to those that take their place. ``vendor_batch`` is set where it works off batches itself, cheaper.

    ``node`` marks the rows that owners make providers of their own of; one that was made so has the row's id as ``template``. ``hidden``
    are models that the owner lets nobody see, ``compat`` what is changed of requests to a model.
    """

    id: str
    alias: str
    name: str
    category: str
    format: str
    auth: Auth
    base_url: str = ""
    base_url_template: str = ""
    chat_path: str = ""
    stream_path: str = ""
    chat_query: dict[str, str] = {}
    models_path: str = ""
    models_url: str = ""
    services: tuple[str, ...] = ()
    endpoints: dict[str, str] = {}
    batch: dict[str, int] = {}
    models: tuple[ModelRow, ...] = ()
    passthrough_models: bool = False
    family_prefixes: tuple[str, ...] = ()
    prices_as: str = ""
    default_context: int | None = None
    extra_headers: dict[str, str] = {}
    request_defaults: dict[str, Any] = {}
    free_tier: str = ""
    verified: str = "inferred"
    website: str = ""
    note: str = ""
    also: dict[str, str] = {}
    paths: dict[str, str] = {}
    refuses: tuple[str, ...] = ()
    retired: dict[str, str] = {}
    deprecated: str = ""
    timeout_ms: int | None = None
    search: dict[str, Any] = {}
    oauth: SignIn | None = None
    fallback_base_urls: tuple[str, ...] = ()
    node: NodeKind | None = None
    vendor_batch: VendorBatch | None = None
    template: str = ""
    hidden: tuple[str, ...] = ()
    compat: dict[str, Compat] = {}

    @property
    def local(self) -> bool:
        """Whether it is a model server on the owner's own network (private addresses by the connection's switch)."""
        return self.category == "local"

    @property
    def builtin(self) -> bool:
        """Whether it is part of the hub and needs no account."""
        return self.category == "builtin"

    @property
    def in_process(self) -> bool:
        """Whether requests to it never leave this machine: it is built in, or drives an agent that is installed here."""
        return self.builtin or self.category == "agent"

    @property
    def needs(self) -> list[str]:
        """What a connection must give: ``apiKey``, ``baseUrl``, fields of the URL template."""
        asked = [] if self.auth.type in KEYLESS else ["apiKey"]
        asked += ["baseUrl"] if self.needs_base_url else []
        return asked + re.findall(r"{(\w+)}", self.base_url_template)

    @property
    def needs_base_url(self) -> bool:
        """Whether only the connection can say where this provider is."""
        return not self.base_url and not self.base_url_template

    def model(self, model_id: str) -> ModelRow | None:
        """The row of a model id or one of its aliases."""
        return next((row for row in self.models if row.id == model_id or model_id in row.aliases), None)

    @property
    def shown(self) -> tuple[ModelRow, ...]:
        """Its models that lists have and that ``auto`` may choose."""
        return tuple(row for row in self.models if row.id not in self.hidden) if self.hidden else self.models

    def path(self, wire: str, *, stream: bool = False) -> str:
        """Where chats in a wire format are asked for, under the base URL; empty where the format's usual place is meant."""
        if wire == self.format:
            return (self.stream_path if stream else "") or self.chat_path
        return self.paths.get(wire) or self.also.get(wire, "")

    def speaks(self, service: str, model: str) -> str:
        """The wire format of a service for a model; empty where the provider does not offer it.

        The model's own goes before what ``endpoints`` says of the service, and that before the provider's.
        """
        listed = self.model(model)
        if listed is None:
            return self._offered(service)
        if listed.custom and not listed.does(service):
            return ""
        own = listed.wire if listed.kind == KINDS[service] else ""
        offered = self._offered(service)
        return own if own and (offered or service == CHAT) else offered

    def _offered(self, service: str) -> str:
        if service not in self.services:
            return ""
        return self.format if service == CHAT else self.endpoints.get(f"{service}_format") or self.format

    def cheapest(self, kind: str) -> tuple[float, str] | None:
        """The listed price of a unit and the id of the cheapest model of a kind, the first of equals; None without one."""
        found = [(_unit_price(model.price), model.id) for model in self.shown if model.kind == kind]
        return min(found, key=itemgetter(0), default=None)


def _unit_price(price: Price | None) -> float:
    """A price to compare models of one kind by; what is unknown comes last."""
    rates = (price.per_query, price.per_image, price.per_second_out, price.per_second_in, price.per_char_in, price.input) if price else ()
    return next((rate for rate in rates if rate is not None), float("inf"))


#: What a template field of a base URL may hold (SEC-13): one host label, or a path word; nothing that ends the host.
_FIELD = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,62}[A-Za-z0-9])?\Z")


def fill_template(template: str, data: dict[str, str]) -> str:
    """A base URL with its ``{fields}`` filled in.

    Raises BadRequest naming a field that is missing or holds anything but letters, digits, ``-`` and ``_``.
    """

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        text = data.get(name, "")
        if not text:
            raise BadRequest(f"this provider needs '{name}' in the connection's data, to build {template}", field=f"data.{name}")
        if not _FIELD.match(text):
            raise BadRequest(f"'{name}' may hold only letters, digits, '-' and '_'", field=f"data.{name}")
        return text

    return re.sub(r"{(\w+)}", value, template)


class Catalog:
    """All provider rows, by id and alias, with an index from model id to the providers that list it.

    ``providers`` is replaced as a whole when the owner's rows change. Raises ValueError when two shipped rows claim the same id or alias.
    """

    def __init__(self, rows: list[ProviderRow], *, version: str = "") -> None:
        self.version = self._shipped_version = version
        self.shipped: Mapping[str, ProviderRow] = {row.id: row for row in rows}
        self._shipped_names: dict[str, str] = {}
        for row in rows:
            for name in {row.id, row.alias}:
                if name in self._shipped_names:
                    raise ValueError(f"catalogue: providers {self._shipped_names[name]} and {row.id} are both called {name!r}")
                self._shipped_names[name] = row.id
        self.providers: Mapping[str, ProviderRow] = self.shipped
        self._take(())

    @classmethod
    def load(cls) -> Catalog:
        """Read the shipped catalogue. Raises msgspec.ValidationError when a row does not fit."""
        text = importlib.resources.files("hub.providers").joinpath("catalog.json").read_bytes()
        return cls(msgspec.json.decode(text, type=list[ProviderRow]), version=f"{zlib.crc32(text):08x}")

    def overlay(self, rows: Sequence[ProviderRow]) -> None:
        """Lay the owner's rows over the shipped ones: a row with a shipped one's id takes its place, the others come after them.

        Where a later version ships a provider with an own one's alias, the alias stays the owner's; ids stay what they are.
        """
        self._take(rows)
        own = f"-{zlib.crc32(msgspec.json.encode(list(rows))):08x}" if rows else ""
        self.version = self._shipped_version + own

    def _take(self, rows: Iterable[ProviderRow]) -> None:
        made = dict(self.shipped)
        for row in rows:
            kept = self.providers.get(row.id, row)
            made[row.id] = kept if kept == row else row  # what others keep for this very row stays good
        self.providers = made
        self._names = {
            **self._shipped_names,
            **{row.alias: row.id for row in made.values() if row.id not in self.shipped},
            **{name: name for name in made},
        }
        self._offering: dict[frozenset[str], list[ProviderRow]] = {}
        self._serving: dict[str, tuple[str, ...]] | None = None

    def find(self, name: str) -> ProviderRow | None:
        """The provider with this id or alias."""
        return self.providers.get(self._names.get(name, ""))

    def get(self, name: str) -> ProviderRow:
        """The provider with this id or alias. Raises NotFound."""
        row = self.find(name)
        if row is None:
            raise NotFound(f"no provider {name!r}; `hubroute providers catalog` lists them", field="provider")
        return row

    def offering(self, services: frozenset[str]) -> list[ProviderRow]:
        """The providers with any of these services, without those that are part of the hub."""
        found = self._offering.get(services)
        if found is None:
            found = [row for row in self.providers.values() if not row.builtin and not services.isdisjoint(row.services)]
            self._offering[services] = found
        return found

    def profile(self, provider: str) -> Literal["oauth", "apikey", "local"]:
        """How patient to be with a provider (routing.md 3): a model server of the owner's own, a login, or a key, as unknown ones are."""
        row = self.providers.get(provider)
        if row is None:
            return "apikey"
        if row.local:
            return "local"
        return "oauth" if row.category == "oauth" or row.auth.type == "oauth_bearer" else "apikey"

    def per_model(self, provider: str, stated: bool | None = None) -> bool:
        """Whether limits concern single models, not the account: as the owner ``stated``, else where a provider passes any model on."""
        row = self.providers.get(provider)
        return stated if stated is not None else row is not None and row.passthrough_models

    @property
    def serving(self) -> dict[str, tuple[str, ...]]:
        """Model id or model alias -> ids of the providers that list it, in catalogue order."""
        if self._serving is None:
            found: dict[str, list[str]] = {}
            for row in self.providers.values():
                for model in row.models:
                    for name in (model.id, *model.aliases):
                        found.setdefault(name, []).append(row.id)
            self._serving = {name: tuple(dict.fromkeys(ids)) for name, ids in found.items()}
        return self._serving
