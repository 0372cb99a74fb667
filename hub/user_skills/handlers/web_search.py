"""A web search, by the hub's own skill and its search providers."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from hub.user_skills.handler import Handler, Work, object_of
from hub.user_skills.handlers.skill import called
from hub.user_skills.model import Schemas

_SKILL = "web-search"


class WebSearch(Handler):
    """Searches as the caller: the key needs the scope ``execute:search``."""

    kind = "web_search"
    words = "a web search"
    schemas = Schemas(
        input=object_of(
            {
                "query": {"type": "string", "minLength": 1, "maxLength": 500, "description": "What to look for."},
                "max_results": {"type": "integer", "minimum": 1, "maximum": 20, "description": "How many results at most."},
                "search_type": {"type": "string", "enum": ["web", "news"]},
            },
            "query",
        ),
        output={"type": "object"},
    )

    async def run(self, work: Work) -> Any:
        found = await called(work, _SKILL, {})
        return found.model_dump(mode="json", by_alias=True) if isinstance(found, BaseModel) else found


HANDLER = WebSearch()
