"""The scopes a key may hold, what each covers, and the bundles that name useful sets of them.

The first 21 are the seed's (mcp-tools.yaml); ``execute:tools``, ``execute:agents``, ``chat``, ``mcp:connect``, ``process`` and ``manage``
are ours.
Scopes come from the key alone, never from a request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

SCOPES: dict[str, str] = {
    "read:health": "health, provider metrics, simulation, explanation, recommendation, database check",
    "read:combos": "combo lists and metrics, simulation, test, recommendation",
    "write:combos": "switch a combo, set its strategy",
    "read:quota": "quota of connections",
    "read:usage": "cost report, session snapshot, explanation",
    "read:models": "model and provider catalogue",
    "execute:completions": "routed completions through tools and agents",
    "execute:search": "web search and fetch",
    "write:budget": "budget guard",
    "write:resilience": "resilience profile, database repair",
    "pricing:write": "price import",
    "read:cache": "cache statistics",
    "write:cache": "cache flush",
    "read:compression": "compression status and analytics",
    "write:compression": "compression settings",
    "read:proxies": "proxy pool",
    "read:memory": "memory search",
    "write:memory": "memory add and clear",
    "read:skills": "user skill lists",
    "write:skills": "enable user skills",
    "execute:skills": "run user skills",
    "execute:tools": "use what is imported from other MCP servers: tools, resources, prompts",
    "execute:agents": "send messages to remote agents",
    "chat": "the model API: /v1 and the other client dialects",
    "mcp:connect": "reach the MCP and A2A doors",
    "process": "run programs of this machine: coding agents that the owner allowed",
    "manage": "everything, including keys, provider accounts and settings",
}

#: What no wildcard and no bundle but the owner's gives: everything, and running programs.
_BY_NAME = frozenset({"manage", "process"})

BUNDLES: dict[str, tuple[str, ...]] = {
    "read-only": ("read:*", "mcp:connect"),
    "operator": tuple(scope for scope in SCOPES if scope not in _BY_NAME),
    "owner": ("manage",),
}

#: Other spellings that clients of the seed use.
_ALIASES = {"write:pricing": "pricing:write"}

ALL: frozenset[str] = frozenset(SCOPES)


def unknown(grants: Iterable[str]) -> list[str]:
    """The grants that name no scope, bundle or wildcard over at least one scope."""
    return [grant for grant in grants if not expand([grant])]


def expand(grants: Iterable[str]) -> frozenset[str]:
    """Every concrete scope that a list of grants covers.

    A grant is a scope, a bundle, ``*``, or a prefix with a trailing ``*`` such as ``read:*``;
    ``manage`` covers all. Unknown grants cover nothing.
    """
    found: set[str] = set()
    for grant in grants:
        name = _ALIASES.get(grant, grant)
        if name in ("*", "manage"):
            return ALL
        if name in BUNDLES:
            found |= expand(BUNDLES[name])
        elif name.endswith("*"):
            found.update(scope for scope in SCOPES if scope.startswith(name[:-1]) and scope not in _BY_NAME)
        elif name in SCOPES:
            found.add(name)
    return frozenset(found)
