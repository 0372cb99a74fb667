"""What the owner says of a provider's models: models of the owner's own, models that are hidden, and what is changed of requests to one.

One document for each provider, by its id. Everything here is checked before it is stored, and read as rows of the catalogue.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec.structs import asdict, replace
from pydantic import Field, field_validator

from hub.errors import Conflict
from hub.log import masked, secret_name
from hub.money.pricebook import FIELDS
from hub.providers.catalog import CHAT, KINDS, Compat, ModelRow, Price
from hub.wire import Body

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.providers.catalog import ProviderRow
    from hub.store import Store
    from hub.store.documents import Documents

MOST_MODELS = 1000
MOST_RULES = 5000
_MOST_HEADERS = 16
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,128}")
_BROKEN = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]|[^\x00-\xff]")
#: Headers that frame a request or say what the hub says itself.
_OURS = frozenset(
    (
        "connection", "content-encoding", "content-length", "content-type", "accept-encoding", "expect", "host", "keep-alive", "te",
        "trailer", "transfer-encoding", "upgrade", "proxy-connection",
    )
)  # fmt: skip
#: Those that carry credentials: a connection's key is sealed and sent to its own host, a header of a model is neither.
_CREDENTIALS = frozenset(("authorization", "proxy-authorization", "cookie", "x-api-key", "x-goog-api-key", "api-key"))

ApiFormat = Literal["chat-completions", "responses", "embeddings", "audio-transcriptions", "audio-speech", "images-generations"]
Endpoint = Literal["chat", "embeddings", "images", "audio", "audio-transcriptions", "audio-speech", "images-generations"]
Protocol = Literal["openai", "openai-responses", "claude", "gemini", "ollama"]
Header = Annotated[str, Field(max_length=4096)]

#: What a model with a format of the wire is for, and the wire format that this asks for, where it is not its provider's.
API_FORMATS: dict[str, tuple[str, str]] = {
    "chat-completions": (CHAT, ""),
    "responses": (CHAT, "openai-responses"),
    "embeddings": ("embeddings", ""),
    "audio-transcriptions": ("stt", ""),
    "audio-speech": ("tts", ""),
    "images-generations": ("images", ""),
}
#: The seed's names of endpoints -> services.
ENDPOINTS: dict[str, tuple[str, ...]] = {
    "chat": (CHAT,),
    "embeddings": ("embeddings",),
    "images": ("images",),
    "images-generations": ("images",),
    "audio": ("tts", "stt"),
    "audio-transcriptions": ("stt",),
    "audio-speech": ("tts",),
}
#: The seed's names of client protocols -> dialects, where they differ.
_DIALECTS = {"claude": "anthropic"}


class ModelPricing(Body):
    """US dollars per million tokens, or per unit where the name says so; what is left out is unknown."""

    input: float | None = Field(default=None, ge=0)
    output: float | None = Field(default=None, ge=0)
    cached: float | None = Field(default=None, ge=0)
    reasoning: float | None = Field(default=None, ge=0)
    cache_creation: float | None = Field(default=None, ge=0, alias="cache_creation")
    per_image: float | None = Field(default=None, ge=0)
    per_second_in: float | None = Field(default=None, ge=0)
    per_second_out: float | None = Field(default=None, ge=0)
    per_char_in: float | None = Field(default=None, ge=0)


class CompatFields(Body):
    """What is changed of requests to a model; None is unsaid."""

    normalize_tool_call_id: bool | None = Field(default=None, description="Give tool calls ids of nine letters and digits.")
    preserve_openai_developer_role: bool | None = Field(
        default=None,
        alias="preserveOpenAIDeveloperRole",
        description="False sends developer messages as system messages; true and null as the client wrote them.",
    )
    upstream_headers: dict[str, Header] | None = Field(
        default=None, description="Up to 16 headers that go along with every request; none that frames it or holds a credential."
    )

    @field_validator("upstream_headers")
    @classmethod
    def _checked(cls, given: dict[str, str] | None) -> dict[str, str] | None:
        if given is None:
            return None
        if len(given) > _MOST_HEADERS:
            raise ValueError(f"has {len(given)} headers; {_MOST_HEADERS} are the most")
        for name, value in given.items():
            if fault := header_fault(name, value):
                raise ValueError(f"{name[:128]!r} {fault}")
        return given

    def compat(self) -> Compat:
        """The same as a row has it."""
        return Compat(
            short_ids=self.normalize_tool_call_id,
            developer=self.preserve_openai_developer_role,
            headers=tuple((self.upstream_headers or {}).items()),
        )


class CompatRules(CompatFields):
    """What is changed of requests to a model, and what of those from clients of one protocol."""

    compat_by_protocol: dict[Protocol, CompatFields] | None = Field(
        default=None, description="The same three fields for clients of one protocol: openai, openai-responses, claude, gemini, ollama."
    )

    def compat(self) -> Compat:
        """The same as a row has it."""
        by_dialect = {_DIALECTS.get(name, name): fields.compat() for name, fields in (self.compat_by_protocol or {}).items()}
        return replace(super().compat(), by_dialect=by_dialect)


#: The fields of the wire that say what is changed of requests.
COMPAT_FIELDS = frozenset(CompatRules.model_fields)


class CustomModel(Body):
    """A model of the owner's own, as it is stored."""

    id: str
    name: str = ""
    source: str = "manual"
    api_format: ApiFormat = "chat-completions"
    supported_endpoints: tuple[Endpoint, ...] = ()
    context_length: int | None = None
    max_output_tokens: int | None = None
    dimensions: int | None = None
    capabilities: tuple[str, ...] | None = None
    pricing: ModelPricing | None = None
    connection_id: str = ""

    @property
    def services(self) -> tuple[str, ...]:
        """What it is for, the main thing first."""
        main = API_FORMATS[self.api_format][0]
        named = [service for endpoint in self.supported_endpoints for service in ENDPOINTS[endpoint]]
        return tuple(dict.fromkeys([main, *named] if not named or main in named else named))

    def row(self, below: ModelRow | None) -> ModelRow:
        """The row of the catalogue that it is, over what is known of the model already."""
        main, *others = self.services
        wire = API_FORMATS[self.api_format][1]
        kept = below if below is not None and below.kind == KINDS[main] else ModelRow(id=self.id)
        said = {
            "name": self.name,
            "context": self.context_length,
            "max_output": self.max_output_tokens,
            "dimensions": self.dimensions,
            "price": _price(self.pricing),
        }
        return replace(
            kept,
            id=self.id,
            kind=KINDS[main],
            wire=wire or kept.wire,
            serves=tuple(others),
            only=(self.connection_id,) if self.connection_id else (),
            caps=kept.caps if self.capabilities is None else self.capabilities,
            custom=True,
            **{name: value for name, value in said.items() if value},
        )


