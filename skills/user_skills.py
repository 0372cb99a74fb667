"""Installed skills: what the owner adds to the hub's own, who may use it, and whether chats get it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, ValidationError

from hub.context import Context
from hub.errors import BadRequest, Forbidden, InvalidInput
from hub.skill import Audit, CostClass, Mcp, Names, Resource, Rest, details_of, skill
from hub.store.documents import Document
from hub.user_skills.model import MOST_CODE, MOST_TEXT, NAME, SYSTEM, VERSION, Finding, Mode, Schemas, UserSkill, body_of, front_matter
from hub.wire import Body, Nothing, Wire, iso

_CORE = ("core", "all")
_KEY = "Id of the key that it is for; system: for every key."
_MOST_SCHEMA = 100_000


class SchemaPair(Body):
    """JSON Schema of what goes in and what comes out."""

    input: dict[str, Any] = Field(default_factory=dict[str, Any], description="JSON Schema of the input, an object.")
    output: dict[str, Any] = Field(default_factory=dict[str, Any], description="JSON Schema of the output.")


class ReviewView(Wire):
    """Whether a person allowed it."""

    state: str
    by: str
    at: str | None


class SourceView(Wire):
    """Where it is from. ``sha256`` is that of the file where it came from a repository, else of text, handler and schemas."""

    url: str
    commit: str
    sha256: str
    installed_by: str


class SkillView(Wire):
    """An installed skill. ``handler`` is the kind of an executable one, ``spec`` what its manifest says, with secrets masked."""

    id: str
    api_key_id: str
    name: str
    version: str
    description: str
    kind: Literal["instruction", "executable"]
    schema_: SchemaPair = Field(alias="schema")
    handler: str
    spec: dict[str, Any]
    enabled: bool
    mode: Mode
    source_provider: str
    tags: list[str]
    install_count: int
    timeout_ms: int
    retries: int
    review: ReviewView
    findings: list[Finding]
    source: SourceView
    created_at: str | None
    updated_at: str | None


class SkillText(Wire):
    """One installed skill with its text."""

    skill: SkillView
    text: str


class SkillsAsk(Body):
    """Which skills to list."""

    q: str = Field(default="", max_length=200, description="Words that name, description or tags hold.")
    name: str = Field(default="", max_length=100, description="Part of the name.")
    mode: Mode | None = Field(default=None, description="Only those in this mode.")
    source: Literal["skillsmp", "skillssh", "local"] | None = Field(default=None, description="Only those from there.")
    enabled: bool | None = Field(default=None, description="Only those that are on, or off.")
    api_key_id: str = Field(default="", max_length=100, description="Only what this key may use; others' only with manage.")
    page: int = Field(default=1, ge=1, le=100_000, description="Which page.")
    limit: int = Field(default=50, ge=1, le=200, description="Skills a page.")


class SkillPage(Wire):
    """A page of skills. ``data`` and ``skills`` are the same; ``provider`` is the marketplace in use, with its popular skills."""

    data: list[SkillView]
    total: int
    page: int
    limit: int
    total_pages: int
    skills: list[SkillView]
    provider: str
    popular_defaults: list[str]
    enabled: bool


class Listed(Wire):
    """A skill as agents see it."""

    id: str
    name: str
    version: str
    description: str
    enabled: bool
    created_at: str | None


class ListedSkills(Wire):
    """The skills as agents see them."""

    skills: list[Listed]
    count: int


class SkillId(Body):
    """Names an installed skill."""

    id: str = Field(max_length=100, description="Its id, skl_….")


class SkillName(Body):
    """Names an installed instruction."""

    name: str = Field(max_length=200, description="Its name, name@version, or id.")


class Instruction(Wire):
    """The words of an instruction."""

    name: str
    version: str
    description: str
    text: str


class SkillChange(Body):
    """What to change; fields left out stay. What a skill does or says is judged anew when it changes."""

    id: str = Field(max_length=100, description="Its id.")
    enabled: bool | None = Field(default=None, description="Whether it may be used at all.")
    mode: Mode | None = Field(default=None, description="Whether chats get it: always, by their words, never. off alone also disables it.")
    name: str | None = Field(default=None, pattern=NAME, description="Its name.")
    description: str | None = Field(default=None, max_length=500, description="What it is for; models choose by it.")
    schema_: SchemaPair | None = Field(default=None, alias="schema", description="JSON Schema of input and output.")
    handler: str | dict[str, Any] | None = Field(default=None, description="What it does: a kind, or {type, …} with its fields.")
    text: str | None = Field(default=None, min_length=1, max_length=MOST_TEXT, description="Its instructions, or its code.")
    tags: tuple[str, ...] | None = Field(default=None, max_length=50, description="Words that it is chosen by.")
    timeout_ms: int | None = Field(default=None, ge=100, le=60_000, description="How long one run may take.")
    retries: int | None = Field(default=None, ge=0, le=3, description="Further tries where a run fails for a reason that passes.")


class Changed(Wire):
    """It is changed."""

    success: bool = True
    mode: Mode
    enabled: bool
    review: str


class Enable(Body):
    """Switch a skill on or off."""

    api_key_id: str = Field(default="", max_length=100, description="The caller's own key, or left out; another one only with manage.")
    skill_id: str = Field(max_length=100, description="Id of the skill.")
    enabled: bool = Field(description="Whether it may be used.")


class Enabled(Wire):
    """It is switched."""

    success: bool = True
    skill_id: str
    enabled: bool


class ReviewAsk(Body):
    """A person's word on a skill."""

    id: str = Field(max_length=100, description="Its id.")
    decision: Literal["approve", "refuse"] = Field(description="Whether it may be used.")
    sha256: str = Field(default="", max_length=64, description="Digest of what was read; refused when it is another one by now.")


