"""Keys and budgets: who may use the hub, for what, and for how much."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hub.access.scopes import BUNDLES, SCOPES
from transports._dash.page import Done, Page, Shown

if TYPE_CHECKING:
    from transports._dash.forms import Form
    from transports._dash.page import Outcome
    from transports._dash.view import View

_NEW = ("name", "expiresInDays", "allowedModels", "noLog")
_CHANGED = (
    "name",
    "isActive",
    "allowedModels",
    "maxRequestsPerMinute",
    "maxRequestsPerDay",
    "hourlyBudget",
    "dailyBudget",
    "maxSessions",
    "tags",
    "noLog",
)
_BUDGET = ("dailyLimitUsd", "weeklyLimitUsd", "monthlyLimitUsd", "warningThreshold", "resetInterval", "resetTime")
_PAGE = 100


async def _load(view: View) -> dict[str, Any]:
    offset = view.number("offset", 0)
    keys = await view.ask("keys-list", limit=_PAGE, offset=offset)
    budgets = {one.api_key_id: one for one in (await view.ask("budgets-show")).budgets}
    return {
        "keys": keys.keys,
        "total": keys.total,
        "offset": offset,
        "limit": _PAGE,
        "budgets": budgets,
        "fields": view.fields("keys-create", *_NEW),
        "scopes": SCOPES,
        "bundles": BUNDLES,
        "made": None,
        "base": view.hub.settings.base_url,
    }


async def _create(view: View, form: Form) -> Outcome:
    made = await view.sent("keys-create", form, *_NEW, scopes=form.chosen("scope.") or ["chat"])
    return Shown({"made": made})


async def _load_one(view: View) -> dict[str, Any]:
    key = await view.ask("keys-get", id=view.params["id"])
    budget = (await view.ask("budgets-show", apiKeyId=key.id)).budgets[0]
    return {
        "key": key,
        "budget": budget,
        "fields": view.fields("keys-update", *_CHANGED),
        "stored": key.model_dump(mode="json", by_alias=True),
        "terms": view.fields("budgets-set", *_BUDGET),
        "terms_stored": budget.budget.model_dump(mode="json", by_alias=True) if budget.budget else {},
    }


async def _change(view: View, form: Form) -> Outcome:
    key = await view.ask("keys-get", id=view.params["id"])
    await view.sent("keys-update", form, *_CHANGED, stored=key.model_dump(mode="json", by_alias=True), id=key.id)
    return Done("The key is changed.")


async def _limit(view: View, form: Form) -> Outcome:
    await view.sent("budgets-set", form, *_BUDGET, apiKeyId=view.params["id"])
    return Done("The budget holds from now on.")


async def _unlimit(view: View, form: Form) -> Outcome:
    await view.ask("budgets-delete", apiKeyId=view.params["id"])
    return Done("The key has no budget any more.")


async def _revoke(view: View, form: Form) -> Outcome:
    await view.ask("keys-revoke", id=view.params["id"])
    return Done("The key is revoked: whoever uses it is refused from now on.")


async def _delete(view: View, form: Form) -> Outcome:
    await view.ask("keys-delete", id=view.params["id"])
    return Done("The key is gone.", to="/dashboard/keys")


PAGES = (
    Page(
        "keys",
        "Keys & budgets",
        "keys.html",
        _load,
        actions={"create": _create},
        group="Access",
        order=0,
        keys="k",
        words="api keys budgets limits scopes",
    ),
    Page(
        "keys/{id}",
        "Key",
        "key.html",
        _load_one,
        actions={"change": _change, "limit": _limit, "unlimit": _unlimit, "revoke": _revoke, "delete": _delete},
    ),
)
