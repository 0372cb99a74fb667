"""The installed skills: what a manifest must be, how they are stored and changed, who sees which, and what the registry shows of them."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from hub.canonical import canonical
from hub.errors import BadRequest, Conflict, InvalidInput, NotFound
from hub.evals.schemas import check as check_schema
from hub.grants.model import sealed_place
from hub.skill import details_of
from hub.user_skills.handler import read
from hub.user_skills.model import SYSTEM, Review, UserSkill, document_name, tool_names
from hub.user_skills.scan import scanned

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hub.clock import Clock
    from hub.events import Events
    from hub.records import Caller
    from hub.store.documents import Document
    from hub.store.store import Store
    from hub.user_skills.handler import Handler

    Installed = Document[UserSkill]

KIND = "user-skill"
#: What it says of a skill that a person has to look at; a change of any of these asks for that anew.
_JUDGED = frozenset({"name", "description", "kind", "schemas", "handler", "text", "timeout_ms", "retries"})
_MOST = 1000


class Library:
    """The documents of installed skills. Changed by management; read by chats from memory."""

    def __init__(self, store: Store, clock: Clock, events: Events, table: Mapping[str, Handler]) -> None:
        self._events = events
        self.documents = store.collection(KIND, what="installed skill", prefix="skl_", body=UserSkill)
        self._store = store
        self._clock = clock
        self._table = table

    def seen(self, caller: Caller) -> list[Installed]:
        """Those that a caller may see, oldest first: all for management, else its own and everybody's."""
        every = self.documents.all()
        return every if "manage" in caller.scopes else [one for one in every if one.body.for_key(caller.key_id)]

    def get(self, skill_id: str, caller: Caller) -> Installed:
        """One that a caller may see. Raises NotFound."""
        found = self.documents.peek(skill_id)
        if found is None or not ("manage" in caller.scopes or found.body.for_key(caller.key_id)):
            raise NotFound(f"there is no installed skill {skill_id[:100]!r}", field="id")
        return found

    def named(self, name: str, caller: Caller) -> Installed:
        """The skill of a ``name@version``, an id, or a name: then its newest usable version. A key's own comes before everybody's.

        Raises NotFound.
        """
        name, _, version = name.partition("@")
        mine = [one for one in self.documents.all() if one.body.for_key(caller.key_id)]
        found = [one for one in mine if name in (one.body.name, one.id) and version in ("", one.body.version)]
        if not found:
            raise NotFound("there is no installed skill of this name for this key; GET /api/skills lists them", field="skillName")
        return max(found, key=lambda one: (one.body.owner != SYSTEM, one.body.usable, one.body.order))

    @staticmethod
    def require_usable(found: Installed) -> None:
        """Raise Conflict for a skill that may not be used now."""
        body = found.body
        if body.review.state != "approved":
            raise Conflict(f"{body.full_name} {_WAITS[body.review.state]}", code="needs_review")
        if not body.enabled:
            raise Conflict(f"{body.full_name} is switched off", code="skill_disabled")

    def usable(self, key_id: str | None) -> list[Installed]:
        """What a key may use now, one version of each name, oldest first; for None what everybody may."""
        found: dict[str, Installed] = {}
        for one in self.documents.all():
            body = one.body
            if not body.usable or not (body.owner == SYSTEM or body.owner == key_id):
                continue
            kept = found.get(body.name)
            if kept is None or _rank(kept.body) < _rank(body):
                found[body.name] = one
        return sorted(found.values(), key=lambda one: (one.created_at, one.id))

    def tools(self, key_id: str | None) -> dict[str, Installed]:
        """The executable ones of those by their tool names."""
        runs = [one for one in self.usable(key_id) if one.body.kind == "executable"]
        names = tool_names(one.body.name for one in runs)
        return {names[one.body.name]: one for one in runs}

    async def install(self, wanted: UserSkill, by: Caller, *, approve: bool) -> Installed:
        """Store a skill, or take the place of the same version of it. ``approve``: who installs it has read it; what the scan finds still
        asks for a look. Raises BadRequest and InvalidInput naming what is wrong, Conflict for too many."""
        self._owned(wanted.owner)
        wanted = self.checked(wanted)
        name = document_name(wanted.owner, wanted.name, wanted.version)
        kept = self.documents.find(name)
        if kept is None and len(self.documents.all()) >= _MOST:
            raise Conflict(f"{_MOST} skills are installed, which is the most")
        document_id = kept.id if kept is not None else self.documents.new_id()
        findings = scanned(_words(wanted))
        review = self._reviewed(by) if approve and not findings else Review()
        source = wanted.source.model_copy(update={"digest": wanted.source.digest or self._digest(wanted), "installed_by": by.name})
        made = wanted.model_copy(
            update={
                "handler": self._sealed(document_id, wanted.handler),
                "findings": findings,
                "review": review,
                "source": source,
                "installs": kept.body.installs + 1 if kept is not None else 1,
            }
        )
        made = made.model_copy(update={"enabled": review.state == "approved"})
        if kept is not None:
            return self._told(await self.documents.update(kept.id, made))
        return self._told(await self.documents.create(name, made, document_id=document_id))

    async def change(self, kept: Installed, patch: dict[str, Any], by: Caller) -> Installed:
        """Change fields of a skill. What it does or says is judged anew. Raises as :meth:`install`, Conflict for one nobody approved."""
        body = kept.body
        try:
            made = UserSkill.model_validate({**body.model_dump(), **patch})
        except ValidationError as error:
            raise InvalidInput(details_of(error)) from None
        if _JUDGED & patch.keys():
            if "handler" in patch:
                made = self.checked(made)
                made = made.model_copy(update={"handler": self._sealed(kept.id, made.handler, before=body.handler)})
            else:
                made = self.checked(made, stored=True)
            findings = scanned(_words(made))
            source = made.source.model_copy(update={"digest": self._digest(made)})
            # Its own author may have read it; what the scan finds anew asks for a look.
            fresh = Review() if findings and findings != body.findings else body.review
            fresh = self._reviewed(by) if fresh.state == "approved" else fresh
            made = made.model_copy(update={"findings": findings, "source": source, "review": fresh})
            if fresh.state != "approved":
                made = made.model_copy(update={"enabled": False})
        made = self._switched(made, patch)
        stored = await self.documents.update(kept.id, made, name=document_name(made.owner, made.name, made.version))
        return self._told(stored) if body.review.state == "approved" else stored

    async def review(self, kept: Installed, decision: str, by: Caller) -> Installed:
        """A person allows or refuses a skill. Refused ones are off."""
        review = Review(state="approved" if decision == "approve" else "refused", by=by.name, at=self._clock.now_ms())
        switched = {"enabled": True} if decision == "approve" else {"enabled": False, "mode": "off"}
        return await self.documents.update(kept.id, kept.body.model_copy(update={"review": review, **switched}))

    def checked(self, wanted: UserSkill, *, stored: bool = False) -> UserSkill:
        """The manifest as it is stored: a kind that always takes the same has its own schemas. Raises BadRequest, InvalidInput."""
        _check_schemas(wanted)
        if wanted.kind == "instruction":
            if not wanted.text.strip():
                raise BadRequest("skillMdContent: is empty", field="skillMdContent")
            return wanted
        handler, spec = read(self._table, wanted.handler)
        schemas = wanted.schemas
        if handler.schemas is not None:
            schemas = handler.schemas
        if handler.coded != bool(wanted.text.strip()):
            words = (
                f"a {handler.kind} runs code; send handlerCode"
                if handler.coded
                else f"a {handler.kind} runs no code; leave handlerCode out"
            )
            raise BadRequest(f"handlerCode: {words}", field="handlerCode")
        handler.check(spec, schemas)
        plain = wanted.handler if stored else {"type": handler.kind, **spec.model_dump(mode="json", by_alias=True, exclude_defaults=True)}
        return wanted.model_copy(update={"schemas": schemas, "handler": plain})

    @staticmethod
    def _switched(made: UserSkill, patch: dict[str, Any]) -> UserSkill:
        """A mode that is set alone switches the skill on, and ``off`` off. Raises Conflict for one that nobody approved."""
        if "mode" in patch and "enabled" not in patch:
            made = made.model_copy(update={"enabled": made.mode != "off"})
        if made.enabled and made.review.state != "approved":
            raise Conflict(f"{made.full_name} {_WAITS[made.review.state]}", code="needs_review")
        return made

    def _sealed(self, document_id: str, handler: dict[str, Any], *, before: dict[str, Any] | None = None) -> dict[str, Any]:
        """A handler whose secrets are sealed for its document; a mask leaves the one that is stored."""
        kind = self._table.get(str(handler.get("type")))
        if kind is None or not kind.sealed or kind.sealed not in handler:
            return handler
        stored: dict[str, str] = (before or {}).get(kind.sealed) or {}
        given: dict[str, str] = handler[kind.sealed]
        sealed = {
            name: stored[name]
            if value == MASKED and name in stored
            else self._store.seal(value, sealed_place(document_id, kind.sealed, name))
            for name, value in given.items()
        }
        return {**handler, kind.sealed: sealed}

    def shown(self, handler: dict[str, Any]) -> dict[str, Any]:
        """A handler as callers see it: secrets are masked."""
        kind = self._table.get(str(handler.get("type")))
        if kind is None or not kind.sealed or kind.sealed not in handler:
            return handler
        return {**handler, kind.sealed: dict.fromkeys(handler[kind.sealed], MASKED)}

    def _digest(self, skill: UserSkill) -> str:
        """SHA-256 of what a skill says and does, without its secrets, hex. Raises BadRequest for what is no JSON."""
        facts = {"text": skill.text, "handler": self.shown(skill.handler), "schemas": skill.schemas.model_dump(mode="json")}
        try:
            return hashlib.sha256(canonical(facts)).hexdigest()
        except ValueError as error:
            raise BadRequest(f"the manifest holds what JSON cannot say: {error}") from None

    def _told(self, stored: Installed) -> Installed:
        """A skill that was stored; where it waits for a person, that is told."""
        body = stored.body
        if body.review.state == "needs review":
            self._events.emit("skill.waiting", skill=body.full_name, findings=len(body.findings), market=body.market)
        return stored

    def _owned(self, owner: str) -> None:
        if owner != SYSTEM and self._store.keys.valid(owner) is None:
            raise BadRequest("apiKeyId: there is no such key; leave it out for every key", field="apiKeyId")

    def _reviewed(self, by: Caller) -> Review:
        return Review(state="approved", by=by.name, at=self._clock.now_ms())