class Deleted(Wire):
    """It is gone."""

    success: bool = True


class Manifest(Body):
    """A skill to install: ``skillMdContent`` for an instruction, ``handlerCode`` for code that runs in a container, or ``handler``."""

    name: str = Field(default="", max_length=100, description="Its name; for an instruction, that of its head when left out.")
    version: str = Field(default="1.0.0", pattern=VERSION, description="Its version, such as 1.0.0.")
    description: str = Field(default="", max_length=500, description="What it is for; models choose by it.")
    schema_: SchemaPair = Field(default=SchemaPair(), alias="schema", description="JSON Schema of input and output.")
    handler_code: str = Field(default="", max_length=MOST_CODE, description="Code: JSON on stdin, JSON on stdout. Never run in the hub.")
    handler: str | dict[str, Any] | None = Field(default=None, description="What it does: a kind, or {type, …} with its fields.")
    skill_md_content: str = Field(default="", max_length=MOST_TEXT, description="The text of a SKILL.md.")
    tags: tuple[str, ...] = Field(default=(), max_length=50, description="Words that it is chosen by.")
    mode: Mode = Field(default="off", description="Whether chats get it.")
    timeout_ms: int = Field(default=30_000, ge=100, le=60_000, description="How long one run may take, tries included.")
    retries: int = Field(default=0, ge=0, le=3, description="Further tries where a run fails for a reason that passes.")
    api_key_id: str = Field(default=SYSTEM, max_length=100, description=_KEY)

    def skill(self) -> UserSkill:
        """As it is stored. Raises BadRequest where it is none of the three kinds."""
        handler = handler_of(self.handler)
        if self.handler_code and handler is None:
            handler = {"type": "container"}
        if (handler is not None) == bool(self.skill_md_content):
            raise BadRequest("handlerCode: send handlerCode, handler or skillMdContent, and only one kind", field="handlerCode")
        head = front_matter(self.skill_md_content)
        name = self.name or head.get("name", "")
        if not name:
            raise BadRequest("name: is needed", field="name")
        return made(
            owner=self.api_key_id,
            name=name,
            version=self.version,
            description=(self.description or head.get("description", ""))[:1024],
            kind="instruction" if handler is None else "executable",
            schemas=Schemas(input=self.schema_.input, output=self.schema_.output),
            handler=handler or {},
            text=self.skill_md_content or self.handler_code,
            tags=self.tags,
            mode=self.mode,
            timeout_ms=self.timeout_ms,
            retries=self.retries,
        )


class InstalledAnswer(Wire):
    """It is installed. ``review`` says whether a person has to approve it first, ``findings`` what to look at."""

    success: bool = True
    id: str
    review: str
    findings: list[Finding]


def handler_of(given: str | dict[str, Any] | None) -> dict[str, Any] | None:
    """A handler as it is stored: a kind alone is one without fields."""
    return {"type": given} if isinstance(given, str) else given


def made(**fields: Any) -> UserSkill:
    """A skill of these fields. Raises InvalidInput naming those at fault."""
    try:
        return UserSkill(**fields)
    except ValidationError as error:
        raise InvalidInput(details_of(error)) from None


