"""``hubroute providers login`` and ``hubroute providers clients``: accounts at providers by OAuth, and the owner's clients for them."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hub.commands.keys import named
from hub.commands.providers import fact, piped
from hub.commands.session import AsJson, WrongUse, run
from hub.commands.show import show
from hub.errors import BadRequest, Unavailable

if TYPE_CHECKING:
    from hub.process.reach import Reach

_CLIENTS = ("provider", "name", "ways", "configured", "clientId", "clientSecret", "needs", "redirectUri")
#: How long the command waits for somebody to log in, and between two looks for a browser's answer, in seconds.
_PATIENCE, _POLL = 900.0, 0.5
#: Where a browser ends whose address is pasted; nothing need listen there.
_NOWHERE = "http://127.0.0.1:53682/callback"

Provider = Annotated[str, typer.Argument(help="Provider id or alias; `providers clients` lists those that have logins.")]
Data = Annotated[list[str] | None, typer.Option(help="A fact as name=value (tenant, project, region).")]
BaseUrl = Annotated[str, typer.Option(help="Base URL, where it is not the provider's own.")]
Private = Annotated[bool, typer.Option("--allow-private", help="Let it reach private and loopback addresses.")]


def login(
    ctx: typer.Context,
    provider: Provider,
    name: Annotated[str, typer.Option(help="Your name for this account.")] = "",
    connection: Annotated[str, typer.Option(help="Id or name of a connection to renew.")] = "",
    device: Annotated[bool, typer.Option("--device", help="By a code that you type on any device.")] = False,
    port: Annotated[int, typer.Option(help="Port of this machine to come back to; 0 for any.")] = 0,
    paste: Annotated[bool, typer.Option("--paste", help="Paste the address that the browser comes back to (hub elsewhere).")] = False,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only print the address.")] = False,
    data: Data = None,
    base_url: BaseUrl = "",
    allow_private: Private = False,
    as_json: AsJson = False,
) -> None:
    """Log in to an account at a provider with your own OAuth client; makes a connection, or renews one."""
    if device and paste:
        raise WrongUse("--device and --paste are two ways; choose one")

    async def work(hub: Reach) -> Any:
        ask: dict[str, Any] = {
            "provider": provider,
            "name": name,
            "connectionId": await _id(hub, connection),
            "data": dict(fact(item) for item in data or []),
            "baseUrl": base_url,
            "allowPrivate": allow_private,
        }
        if device or (not paste and await _device_only(hub, provider)):
            return await _by_device(hub, ask, quiet=no_browser)
        if paste:
            return await _by_paste(hub, ask, quiet=no_browser)
        return await _by_browser(hub, {**ask, "port": port}, quiet=no_browser)

    came = run(ctx, work)
    show(came["connection"], as_json=as_json)


def clients(
    ctx: typer.Context,
    provider: Annotated[str, typer.Argument(help="Set or remove the client of this provider.")] = "",
    client_id: Annotated[str, typer.Option(help="Id of the client that you registered there.")] = "",
    client_secret: Annotated[str | None, typer.Option(help="Its secret; '-' reads it from standard input.")] = None,
    scope: Annotated[list[str] | None, typer.Option(help="Scope to ask for in place of the usual ones.")] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Forget the client.")] = False,
    data: Data = None,
    base_url: BaseUrl = "",
    allow_private: Private = False,
    as_json: AsJson = False,
) -> None:
    """List the providers that have logins and your OAuth client at each, or set one."""
    if not provider:
        found = run(ctx, lambda hub: hub.call("provider-clients-list", {}))["clients"]
        show(found, as_json=as_json, columns=_CLIENTS, empty="no provider has logins")
        return
    if remove:
        show(run(ctx, lambda hub: hub.call("provider-clients-remove", {"provider": provider})), as_json=as_json)
        return
    given: dict[str, Any] = {
        "clientId": client_id,
        "clientSecret": None if client_secret is None else piped(client_secret),
        "scopes": scope,
        "data": dict(fact(item) for item in data or []),
        "baseUrl": base_url,
        "allowPrivate": allow_private,
    }
    show(run(ctx, lambda hub: _kept(hub, provider, given)), as_json=as_json)


async def _kept(hub: Reach, provider: str, given: dict[str, Any]) -> Any:
    """The client of a provider, with what was given in place of what is there. Raises BadRequest where there is none yet."""
    kept = await _client(hub, provider)
    sent = {name: value for name, value in given.items() if value or (name == "clientSecret" and value is not None)}
    if not sent:
        return kept
    if not (kept["clientId"] or given["clientId"]):
        raise BadRequest(f"{kept['name']} has no client yet: give its --client-id", field="clientId")
    before = {"scopes": kept["ownScopes"], **{name: kept[name] for name in ("clientId", "baseUrl", "allowPrivate")}}
    return await hub.call("provider-clients-set", {"provider": provider, **before, **sent, "data": {**kept["data"], **given["data"]}})


async def _by_browser(hub: Reach, ask: dict[str, Any], *, quiet: bool) -> Any:
    begun = await hub.call("provider-login-listen", ask)
    _open(begun["authUrl"], f"open {begun['authUrl']} to log in; it comes back to port {begun['serverPort']} of the hub's machine", quiet)
    asked = {"provider": ask["provider"], "state": begun["state"]}
    return await _until(hub, "provider-login-poll-callback", asked, _POLL)


async def _by_paste(hub: Reach, ask: dict[str, Any], *, quiet: bool) -> Any:
    begun = await hub.call("provider-login-authorize", {**ask, "redirectUri": _NOWHERE})
    _open(begun["authUrl"], f"open {begun['authUrl']} to log in", quiet)
    print("the browser ends at a page that cannot be reached: copy its address and paste it here", file=sys.stderr, flush=True)
    address = (await asyncio.to_thread(sys.stdin.readline)).strip()
    asked = {"provider": ask["provider"], "code": address, "state": begun["state"], "redirectUri": begun["redirectUri"]}
    return await hub.call("provider-login-exchange", asked)


async def _by_device(hub: Reach, ask: dict[str, Any], *, quiet: bool) -> Any:
    begun = await hub.call("provider-login-device", ask)
    words = f"open {begun['verification_uri']} and type the code {begun['user_code']}"
    _open(begun["verification_uri_complete"] or begun["verification_uri"], words, quiet)
    asked = {"provider": ask["provider"], "deviceCode": begun["device_code"]}
    return await _until(hub, "provider-login-poll", asked, begun["interval"])


async def _until(hub: Reach, skill: str, ask: dict[str, Any], pause: float) -> Any:
    """Ask until a login is over. Raises Unavailable with the reason when it failed."""
    clock = asyncio.get_running_loop()
    end = clock.time() + _PATIENCE
    while clock.time() < end:
        came = await hub.call(skill, ask)
        if came["success"]:
            return came
        if not came["pending"]:
            raise Unavailable(f"the login did not work: {came['errorDescription'] or came['error']}")
        await asyncio.sleep(min(pause, came["interval"]) if skill.endswith("callback") else max(0.05, came["interval"]))
    raise Unavailable("nobody came back from the login in time; run the command again")


def _open(url: str, words: str, quiet: bool) -> None:
    """Show an address, and open it where a person sits at a terminal (SEC-32: shown first, never through a shell)."""
    print(words, file=sys.stderr, flush=True)
    if not quiet and sys.stderr.isatty() and url.startswith(("https://", "http://")):
        import webbrowser  # noqa: PLC0415 - only a terminal wants it

        webbrowser.open(url)


async def _client(hub: Reach, provider: str) -> dict[str, Any]:
    """A provider that has logins, with the owner's client. Raises BadRequest."""
    found: list[dict[str, Any]] = (await hub.call("provider-clients-list", {}))["clients"]
    row = next((one for one in found if provider in (one["provider"], one["alias"])), None)
    if row is not None:
        return row
    raise BadRequest(f"{provider!r} has no login; `hubroute providers clients` lists those that have one", field="provider")


async def _device_only(hub: Reach, provider: str) -> bool:
    found: list[dict[str, Any]] = (await hub.call("provider-clients-list", {}))["clients"]
    return any(provider in (one["provider"], one["alias"]) and one["ways"] == ["device"] for one in found)


async def _id(hub: Reach, connection: str) -> str:
    if not connection:
        return ""
    return named((await hub.call("connections-list", {}))["connections"], connection, kind="connection")["id"]