#: What stands where a secret is.
MASKED = "…"
_WAITS = {
    "needs review": "waits for a person to read and approve it: POST /api/skills/{id}/review, or the page of installed skills",
    "refused": "was refused in review; approve it first",
}


def _check_schemas(wanted: UserSkill) -> None:
    for field, schema in (("input", wanted.schemas.input), ("output", wanted.schemas.output)):
        try:
            check_schema(schema)
        except ValueError as error:
            raise BadRequest(f"schema.{field}: {error}", field=f"schema.{field}") from None
    if wanted.schemas.input.get("type", "object") != "object":
        raise BadRequest("schema.input: must be the schema of an object", field="schema.input")


def _words(skill: UserSkill) -> str:
    """All that a stranger may have written into a skill, the text first so that lines keep their numbers."""
    beside = [skill.description, *_texts(skill.schemas.input), *_texts(skill.schemas.output), *_texts(skill.handler)]
    return "\n".join([skill.text, *beside])


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, inner in value.items():  # pyright: ignore[reportUnknownVariableType] - JSON
            yield str(name)  # pyright: ignore[reportUnknownArgumentType] - JSON
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:  # pyright: ignore[reportUnknownVariableType] - JSON
            yield from _texts(inner)


def _rank(body: UserSkill) -> tuple[bool, tuple[int, ...]]:
    """A key's own before everybody's, then the newest."""
    return body.owner != SYSTEM, body.order