def skill_view(ctx: Context, one: Document[UserSkill]) -> SkillView:
    """A skill as callers see it."""
    body = one.body
    handler = ctx.hub.user_skills.library.shown(body.handler)
    return SkillView(
        id=one.id,
        api_key_id=body.owner,
        name=body.name,
        version=body.version,
        description=body.description,
        kind=body.kind,
        schema=SchemaPair(input=body.schemas.input, output=body.schemas.output),
        handler=str(handler.get("type", "")),
        spec={name: value for name, value in handler.items() if name != "type"},
        enabled=body.enabled,
        mode=body.mode,
        source_provider=body.market,
        tags=list(body.tags),
        install_count=body.installs,
        timeout_ms=body.timeout_ms,
        retries=body.retries,
        review=ReviewView(state=body.review.state, by=body.review.by, at=iso(body.review.at)),
        findings=list(body.findings),
        source=SourceView(url=body.source.url, commit=body.source.commit, sha256=body.source.digest, installed_by=body.source.installed_by),
        created_at=iso(one.created_at),
        updated_at=iso(one.updated_at),
    )


def own_key(ctx: Context, key_id: str) -> str:
    """The key that a caller means: its own, or with ``manage`` another's. Raises Forbidden."""
    if key_id and key_id != ctx.caller.key_id and "manage" not in ctx.caller.scopes:
        raise Forbidden("apiKeyId: a key sees and uses its own only; leave it out", data={"missing": ["manage"]})
    return key_id


def _found(ctx: Context, ask: SkillsAsk) -> list[Document[UserSkill]]:
    key_id = own_key(ctx, ask.api_key_id)
    return [
        one for one in ctx.hub.user_skills.library.seen(ctx.caller) if _fits(one.body, ask) and (not key_id or one.body.for_key(key_id))
    ]


def _fits(body: UserSkill, ask: SkillsAsk) -> bool:
    words = f"{body.name} {body.description} {' '.join(body.tags)}".lower()
    return (
        all(part in words for part in ask.q.lower().split())
        and ask.name.lower() in body.name.lower()
        and ask.mode in (None, body.mode)
        and ask.source in (None, body.market)
        and ask.enabled in (None, body.enabled)
    )


def _agents_view(page: SkillPage) -> ListedSkills:
    """The seed's shape of the tool's answer."""
    shown = [
        Listed(id=one.id, name=one.name, version=one.version, description=one.description, enabled=one.enabled, created_at=one.created_at)
        for one in page.skills
    ]
    return ListedSkills(skills=shown, count=page.total)


@skill(
    "user-skills-list",
    scopes=["read:skills"],
    cost=CostClass.FREE,
    rest=[Rest("GET", "/api/skills")],
    mcp=Mcp("omniroute_skills_list", profiles=_CORE, view=_agents_view),
    read_only=True,
    audit=Audit.NONE,
)
async def listed(ctx: Context, ask: SkillsAsk) -> SkillPage:
    """List the installed skills: everybody's and the caller's own, or all for management."""
    found = _found(ctx, ask)
    shown = [skill_view(ctx, one) for one in found[(ask.page - 1) * ask.limit : ask.page * ask.limit]]
    user_skills, preferred = ctx.hub.user_skills, ctx.hub.preferences.current
    return SkillPage(
        data=shown,
        total=len(found),
        page=ask.page,
        limit=ask.limit,
        total_pages=-(-len(found) // ask.limit),
        skills=shown,
        provider=preferred.skills_provider,
        popular_defaults=list(user_skills.markets.table[preferred.skills_provider].popular),
        enabled=user_skills.on,
    )


@skill(
    "user-skills-get", scopes=["read:skills"], cost=CostClass.FREE, rest=[Rest("GET", "/api/skills/{id}")], read_only=True, audit=Audit.NONE
)
async def get(ctx: Context, ask: SkillId) -> SkillText:
    """Show an installed skill with its text and what the scan found in it."""
    found = ctx.hub.user_skills.library.get(ask.id, ctx.caller)
    return SkillText(skill=skill_view(ctx, found), text=found.body.text)


class InstructionNames(Wire):
    """Names of the instructions that a caller may read."""

    names: list[str]


@skill(
    "user-skills-instructions",
    scopes=["read:skills"],
    cost=CostClass.FREE,
    names=Names("instruction", lambda found: found.names),
    read_only=True,
    audit=Audit.NONE,
)
async def instruction_names(ctx: Context, ask: Nothing) -> InstructionNames:
    """List the names of the installed instructions that may be used now."""
    return InstructionNames(names=[one.body.name for one in ctx.hub.user_skills.texts(ctx.caller).values()])


@skill(
    "user-skills-instruction",
    scopes=["read:skills"],
    cost=CostClass.FREE,
    resources=[
        Resource(
            "hub://instructions/{name}",
            "An installed skill for models to follow.",
            kinds={"name": "instruction"},
            view=lambda found: found.text,
            changes=("setup",),
            listed=True,
            media_type="text/markdown",
        )
    ],
    read_only=True,
    audit=Audit.BASIC,
)
async def instruction(ctx: Context, ask: SkillName) -> Instruction:
    """Read the words of an installed instruction that may be used now."""
    ctx.hub.user_skills.require()
    body = ctx.hub.user_skills.library.named(ask.name, ctx.caller).body
    if body.kind != "instruction" or not body.usable:
        raise BadRequest("name: is no instruction that may be used now", field="name")
    return Instruction(name=body.name, version=body.version, description=body.description, text=body_of(body.text))


@skill(
    "user-skills-update",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("PUT", "/api/skills/{id}")],
    idempotent=True,
    audit=Audit.FULL,
)
async def update(ctx: Context, ask: SkillChange) -> Changed:
    """Change an installed skill: whether and how it is used, or what it does. One that nobody approved cannot be switched on."""
    library = ctx.hub.user_skills.library
    kept = library.get(ask.id, ctx.caller)
    given = ask.model_dump(exclude_unset=True, exclude={"id", "schema_", "handler"})
    patch = {name: value for name, value in given.items() if value is not None}
    if ask.schema_ is not None:
        patch["schemas"] = {"input": ask.schema_.input, "output": ask.schema_.output}
    if ask.handler is not None:
        patch["handler"] = handler_of(ask.handler)
    changed = (await library.change(kept, patch, ctx.caller)).body
    return Changed(mode=changed.mode, enabled=changed.enabled, review=changed.review.state)


