"""Marketplaces: what they find, and the text of a skill from its repository at one commit, held against what the repository says of it."""

from __future__ import annotations

import hashlib
import re
import tomllib
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote, urlencode

import msgspec
import orjson

from hub.errors import BadRequest, NotFound, UpstreamFailed
from hub.fetch import exchange
from hub.outbound.base import Timeouts
from hub.secret import NO_SECRET, Secret
from hub.settings import Settings
from hub.user_skills.model import MOST_TEXT
from hub.vault import Unreadable

if TYPE_CHECKING:
    from hub.outbound.client import Outbound
    from hub.store.store import Store

_VALUE = "skillsmp"
_PLACE = "values/skillsmp/key"
_KEY = re.compile(r"[\x21-\x7e]{8,200}")
_REPOSITORY = re.compile(r"[A-Za-z0-9_.-]{1,100}/[A-Za-z0-9_.-]{1,100}")
_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_TIMEOUTS = Timeouts(connect=5, first_byte=15, idle=15, write=15)
_MOST_LIST = 1024 * 1024
_MOST_FOUND = 100


class Market(msgspec.Struct, frozen=True):
    """A marketplace: a row of ``markets.toml``."""

    id: str
    name: str
    url: str
    search: str
    key: bool
    answers: tuple[str, ...]
    popular: tuple[str, ...]
    paths: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Text:
    """A skill's text, where it was read, at which commit, and its SHA-256."""

    text: str
    url: str
    commit: str
    digest: str


def markets() -> dict[str, Market]:
    """Every marketplace by id."""
    table: dict[str, dict[str, Any]] = tomllib.loads(files("hub.user_skills").joinpath("markets.toml").read_text("utf-8"))
    return {one: msgspec.convert({"id": one, **row}, Market) for one, row in table.items()}