class ModelRules(CompatRules):
    """What is said of one model beside its facts."""

    id: str
    is_hidden: bool = False

    @property
    def empty(self) -> bool:
        """Whether it says nothing."""
        return not self.is_hidden and self.compat() == Compat()


class ProviderModels(Body):
    """All that is said of a provider's models."""

    models: tuple[CustomModel, ...] = ()
    rules: tuple[ModelRules, ...] = ()

    def model(self, model_id: str) -> CustomModel | None:
        """The own model of this id."""
        return next((one for one in self.models if one.id == model_id), None)

    def rules_of(self, model_id: str) -> ModelRules:
        """What is said of a model; empty rules where nothing is."""
        return next((one for one in self.rules if one.id == model_id), None) or ModelRules(id=model_id)

    def with_model(self, model: CustomModel) -> ProviderModels:
        """The same with a model, which takes the place of one of its id. Raises Conflict where there are too many."""
        return self.model_copy(update={"models": _placed(self.models, model, MOST_MODELS, "models of your own")})

    def with_rules(self, *rules: ModelRules) -> ProviderModels:
        """The same with rules, which take the place of those of the same models. Raises Conflict where there are too many."""
        kept = self.rules
        for one in rules:
            kept = _placed(kept, one, MOST_RULES, "models with rules")
        return self.model_copy(update={"rules": tuple(one for one in kept if not one.empty)})

    def without(self, *model_ids: str) -> ProviderModels:
        """The same without these models and what is said of them."""
        return self.model_copy(
            update={
                "models": tuple(one for one in self.models if one.id not in model_ids),
                "rules": tuple(one for one in self.rules if one.id not in model_ids),
            }
        )


def _placed(some: tuple[Any, ...], one: Any, most: int, what: str) -> tuple[Any, ...]:
    at = next((place for place, kept in enumerate(some) if kept.id == one.id), None)
    if at is not None:
        return (*some[:at], one, *some[at + 1 :])
    if len(some) >= most:
        raise Conflict(f"this provider has {most} {what} already; remove some first")
    return (*some, one)


class CustomModels:
    """What is stored of every provider's models."""

    def __init__(self, store: Store) -> None:
        self.documents: Documents[ProviderModels] = store.collection(
            "provider-models", what="list of own models", prefix="models_", body=ProviderModels
        )

    def of(self, provider: str) -> ProviderModels:
        """What is said of a provider's models."""
        found = self.documents.find(provider)
        return found.body if found is not None else ProviderModels()

    async def change(self, provider: str, edit: Callable[[ProviderModels], ProviderModels]) -> ProviderModels:
        """Replace it by what ``edit`` makes of the stored state, which nobody else can change meanwhile. Raises what ``edit`` raises."""
        identity = f"models_{provider}"
        if self.documents.find(provider) is None:
            edit(ProviderModels())  # what is refused leaves nothing behind
            with suppress(Conflict):  # another process was first
                await self.documents.create(provider, ProviderModels(), document_id=identity)
        return (await self.documents.edit(identity, edit)).body


def laid_over(row: ProviderRow, said: ProviderModels) -> ProviderRow:
    """A provider's row with what the owner says of its models."""
    own = {one.id: one.row(row.model(one.id)) for one in said.models}
    models = [own.pop(model.id, model) for model in row.models]
    compat = {one.id: found for one in said.rules if (found := one.compat()) != Compat()}
    return replace(row, models=(*models, *own.values()), hidden=tuple(one.id for one in said.rules if one.is_hidden), compat=compat)


def header_fault(name: str, value: str) -> str:
    """What is wrong with a header that an owner adds to requests, in words; empty for a good one."""
    word = name.lower()
    if not _NAME.fullmatch(name):
        return "is no name of a header"
    if word in _OURS or word.startswith("proxy-"):
        return "frames the request or is the hub's own, and cannot be set"
    if word in _CREDENTIALS or secret_name(name) or masked(value) != value:
        return "looks like a credential; give the connection a key instead, which is sealed"
    return "has a value that no header may carry" if _BROKEN.search(value) else ""


def _price(given: ModelPricing | None) -> Price | None:
    if given is None:
        return None
    named = {**FIELDS, **{name: name for name in ("per_image", "per_second_in", "per_second_out", "per_char_in")}}
    return Price(**{ours: value for name, ours in named.items() if (value := getattr(given, name)) is not None})


def priced(row: ModelRow) -> dict[str, float] | None:
    """The price of a row, as the wire has it."""
    if row.price is None:
        return None
    ours = {ours: name for name, ours in FIELDS.items()}
    return {ours.get(name, name): value for name, value in asdict(row.price).items() if isinstance(value, (int, float))}