@skill(
    "user-skills-enable",
    scopes=["write:skills"],
    cost=CostClass.FREE,
    mcp=Mcp("omniroute_skills_enable"),
    idempotent=True,
    audit=Audit.FULL,
)
async def enable(ctx: Context, ask: Enable) -> Enabled:
    """Switch an installed skill on or off: a key its own, management any."""
    own_key(ctx, ask.api_key_id)
    library = ctx.hub.user_skills.library
    kept = library.get(ask.skill_id, ctx.caller)
    if kept.body.owner != ctx.caller.key_id and "manage" not in ctx.caller.scopes:
        raise Forbidden("this skill is for every key: only management switches it", data={"missing": ["manage"]})
    changed = await library.change(kept, {"enabled": ask.enabled}, ctx.caller)
    return Enabled(skill_id=kept.id, enabled=changed.body.enabled)


@skill(
    "user-skills-review",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("POST", "/api/skills/{id}/review")],
    idempotent=True,
    audit=Audit.FULL,
)
async def review(ctx: Context, ask: ReviewAsk) -> SkillText:
    """Approve an installed skill, which may be used from then on, or refuse it. Read its text and its findings first."""
    library = ctx.hub.user_skills.library
    kept = library.get(ask.id, ctx.caller)
    if ask.sha256 and ask.sha256 != kept.body.source.digest:
        raise BadRequest("sha256: the skill was changed since it was read; read it again", field="sha256")
    changed = await library.review(kept, ask.decision, ctx.caller)
    return SkillText(skill=skill_view(ctx, changed), text=changed.body.text)


@skill(
    "user-skills-delete",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("DELETE", "/api/skills/{id}")],
    destructive=True,
    audit=Audit.FULL,
)
async def delete(ctx: Context, ask: SkillId) -> Deleted:
    """Uninstall a skill. The log of its runs stays until it is past its time."""
    library = ctx.hub.user_skills.library
    await library.documents.delete(library.get(ask.id, ctx.caller).id)
    return Deleted()


@skill(
    "user-skills-install",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("POST", "/api/skills/install")],
    audit=Audit.FULL,
)
async def install(ctx: Context, ask: Manifest) -> InstalledAnswer:
    """Install a skill from a manifest, or put it in the place of the same version. It is approved at once unless the scan finds something.

    Code in it is stored and only ever runs in a container; the hub itself runs none of it.
    """
    stored = await ctx.hub.user_skills.library.install(ask.skill(), ctx.caller, approve=True)
    return InstalledAnswer(id=stored.id, review=stored.body.review.state, findings=list(stored.body.findings))
