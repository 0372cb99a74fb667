"""Agent cards of strangers: read within bounds, judged, and what of them is used (SEC-57). Both forms, A2A 1.0 and 0.3."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import orjson

from hub.errors import BadRequest, NotFound, UpstreamFailed, UpstreamTimeout
from hub.fetch import exchange
from hub.log import masked
from hub.outbound.address import parse_url
from hub.outbound.base import Fault, OutboundError
from hub.upstream import pinning

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hub.outbound.client import Outbound

#: Where agents show their card: A2A 0.3 and later, and before.
PLACES = ("/.well-known/agent-card.json", "/.well-known/agent.json")
MOST_BYTES = 64 * 1024
MOST_SKILLS = 256
_MOST_DEPTH = 24
_SECONDS = 30.0
_MAX_AGE = re.compile(r"(?:^|[\s,])max-age=(\d{1,9})(?:$|[\s,])", re.IGNORECASE)
#: A name in a card that is shown, or becomes part of a name of ours.
_MOST_NAME = 200
_SPOKEN = ("JSONRPC", "HTTP+JSON")


@dataclass(frozen=True, slots=True)
class Found:
    """A card as it came. ``card`` None: it is still that of the entity tag. ``max_age`` in seconds, None where none is stated."""

    url: str
    card: dict[str, Any] | None
    etag: str = ""
    max_age: int | None = None


@dataclass(frozen=True, slots=True)
class Interface:
    """Where an agent listens: ``binding`` is JSONRPC or HTTP+JSON, ``version`` 1.0 or 0.3."""

    url: str
    binding: str
    version: str
    tenant: str = ""


@dataclass(frozen=True, slots=True)
class Offer:
    """A skill as a card states it."""

    id: str
    name: str
    description: str
    tags: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()


async def fetched(outbound: Outbound, url: str, *, headers: Mapping[str, str], private: bool, etag: str = "") -> Found:
    """The card at an address, or of the agent at it. With an entity tag it is read only if it is another.

    Raises OutboundError, UpstreamFailed for what is no card, UpstreamTimeout, NotFound when there is none.
    """
    try:
        async with asyncio.timeout(_SECONDS):
            for place in _places(url):
                found = await _read(outbound, place, headers, private, etag)
                if found is not None:
                    return found
    except TimeoutError:
        raise UpstreamTimeout(f"the agent card was not whole within {_SECONDS:.0f} s") from None
    raise NotFound(f"there is no agent card: neither the address nor {' nor '.join(PLACES)} below it has one", field="url")


def _places(url: str) -> list[str]:
    """Where to look: at a file that is named, else at the well-known addresses below."""
    path = url.partition("?")[0]
    return [url] if path.endswith(".json") else [path.rstrip("/") + place for place in PLACES]


async def _read(outbound: Outbound, url: str, headers: Mapping[str, str], private: bool, etag: str) -> Found | None:
    known = {"if-none-match": etag} if etag else {}
    answer = await exchange(outbound, "GET", url, headers={**headers, **known}, most=MOST_BYTES, private=private)
    caching = _MAX_AGE.search(answer.header("cache-control"))
    max_age = int(caching[1]) if caching else None
    if answer.status == 304 and etag:
        return Found(url, None, etag, max_age)
    if answer.status in (404, 410):
        return None
    if 300 <= answer.status < 400:
        raise UpstreamFailed("the agent card's address is a redirect, which is not followed; give the address it leads to")
    if answer.status != 200:
        raise UpstreamFailed(f"the agent card's address answered {answer.status}", upstream_status=answer.status)
    return Found(url, parsed(answer.body), answer.header("etag")[:500], max_age)


def parsed(body: bytes) -> dict[str, Any]:
    """A card from its bytes, whatever content type they came with. Raises UpstreamFailed for what is no JSON object."""
    try:
        card: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise UpstreamFailed("what the agent card's address answered is not JSON") from None
    if not isinstance(card, dict):
        raise UpstreamFailed("what the agent card's address answered is no JSON object")
    return cast("dict[str, Any]", card)


def fault(card: dict[str, Any]) -> str:
    """Why a card cannot be taken, its addresses apart; empty when it can."""
    # Depth before all that walks the whole.
    if pinning.too_deep(card, _MOST_DEPTH):
        return f"it is nested more than {_MOST_DEPTH} deep"
    if not _named(card.get("name")):
        return f"its name is not 1 to {_MOST_NAME} characters"
    if wrong := _skills_fault(card.get("skills", [])):
        return wrong
    return "" if interfaces(card) else "it names no interface that speaks JSON-RPC or HTTP+JSON of A2A 1.0 or 0.3"


def _skills_fault(stated: Any) -> str:
    skills = objects(stated)
    if not isinstance(stated, list) or len(cast("list[Any]", stated)) != len(skills):
        return "its skills are no list of objects"
    ids = [one.get("id") for one in skills]
    if len(ids) > MOST_SKILLS:
        return f"it states {len(ids)} skills, and {MOST_SKILLS} is the most"
    if not all(_named(one) for one in ids):
        return f"a skill's id is not 1 to {_MOST_NAME} characters"
    twice = next((one for at, one in enumerate(ids) if one in ids[:at]), None)
    return "" if twice is None else f"it states the skill {str(twice)[:100]!r} twice"


async def refused_address(outbound: Outbound, card: dict[str, Any], *, private: bool) -> str:
    """Which interface of a card points to where the hub must not go, and why; empty when none does (SEC-10, SEC-57).

    Names that nobody knows pass here: each call is checked again when it connects.
    """
    for one in interfaces(card):
        try:
            origin, _ = parse_url(one.url, field="url")
            async with asyncio.timeout(_SECONDS):
                await outbound.guard.resolve(origin, private=private)
        except BadRequest as error:
            return f"its interface {masked(one.url[:200])} is no usable address: {error.message}"
        except OutboundError as error:
            if error.fault is Fault.ADDRESS_REFUSED:
                return f"its interface {masked(one.url[:200])} is refused: {error.message}"
        except TimeoutError:
            continue
    return ""


def findings(card: dict[str, Any], card_url: str) -> tuple[str, ...]:
    """What an owner should look at before allowing a card: words for a model (SEC-62), and where messages and credentials would go."""
    shown = [card.get(name) for name in ("name", "description", "provider", "skills")]
    found = list(pinning.findings(pinning.strings(shown)))
    home = parse_url(card_url)[0]
    origins = [parse_url(one.url)[0] for one in interfaces(card)]
    if any(origin.host != home.host for origin in origins):
        found.append("an interface on another host than the card")
    if home.scheme == "https" and any(origin.scheme == "http" for origin in origins):
        found.append("an interface without TLS")
    return tuple(found)


def interfaces(card: Mapping[str, Any]) -> list[Interface]:
    """The interfaces that we speak, in the card's own order of preference."""
    return [one for one in _stated(card) if one.binding in _SPOKEN and one.version and one.url]


