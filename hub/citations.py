"""Where the words of an answer come from: one form of a source, and what each vendor's dialect makes of it.

Sources: Anthropic API reference, "Citations", "Web search tool"; OpenAI API reference, "The chat completion object", "The response
object"; Perplexity API reference, "Chat completions"; Gemini API reference, "GroundingMetadata", "CitationMetadata".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, cast

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_Object: TypeAlias = dict[str, Any]

ANTHROPIC, CHAT, RESPONSES, GEMINI = "anthropic", "openai", "openai-responses", "gemini"
#: How Gemini names the kinds of evidence that an answer rests on.
_EVIDENCE = ("web", "retrievedContext", "maps", "image")


class Source(msgspec.Struct, omit_defaults=True, frozen=True):
    """What a stretch of an answer's text rests on.

    ``start`` and ``end`` count characters of the choice's whole text, end exclusive; None where the vendor does not say, so that the source
    is the whole answer's. ``cited`` are the source's own words. ``url`` is empty for documents of the request. ``own`` is the note as it
    came, for clients who speak its ``dialect``.
    """

    url: str = ""
    title: str = ""
    cited: str = ""
    start: int | None = None
    end: int | None = None
    dialect: str = ""
    own: _Object = {}

    @property
    def span(self) -> tuple[int, int] | None:
        """The stretch it supports; None where that is not known."""
        return None if self.start is None or self.end is None else (self.start, self.end)

    def moved(self, by: int) -> Source:
        """The same source of a text that more characters precede."""
        return (
            msgspec.structs.replace(self, start=self.start + by, end=self.end + by)
            if self.start is not None and self.end is not None
            else self
        )


class Passage(msgspec.Struct, frozen=True):
    """A part of a Gemini answer that holds text: its place among the parts, and the characters said before it."""

    text: str
    part: int = 0
    before: int = 0


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _object(value: object) -> _Object:
    return cast("_Object", value) if isinstance(value, dict) else {}


def _objects(value: object) -> list[_Object]:
    return [cast("_Object", one) for one in cast("list[object]", value) if isinstance(one, dict)] if isinstance(value, list) else []


def _count(value: object) -> int | None:
    return value if type(value) is int and value >= 0 else None


def _web(value: object) -> str:
    """The value where it is an address that a client could open."""
    return value if isinstance(value, str) and value.startswith(("https://", "http://")) else ""


# -- Anthropic: a block of text holds what all of it rests on


def from_anthropic(notes: Iterable[_Object], start: int, end: int) -> list[Source]:
    """The sources of a block that is these characters of the answer."""
    return [
        Source(
            url=_web(note.get("url")) or _web(note.get("source")),
            title=_text(note.get("title")) or _text(note.get("document_title")),
            cited=_text(note.get("cited_text")),
            start=start,
            end=end,
            dialect=ANTHROPIC,
            own=note,
        )
        for note in notes
    ]


def to_anthropic(sources: Iterable[Source]) -> list[_Object]:
    """Notes for a block. Another vendor's page is a web search's result whose ``encrypted_index`` is empty; documents have no place."""
    return [
        source.own if source.dialect == ANTHROPIC else _found(source) for source in sources if source.url or source.dialect == ANTHROPIC
    ]


def _found(source: Source) -> _Object:
    kind = "web_search_result_location"
    return {"type": kind, "url": source.url, "title": source.title or None, "cited_text": source.cited, "encrypted_index": ""}


def is_foreign(note: object) -> bool:
    """Whether a note that a client sends back to Anthropic was made by :func:`to_anthropic`; the vendor would refuse it."""
    return _object(note).get("encrypted_index") == ""


# -- OpenAI: notes beside the text, with the characters they belong to


def from_chat(notes: object) -> list[Source]:
    """The ``annotations`` of a message. An empty range says no more than that the page was read (OpenRouter)."""
    return [_cited(note, _object(note.get("url_citation")), CHAT, 0) for note in _objects(notes)]


def from_responses(notes: object, before: int) -> list[Source]:
    """The ``annotations`` of a text that ``before`` characters precede in the answer."""
    return [_cited(note, note, RESPONSES, before) for note in _objects(notes)]


def _cited(note: _Object, inner: _Object, dialect: str, before: int) -> Source:
    start, end = _count(inner.get("start_index")), _count(inner.get("end_index"))
    known = start is not None and end is not None and end > start
    return Source(
        url=_web(inner.get("url")),
        title=_text(inner.get("title")),
        cited=_text(inner.get("content")),
        start=before + start if known and start is not None else None,
        end=before + end if known and end is not None else None,
        dialect=dialect,
        own=note,
    )


def from_lists(citations: object, results: object) -> list[Source]:
    """What Perplexity and xAI state beside the choices: addresses, and pages with their titles. Each page once, in their order."""
    pages = [
        Source(url=_web(page.get("url")), title=_text(page.get("title")), cited=_text(page.get("snippet"))) for page in _objects(results)
    ]
    named = cast("list[object]", citations) if isinstance(citations, list) else []
    pages += [Source(url=_web(one) or _web(_object(one).get("url"))) for one in named]
    once: dict[str, Source] = {}
    for page in pages:
        once.setdefault(page.url, page)
    return [page for url, page in once.items() if url]


def to_chat(sources: Iterable[Source]) -> list[_Object]:
    """``annotations`` of a message. A range of nothing stands for one that is not known; documents have no place."""
    return [
        source.own if source.dialect == CHAT else {"type": "url_citation", "url_citation": _noted(source, 0)}
        for source in sources
        if source.url or source.dialect == CHAT
    ]


def to_responses(sources: Iterable[Source], before: int) -> list[_Object]:
    """``annotations`` of a text that ``before`` characters precede; as in :func:`to_chat`."""
    return [_placed(source, before) for source in sources if source.url or source.dialect == RESPONSES]


def _placed(source: Source, before: int) -> _Object:
    own = source.own if source.dialect == RESPONSES else {}
    if not source.url or (own and source.span is None):
        return own
    return {**own, "type": "url_citation", **_noted(source, before)}


def _noted(source: Source, before: int) -> _Object:
    start, end = source.span or (before, before)
    return {"start_index": max(0, start - before), "end_index": max(0, end - before), "title": source.title, "url": source.url}


# -- Gemini: evidence, and which bytes of the text rest on it


def from_gemini(grounding: object, citation: object, said: Sequence[Passage]) -> list[Source]:
    """The sources of a candidate. ``said`` are its texts: ranges come in bytes of UTF-8 of one of them."""
    found = _object(grounding)
    pages = [_page(chunk) for chunk in _objects(found.get("groundingChunks"))]
    used: set[int] = set()
    sources: list[Source] = []
    for support in _objects(found.get("groundingSupports")):
        start, end = _range(_object(support.get("segment")), said)
        for index in _places(support.get("groundingChunkIndices"), len(pages)):
            used.add(index)
            sources.append(msgspec.structs.replace(pages[index], start=start, end=end))
    sources += [page for index, page in enumerate(pages) if index not in used]
    copied = _object(citation)
    for note in _objects(copied.get("citations")) or _objects(copied.get("citationSources")):
        start, end = _range(note, said)
        sources.append(Source(url=_web(note.get("uri")), title=_text(note.get("title")), start=start, end=end, dialect=GEMINI))
    return sources


def _page(chunk: _Object) -> Source:
    page = _object(next((chunk[kind] for kind in _EVIDENCE if chunk.get(kind)), None))
    return Source(
        url=_web(page.get("uri")) or _web(page.get("sourceUri")),
        title=_text(page.get("title")),
        cited=_text(page.get("text")),
        dialect=GEMINI,
    )


def _places(value: object, count: int) -> list[int]:
    given = cast("list[object]", value) if isinstance(value, list) else []
    return [one for one in given if type(one) is int and 0 <= one < count]


def _range(segment: _Object, said: Sequence[Passage]) -> tuple[int | None, int | None]:
    """A segment in characters of the whole answer. Its own words, where it has them, are right where its bytes are not."""
    end = _count(segment.get("endIndex"))
    part = _count(segment.get("partIndex")) or 0
    passage = next((one for one in said if one.part == part), said[0] if said else None)
    if passage is None or end is None:
        return None, None
    whole = passage.text.encode()
    first = len(whole[: _count(segment.get("startIndex")) or 0].decode(errors="ignore"))
    last = len(whole[:end].decode(errors="ignore"))
    words = _text(segment.get("text"))
    if words and passage.text[first:last] != words and (place := passage.text.find(words)) >= 0:
        first, last = place, place + len(words)
    return passage.before + first, passage.before + last


def to_gemini(sources: Iterable[Source], said: Sequence[Passage]) -> _Object:
    """``groundingMetadata``: each page once, and the segments that rest on them. Empty for no sources."""
    places: dict[tuple[str, str, str], int] = {}
    supports: dict[tuple[int, int], list[int]] = {}
    for source in sources:
        place = places.setdefault((source.url, source.title, source.cited if not source.url else ""), len(places))
        if source.span is not None and source.span[1] > source.span[0]:
            on = supports.setdefault(source.span, [])
            on += [place] if place not in on else []
    if not places:
        return {}
    segments = [(_segment(start, end, said), on) for (start, end), on in supports.items()]
    made = [{"segment": segment, "groundingChunkIndices": on} for segment, on in segments if segment]
    return {"groundingChunks": [_chunk(*page) for page in places], "groundingSupports": made}


def _chunk(url: str, title: str, cited: str) -> _Object:
    """A page, or a document that the request held."""
    if url:
        return {"web": {"uri": url, "title": title or url}}
    return {"retrievedContext": {"title": title, **({"text": cited} if cited else {})}}


def _segment(start: int, end: int, said: Sequence[Passage]) -> _Object:
    passage = next((one for one in reversed(said) if one.before <= start), None)
    if passage is None:
        return {}
    first, last = start - passage.before, end - passage.before
    words = passage.text[first:last]
    at = len(passage.text[:first].encode())
    segment: _Object = {"startIndex": at, "endIndex": at + len(words.encode()), "text": words}
    return ({"partIndex": passage.part, **segment} if passage.part else segment) if words else {}
