"""Provider nodes: endpoints of the owner's own that speak a known format; and the models of an account, own and hidden ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hub.errors import NotFound
from transports._dash import forms
from transports._dash.page import Done, Page, Shown

if TYPE_CHECKING:
    from transports._dash.forms import Field, Form
    from transports._dash.page import Outcome
    from transports._dash.view import View

_URL = "/dashboard/providers/nodes"
_NEW = ("name", "prefix", "baseUrl", "chatPath", "modelsPath")
_TRIAL = ("apiKey", "modelId", "allowPrivate")
#: Of a trial, what a node has too.
_TRIED = ("baseUrl", "chatPath", "modelsPath", *_TRIAL)
#: Fields that are sent empty where nothing stands in them.
_PATHS = ("chatPath", "modelsPath")
_MODEL = (
    "modelId",
    "modelName",
    "apiFormat",
    "contextLength",
    "maxOutputTokens",
    "dimensions",
    "supportedEndpoints",
    "capabilities",
)
_PRICES = "pricing."
_PAGE = 100


async def _load(view: View) -> dict[str, Any]:
    found = await view.ask("nodes-list")
    return {
        "nodes": found.nodes,
        "speaks": _formats(found.types),
        "fields": {one.name: one for one in view.fields("nodes-create", *_NEW)},
        "trial": view.fields("nodes-validate", *_TRIAL),
        "verdict": None,
    }


def _formats(types: dict[str, list[str]]) -> list[str]:
    """What a node can be made of, each with what it is for: one choice, so that none can be wrong."""
    return [f"{kind}/{use}" if use else kind for kind, uses in types.items() for use in (uses or [""])]


def _spoken(form: Form) -> dict[str, Any]:
    kind, _, use = form.text("speaks").partition("/")
    return {"type": kind, **({"apiType": use} if use else {})}


async def _add(view: View, form: Form) -> Outcome:
    made = await view.sent("nodes-create", form, *_NEW, **_spoken(form))
    return Done(f"{made.name} is a provider now. Give it an account.", to=f"/dashboard/providers/new?provider={made.id}")


async def _try(view: View, form: Form) -> Outcome:
    verdict = await view.sent("nodes-validate", form, *_TRIED, **_spoken(form))
    view.values = form.values()  # whoever tried it goes on with what was typed
    return Shown({"verdict": verdict})


async def _node(view: View) -> Any:
    """The node of the page's address. Raises NotFound."""
    found = next((one for one in (await view.ask("nodes-list")).nodes if one.id == view.params["id"]), None)
    if found is None:
        raise NotFound("there is no such endpoint")
    return found


async def _load_one(view: View) -> dict[str, Any]:
    node = await _node(view)
    types = (await view.ask("nodes-list")).types
    return {
        "node": node,
        "stored": node.model_dump(mode="json", by_alias=True),
        "fields": view.fields("nodes-update", *_NEW),
        "uses": types.get(node.type, []),
        "api_type": view.fields("nodes-update", "apiType")[0],
        "trial": view.fields("nodes-validate", *_TRIAL),
        "accounts": [one for one in (await view.ask("connections-list")).connections if one.provider == node.id],
        "verdict": None,
    }


async def _change(view: View, form: Form) -> Outcome:
    ended: dict[str, Any] = {name: form.text(name) or None for name in _PATHS}
    named = tuple(name for name in (*_NEW, "apiType") if name not in _PATHS)
    await view.sent("nodes-update", form, *named, id=view.params["id"], **ended)
    return Done("The node is changed; the next request goes by what is new.")


async def _try_one(view: View, form: Form) -> Outcome:
    """Try the node as it is stored, with a key that is typed for it."""
    node = await _node(view)
    given: dict[str, Any] = {
        "type": node.type,
        "apiType": node.api_type,
        "baseUrl": node.base_url,
        "chatPath": node.chat_path,
        "modelsPath": node.models_path,
    }
    return Shown({"verdict": await view.sent("nodes-validate", form, *_TRIAL, **given)})


async def _delete(view: View, form: Form) -> Outcome:
    gone = await view.ask("nodes-delete", id=view.params["id"], force=form.text("force") == "on")
    more = f", and {len(gone.connections)} accounts with it" if gone.connections else ""
    return Done(f"The node is gone{more}.", to=_URL)


async def _load_models(view: View) -> dict[str, Any]:
    account = await view.ask("connections-get", id=view.params["id"])
    said = await view.ask("provider-models-list", provider=account.provider)
    own = {one.id for one in said.models}
    listed = [one for one in (await view.ask("models-list", provider=account.provider)).models if _name(one) not in own]
    wanted, offset = view.query.get("q", "").strip().lower(), view.number("offset", 0)
    found = [one for one in listed if wanted in one.id.lower()]
    return {
        "account": account,
        "models": said.models,
        "hidden": [one.id for one in said.model_compat_overrides if one.is_hidden and one.id not in own],
        "listed": [(_name(one), one) for one in found[offset : offset + _PAGE]],
        "total": len(found),
        "offset": offset,
        "limit": _PAGE,
        "wanted": wanted,
        "fields": view.fields("provider-models-add", *_MODEL),
        "prices": _prices(view),
    }


def _name(model: Any) -> str:
    """The provider's own id of a listed model."""
    return model.id.partition("/")[2]


def _prices(view: View) -> list[Field]:
    every = forms.of_model(view.hub.find("provider-models-add").input_schema())
    return [one for one in every if one.name.startswith(_PRICES)]


async def _add_model(view: View, form: Form) -> Outcome:
    account = await view.ask("connections-get", id=view.params["id"])
    facts = forms.filled(view.hub.find("provider-models-add"), form, _MODEL)
    # A list that nothing was typed into says nothing, other than one that is empty.
    facts = {name: value for name, value in facts.items() if value != []} | forms.nested(forms.taken(_prices(view), form))
    only = {"connectionId": account.id} if form.text("only") == "on" else {}
    made = await view.ask("provider-models-add", provider=account.provider, **facts, **only)
    return Done(f"{made.id} can be asked for as {account.provider}/{made.id}.")


async def _hide(view: View, form: Form) -> Outcome:
    account = await view.ask("connections-get", id=view.params["id"])
    hidden = form.text("to") == "hidden"
    await view.ask("provider-models-hide", provider=account.provider, modelIds=[form.text("model")], isHidden=hidden)
    words = "is in no list any more; whoever names it still gets it" if hidden else "is in the lists again"
    return Done(f"{form.text('model')} {words}.")


async def _remove_model(view: View, form: Form) -> Outcome:
    account = await view.ask("connections-get", id=view.params["id"])
    await view.ask("provider-models-remove", provider=account.provider, model=form.text("model"))
    return Done(f"{form.text('model')} is gone.")


PAGES = (
    Page(
        "providers/nodes",
        "Your own endpoints",
        "nodes.html",
        _load,
        actions={"add": _add, "try": _try},
        words="provider nodes local server",
    ),
    Page("providers/nodes/{id}", "Endpoint", "node.html", _load_one, actions={"change": _change, "try": _try_one, "delete": _delete}),
    Page(
        "providers/{id}/models",
        "Models of an account",
        "account_models.html",
        _load_models,
        actions={"add": _add_model, "hide": _hide, "remove": _remove_model},
    ),
)