def _stated(card: Mapping[str, Any]) -> Iterator[Interface]:
    listed = objects(card.get("supportedInterfaces"))
    if listed:
        for one in listed:
            version = str(one.get("protocolVersion") or card.get("protocolVersion") or "1.0")
            yield Interface(text(one, "url"), text(one, "protocolBinding").upper(), _version(version), text(one, "tenant"))
        return
    version = _version(str(card.get("protocolVersion") or "0.3"))
    yield Interface(text(card, "url"), (text(card, "preferredTransport") or "JSONRPC").upper(), version)
    for one in objects(card.get("additionalInterfaces")):
        yield Interface(text(one, "url"), text(one, "transport").upper(), version)


def _version(stated: str) -> str:
    """The version of ours that speaks with a stated one, empty for none. 0.2 differs from 0.3 in nothing that is used here."""
    return "1.0" if stated.startswith("1.") else "0.3" if stated.startswith(("0.3", "0.2")) else ""


def streams(card: Mapping[str, Any]) -> bool:
    """Whether the agent says that it streams."""
    capabilities = card.get("capabilities")
    return isinstance(capabilities, dict) and cast("dict[str, Any]", capabilities).get("streaming") is True


def offers(card: Mapping[str, Any]) -> list[Offer]:
    """The skills of a card; of one that states none the agent as a whole."""
    name, words = text(card, "name"), text(card, "description")
    made = [
        Offer(
            text(one, "id"),
            text(one, "name") or text(one, "id"),
            text(one, "description"),
            _words(one, "tags"),
            _words(one, "examples"),
        )
        for one in objects(card.get("skills"))
    ]
    return made or ([Offer("message", name, words)] if card else [])


def provider(card: Mapping[str, Any]) -> str:
    """Who stands behind the agent, as the card has it."""
    stated = card.get("provider")
    return text(cast("dict[str, Any]", stated), "organization") if isinstance(stated, dict) else ""


def by_skill(card: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """A card with its skills by their id, so that a comparison says which of them changed."""
    return None if card is None else {**card, "skills": {text(one, "id"): one for one in objects(card.get("skills"))}}


def objects(value: Any) -> list[dict[str, Any]]:
    """The objects of a list; none of what is no list."""
    return [cast("dict[str, Any]", one) for one in cast("list[Any]", value) if isinstance(one, dict)] if isinstance(value, list) else []


def text(value: Mapping[str, Any], name: str) -> str:
    """A text of a card; empty where it is none."""
    found = value.get(name)
    return found if isinstance(found, str) else ""


def _words(value: Mapping[str, Any], name: str) -> tuple[str, ...]:
    found = value.get(name)
    return tuple(one[:500] for one in cast("list[Any]", found) if isinstance(one, str))[:20] if isinstance(found, list) else ()


def _named(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip()) and len(value) <= _MOST_NAME