class Markets:
    """Asks marketplaces and repositories. What they answer is a stranger's: bounded, checked for its form, never run."""

    def __init__(self, store: Store, outbound: Outbound, settings: Settings) -> None:
        self._store = store
        self._outbound = outbound
        self._settings = settings
        self.table = markets()

    @property
    def key(self) -> Secret:
        """The key for the marketplace that wants one."""
        sealed = self._store.values.get(_VALUE)
        try:
            return self._store.unseal(sealed, _PLACE) if isinstance(sealed, str) else NO_SECRET
        except Unreadable:
            return NO_SECRET

    async def keep_key(self, value: str) -> None:
        """Keep the key, sealed; an empty one forgets it, its own mask leaves it. Raises BadRequest."""
        if value == self.key.masked:
            return
        if not value:
            await self._store.values.delete(_VALUE)
            return
        check_key(value)
        await self._store.values.set(_VALUE, self._store.seal(value, _PLACE))

    async def search(self, market: str, words: str, *, limit: int) -> list[dict[str, Any]]:
        """What a marketplace finds, as it says it. Raises BadRequest without its key, UpstreamFailed, OutboundError."""
        row = self.table[market]
        headers: dict[str, str] = {}
        if row.key:
            key = self.key
            if not key:
                raise BadRequest(f"{row.name} wants a key of yours: set skillsmpApiKey in /api/settings", field="skillsmpApiKey")
            headers["authorization"] = f"Bearer {key.reveal()}"
        query = urlencode({"q": words, "limit": limit})
        status, data = await self._get(row.url, f"{row.search}?{query}", headers=headers, most=_MOST_LIST)
        if status != 200:
            raise UpstreamFailed(f"{row.name} answered {status}", upstream_status=status)
        return _listed(row, data)[: min(limit, _MOST_FOUND)]

    async def text(self, market: str, repository: str, skill: str) -> Text:
        """The SKILL.md of a skill in a public repository, at the commit that its default branch is at now.

        Size and digest are what the repository says of the file. Raises BadRequest, NotFound, UpstreamFailed, OutboundError.
        """
        if not _REPOSITORY.fullmatch(repository) or "/." in f"/{repository}":
            raise BadRequest("source: write owner/name of a public repository", field="source")
        if not _ID.fullmatch(skill):
            raise BadRequest("skillId: letters, digits, dots, hyphens and underscores only", field="skillId")
        commit = await self._commit(repository)
        for pattern in self.table[market].paths:
            path = pattern.format(id=skill)
            about = await self._about(repository, commit, path)
            if about is not None:
                return await self._read(repository, commit, path, about)
        raise NotFound(f"{repository} has no SKILL.md for {skill!r} at {commit[:12]}", field="skillId")

    async def _commit(self, repository: str) -> str:
        status, data = await self._get("github_api_url", f"/repos/{repository}/commits/HEAD", most=_MOST_LIST)
        if status == 404 or status == 422:
            raise NotFound(f"there is no public repository {repository}", field="source")
        commit = str(_object(status, data).get("sha"))
        if not _COMMIT.fullmatch(commit):
            raise UpstreamFailed("the repository's host names no commit")
        return commit

    async def _about(self, repository: str, commit: str, path: str) -> tuple[int, str] | None:
        """Size and blob id of a file at a commit, None where there is none. Raises UpstreamFailed for no plain file, or a large one."""
        status, data = await self._get("github_api_url", f"/repos/{repository}/contents/{quote(path)}?ref={commit}", most=4 * _MOST_LIST)
        if status == 404:
            return None
        about = _object(status, data)
        size, blob = about.get("size"), about.get("sha")
        if about.get("type") != "file" or type(size) is not int or not isinstance(blob, str):
            raise UpstreamFailed(f"{path} is no plain file there")
        if size > MOST_TEXT:
            raise UpstreamFailed(f"{path} has {size} bytes; a skill may have {MOST_TEXT}", code="too_large")
        return size, blob

    async def _read(self, repository: str, commit: str, path: str, about: tuple[int, str]) -> Text:
        place = f"/{repository}/{commit}/{quote(path)}"
        status, data = await self._get("skills_raw_url", place, headers={"accept": "text/plain"}, most=MOST_TEXT)
        if status != 200:
            raise UpstreamFailed(f"the text of the skill could not be had: the host answered {status}", upstream_status=status)
        size, blob = about
        # Git's id of a file's content: SHA-1 of a header and the content (gitformat, "Object storage").
        made = hashlib.sha1(b"blob %d\x00" % len(data) + data, usedforsecurity=False).hexdigest()
        if len(data) != size or made != blob:
            raise UpstreamFailed(
                "the text is not the file that the repository names at this commit; nothing was installed", code="wrong_digest"
            )
        return Text(decoded(data), f"{self._settings.skills_raw_url.rstrip('/')}{place}", commit, hashlib.sha256(data).hexdigest())

    async def _get(self, setting: str, target: str, *, headers: dict[str, str] | None = None, most: int) -> tuple[int, bytes]:
        """Status and body. A base URL that the owner set may be private; where it leads on to is not followed."""
        base: str = getattr(self._settings, setting)
        private = base != Settings.model_fields[setting].default
        url = f"{base.rstrip('/')}{target}"
        answer = await exchange(self._outbound, "GET", url, headers=headers, most=most, private=private, timeouts=_TIMEOUTS)
        if 300 <= answer.status < 400:
            raise UpstreamFailed(f"the host sends elsewhere ({answer.status}), which is not followed", upstream_status=answer.status)
        return answer.status, answer.body


def check_key(value: object) -> None:
    """Raise BadRequest for what cannot be a marketplace's key."""
    if not isinstance(value, str) or not _KEY.fullmatch(value):
        raise BadRequest("skillsmpApiKey: 8 to 200 printable characters without blanks", field="skillsmpApiKey")


def decoded(data: bytes) -> str:
    """A text. Raises UpstreamFailed for what is none."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UpstreamFailed("the SKILL.md is no UTF-8 text") from None
    if "\x00" in text or not text.strip():
        raise UpstreamFailed("the SKILL.md is empty, or no text")
    return text


def _object(status: int, data: bytes) -> dict[str, Any]:
    if status != 200:
        raise UpstreamFailed(f"the repository's host answered {status}", upstream_status=status)
    try:
        found: object = orjson.loads(data)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise UpstreamFailed("the repository's host sent no JSON object")
    return cast("dict[str, Any]", found)


def _listed(row: Market, data: bytes) -> list[dict[str, Any]]:
    """The objects of the list in an answer."""
    try:
        tree: Any = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise UpstreamFailed(f"{row.name} sent no JSON") from None
    for way in row.answers:
        found: Any = tree
        for part in way.split("."):
            found = cast("dict[str, Any]", found).get(part) if isinstance(found, dict) else None
        if isinstance(found, list):
            return [cast("dict[str, Any]", one) for one in cast("list[Any]", found) if isinstance(one, dict)]
    raise UpstreamFailed(f"{row.name} sent no list of skills")
