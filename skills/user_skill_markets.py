"""Marketplaces of skills: search them, and install what they have. Nothing of it is used before a person approved it."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from hub.context import Context
from hub.errors import Conflict
from hub.skill import Audit, CostClass, Rest, skill
from hub.user_skills.model import MOST_TEXT, VERSION, Source
from hub.wire import Body, Wire
from skills.user_skills import InstalledAnswer, made

_VERSION = "Its version, such as 1.0.0."


class MarketAsk(Body):
    """What to look for."""

    q: str = Field(default="", max_length=200, description="Words; without any, the popular skills are named.")
    limit: int = Field(default=20, ge=1, le=100, description="How many at most.")


class MarketAnswer(Wire):
    """What a marketplace found, as it says it. A stranger wrote it."""

    skills: list[dict[str, Any]]
    provider: str
    popular: list[str]


class FromMarket(Body):
    """A skill as SkillsMP shows it: its text is sent along."""

    name: str = Field(min_length=1, max_length=64, description="Its name.")
    description: str = Field(min_length=1, max_length=1024, description="What it is for.")
    skill_md_content: str = Field(min_length=1, max_length=MOST_TEXT, description="The text of its SKILL.md.")
    version: str = Field(default="1.0.0", pattern=VERSION, description=_VERSION)
    source_url: str = Field(default="", max_length=2000, pattern=r"^(https?://\S+)?$", description="Where the text is from.")


class FromRepository(Body):
    """A skill as skills.sh shows it: its text is read from its repository at one commit."""

    name: str = Field(min_length=1, max_length=64, description="Its name.")
    description: str = Field(min_length=1, max_length=1024, description="What it is for.")
    source: str = Field(min_length=1, max_length=201, description="owner/name of the public repository.")
    skill_id: str = Field(min_length=1, max_length=100, description="Folder of the skill in it.")
    version: str = Field(default="1.0.0", pattern=VERSION, description=_VERSION)
    sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$", description="What SHA-256 the text must have; empty: any.")


def _active(ctx: Context, market: str) -> None:
    """Raise Conflict for a marketplace that is not the one in use."""
    active = ctx.hub.preferences.current.skills_provider
    if active != market:
        raise Conflict(f"the marketplace in use is {active}; set skillsProvider to {market} first", field="skillsProvider")


async def _searched(ctx: Context, market: str, ask: MarketAsk) -> MarketAnswer:
    markets = ctx.hub.user_skills.markets
    popular = list(markets.table[market].popular)
    found = await markets.search(market, ask.q, limit=ask.limit) if ask.q.strip() else [{"name": one} for one in popular]
    return MarketAnswer(skills=found, provider=market, popular=popular)


@skill(
    "user-skills-marketplace",
    scopes=["read:skills"],
    cost=CostClass.NETWORK,
    rest=[Rest("GET", "/api/skills/marketplace")],
    read_only=True,
)
async def marketplace(ctx: Context, ask: MarketAsk) -> MarketAnswer:
    """Search SkillsMP, with the owner's key for it (skillsmpApiKey); without words, name its popular skills."""
    return await _searched(ctx, "skillsmp", ask)


@skill("user-skills-skillssh", scopes=["read:skills"], cost=CostClass.NETWORK, rest=[Rest("GET", "/api/skills/skillssh")], read_only=True)
async def skillssh(ctx: Context, ask: MarketAsk) -> MarketAnswer:
    """Search skills.sh; without words, name its popular skills."""
    return await _searched(ctx, "skillssh", ask)


@skill(
    "user-skills-marketplace-install",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("POST", "/api/skills/marketplace/install")],
    audit=Audit.FULL,
)
async def marketplace_install(ctx: Context, ask: FromMarket) -> InstalledAnswer:
    """Install an instruction from SkillsMP. It waits for a person's approval."""
    _active(ctx, "skillsmp")
    wanted = made(
        name=ask.name,
        version=ask.version,
        description=ask.description,
        kind="instruction",
        text=ask.skill_md_content,
        market="skillsmp",
        source=Source(url=ask.source_url),
    )
    stored = await ctx.hub.user_skills.library.install(wanted, ctx.caller, approve=False)
    return InstalledAnswer(id=stored.id, review=stored.body.review.state, findings=list(stored.body.findings))


@skill(
    "user-skills-skillssh-install",
    scopes=["manage"],
    cost=CostClass.NETWORK,
    rest=[Rest("POST", "/api/skills/skillssh/install")],
    audit=Audit.FULL,
)
async def skillssh_install(ctx: Context, ask: FromRepository) -> InstalledAnswer:
    """Install an instruction that skills.sh lists, from its repository at the commit of now. It waits for a person's approval."""
    _active(ctx, "skillssh")
    found = await ctx.hub.user_skills.markets.text("skillssh", ask.source, ask.skill_id)
    if ask.sha256 and ask.sha256 != found.digest:
        raise Conflict("the text is not the one whose SHA-256 was given; nothing was installed", field="sha256")
    wanted = made(
        name=ask.name,
        version=ask.version,
        description=ask.description,
        kind="instruction",
        text=found.text,
        market="skillssh",
        source=Source(url=found.url, commit=found.commit, digest=found.digest),
    )
    stored = await ctx.hub.user_skills.library.install(wanted, ctx.caller, approve=False)
    return InstalledAnswer(id=stored.id, review=stored.body.review.state, findings=list(stored.body.findings))
