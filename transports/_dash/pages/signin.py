"""Signing in at a provider: the owner's own client there, a login with the browser or a device code, and its end as an account."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from hub.errors import NotFound
from transports._dash.page import Done, Page, Shown
from transports._dash.pages.providers import NOT_ASKED, facts

if TYPE_CHECKING:
    from transports._dash.forms import Form
    from transports._dash.page import Outcome
    from transports._dash.view import View

_CLIENT = ("clientId", "clientSecret", "scopes", "baseUrl", "allowPrivate")
_NEW = ("name", "baseUrl", "allowPrivate")
#: Fields of the forms that a login that was begun travels in, until it ends.
_BEGUN = "begun."
_PORT, _DEVICE = "port", "device"


async def _load(view: View) -> dict[str, Any]:
    client = await _client(view)
    connection = view.query.get("connection", "")
    return {
        "client": client,
        "fields": view.fields("provider-clients-set", *_CLIENT),
        "stored": {**client.model_dump(mode="json", by_alias=True), "scopes": client.own_scopes},
        "new": view.fields("provider-login-authorize", *_NEW),
        "facts": await _wanted(view, client),
        "renewed": await view.ask("connections-get", id=connection) if connection else None,
        "begun": _kept(view.values),
        "told": "",
    }


async def _client(view: View) -> Any:
    """The provider's logins, and the owner's client there. Raises NotFound."""
    wanted = view.params["provider"]
    found = next((one for one in (await view.ask("provider-clients-list")).clients if wanted in (one.provider, one.alias)), None)
    if found is None:
        raise NotFound("this provider has no sign-in that other programs may use; give it a key instead")
    return found


async def _wanted(view: View, client: Any) -> list[str]:
    """The facts that a login, and its account, must be told; the base URL has a field of its own."""
    known = (await view.ask("providers-list")).providers
    row = next(one for one in known if one.id == client.provider)
    return [name for name in dict.fromkeys([*client.needs, *row.needs]) if name not in NOT_ASKED]


def _kept(values: dict[str, str]) -> dict[str, str] | None:
    """The login that a form belongs to."""
    kept = {name.removeprefix(_BEGUN): value for name, value in values.items() if name.startswith(_BEGUN)}
    return kept or None


def _here(view: View) -> str:
    """This page, with the account that is signed in anew."""
    connection = view.query.get("connection")
    return f"{view.path}?{urlencode({'connection': connection})}" if connection else view.path


async def _register(view: View, form: Form) -> Outcome:
    client = await _client(view)
    await view.sent("provider-clients-set", form, *_CLIENT, provider=client.provider, data=client.data)
    return Done("Your client is stored. Sign in now.", to=_here(view))


async def _forget(view: View, form: Form) -> Outcome:
    await view.ask("provider-clients-remove", provider=view.params["provider"])
    return Done("The client is forgotten. Accounts that are signed in go on.", to=_here(view))


async def _begin(view: View, form: Form) -> Outcome:
    """Begin with the browser, which comes back to the hub or to a port, or with a device code."""
    way = form.text("way")
    connection = view.query.get("connection")
    skill = {_PORT: "provider-login-listen", _DEVICE: "provider-login-device"}.get(way, "provider-login-authorize")
    more: dict[str, Any] = {"connectionId": connection} if connection else {}
    begun = await view.sent(skill, form, *_NEW, provider=view.params["provider"], data=facts(form), **more)
    if way == _DEVICE:
        kept = {"kind": way, "name": begun.device_code, "url": begun.verification_uri_complete or begun.verification_uri}
        return Shown({"begun": {**kept, "code": begun.user_code, "shown": begun.verification_uri}})
    kept = {"kind": "code", "name": begun.state, "url": begun.auth_url, "redirect": begun.redirect_uri, "warning": begun.warning}
    return Shown({"begun": kept})


async def _finish(view: View, form: Form) -> Outcome:
    """Ask whether the login came to its end."""
    name, provider = form.text(f"{_BEGUN}name"), view.params["provider"]
    if form.text(f"{_BEGUN}kind") == _DEVICE:
        came = await view.ask("provider-login-poll", provider=provider, deviceCode=name)
    else:
        came = await view.ask("provider-login-poll-callback", provider=provider, state=name)
    if came.connection is not None:
        return _signed_in(came.connection)
    if came.pending:
        wait = f" Ask again in {came.interval:.0f} s." if came.interval > 1 else ""
        return Shown({"begun": _kept(form.values()), "told": f"It is not finished at the provider yet.{wait}"})
    said = came.error.replace("_", " ")
    return Shown({"failed": f"The provider did not sign you in: {came.error_description or said}. Begin anew."})


async def _paste(view: View, form: Form) -> Outcome:
    """End a login with the code, or the address, that the browser shows."""
    came = await view.ask(
        "provider-login-exchange",
        provider=view.params["provider"],
        code=form.text("code"),
        state=form.text(f"{_BEGUN}name"),
        redirectUri=form.text(f"{_BEGUN}redirect"),
    )
    return _signed_in(came.connection)


def _signed_in(connection: Any) -> Done:
    return Done(f"{connection.name} is signed in.", to=f"/dashboard/providers/{connection.id}")


PAGES = (
    Page(
        "providers/sign-in/{provider}",
        "Sign in at a provider",
        "signin.html",
        _load,
        actions={"client": _register, "forget": _forget, "begin": _begin, "finish": _finish, "paste": _paste},
    ),
)
