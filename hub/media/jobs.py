"""What the services are asked for, in no dialect. Doors make jobs, formats read them; ``extra`` holds a client's other fields."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hub.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hub.media.pictures import Picture


@dataclass(slots=True)
class EmbedJob:
    """Texts, or lists of a model's tokens. ``encoding`` is float or base64, as the client asked.

    ``dialect`` is whose fields ``extra`` are.
    """

    inputs: Sequence[str] | Sequence[Sequence[int]]
    encoding: str = "float"
    dimensions: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict[str, Any])
    dialect: str = "openai"

    def texts(self) -> list[str]:
        """The inputs where they are texts. Raises BadRequest for tokens, which only the format they were made for takes."""
        found = [one for one in self.inputs if isinstance(one, str)]
        if len(found) != len(self.inputs):
            raise BadRequest("this provider embeds texts, not lists of tokens; send strings", field="input")
        return found


def unsent(extra: Mapping[str, Any], known: Iterable[str] = ()) -> list[str]:
    """The names of a client's other fields that a format does not carry."""
    return sorted(extra.keys() - set(known))


def number(extra: Mapping[str, Any], name: str, default: float) -> float:
    """A number among a client's other fields. Raises BadRequest naming it for anything else."""
    value = extra.get(name)
    if value is None or value == "":
        return default
    try:
        return float(value)
    except (TypeError, ValueError):
        raise BadRequest(f"{name}: write a number", field=name) from None


@dataclass(slots=True)
class RerankJob:
    """Documents to put in the order in which they fit a query; the best ``top`` of them, None for all."""

    query: str
    documents: Sequence[str]
    top: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(slots=True)
class Ranked:
    """The documents by fit, best first, as (place in the list that was sent, score). ``id`` is the provider's, where it gives one."""

    order: list[tuple[int, float]]
    id: str = ""


@dataclass(slots=True)
class ModerationJob:
    """What to judge, as OpenAI's ``input``: a text, texts, or parts of one message. ``count`` is how many judgements that makes."""

    input: str | Sequence[Any]
    count: int
    extra: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(slots=True)
class SearchJob:
    """What to look for on the web. ``kind`` is web or news, ``period`` a day, week, month or year back, empty for any time.

    ``pages`` asks for the text of the pages, in this form and of this length each; ``answer`` for one in words. ``strict`` wants
    no result at all rather than one that a filter should have kept out.
    """

    query: str
    kind: str = "web"
    count: int = 5
    offset: int = 0
    country: str = ""
    language: str = ""
    period: str = ""
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    safe: str = ""
    pages: str = ""
    length: int = 0
    answer: bool = False
    strict: bool = False
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def wishes(self) -> list[str]:
        """The names of what is asked for beyond words, kind and number."""
        names = ("offset", "country", "language", "period", "include", "exclude", "safe", "pages", "answer")
        return [name for name in names if getattr(self, name)]


@dataclass(slots=True)
class Hit:
    """One result. What a provider does not say is None."""

    title: str
    url: str
    snippet: str
    score: float | None = None
    published_at: str | None = None
    favicon_url: str | None = None
    content: str | None = None
    author: str | None = None
    language: str | None = None
    image_url: str | None = None


@dataclass(slots=True)
class Hits:
    """Results in the provider's order, how many there are in all where it says so, and an answer in words where it gives one."""

    hits: list[Hit]
    total: int | None = None
    answer: str | None = None


@dataclass(slots=True)
class SpeechJob:
    """What to say. ``form`` is mp3, opus, aac, flac, wav or pcm, empty where any will do and mp3 is best; ``voice`` one that the provider
    knows, empty for its own choice; ``events`` wants the sound as OpenAI's events where the provider has them, so that tokens are told."""

    text: str
    voice: str = ""
    form: str = ""
    speed: float | None = None
    events: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(slots=True)
class ImageJob:
    """Pictures to make: ``count`` of them, of words, and of ``images`` where there are any, changed where ``mask`` is transparent.

    ``size`` is WIDTHxHEIGHT or auto, empty for the provider's own; ``form`` is url or b64_json, empty where the client takes
    either. ``stream`` wants them while they are made. ``extra`` are further fields in OpenAI's words.
    """

    prompt: str
    count: int = 1
    size: str = ""
    form: str = ""
    images: Sequence[Picture] = ()
    mask: Picture | None = None
    stream: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(slots=True)
class ClipJob:
    """A film or a piece of music to make of words, and a film of pictures too.

    ``seconds`` is its length, None for the provider's own; ``size`` WIDTHxHEIGHT of a film, empty for the provider's own; ``form``
    is url or b64_json, empty where the client takes either. ``extra`` are further fields, in the provider's words.
    """

    prompt: str
    seconds: float | None = None
    size: str = ""
    form: str = ""
    images: Sequence[Picture] = ()
    extra: Mapping[str, Any] = field(default_factory=dict[str, Any])
