"""``hubroute providers``: the catalogue, and the accounts and local servers that are connected."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hub.commands.keys import named
from hub.commands.session import FAILED, AsJson, WrongUse, run
from hub.commands.show import show

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.process.reach import Reach

app = typer.Typer(help="The catalogue; add, list, test, remove accounts.", no_args_is_help=True)

_COLUMNS = ("id", "provider", "name", "apiKey", "priority", "isActive", "testStatus", "lastError")
_KNOWN = ("id", "alias", "name", "category", "services", "modelCount", "needs", "connections")
_TESTED = ("provider", "name", "valid", "latencyMs", "models", "error", "warning")


@app.command()
def catalog(
    ctx: typer.Context,
    search: Annotated[str, typer.Argument(help="Show rows with this word only.")] = "",
    as_json: AsJson = False,
) -> None:
    """List the providers that can be connected."""
    rows: list[dict[str, Any]] = run(ctx, lambda hub: hub.call("providers-list", {}))["providers"]
    shown = [row for row in rows if search.lower() in str(row).lower()]
    show(shown, as_json=as_json, columns=_KNOWN, empty="no such provider")


@app.command()
def add(
    ctx: typer.Context,
    provider: Annotated[str, typer.Argument(help="Provider id or alias; `providers catalog` lists them.")],
    name: Annotated[str, typer.Option(help="Your name for this account; the provider's by default.")] = "",
    api_key: Annotated[str | None, typer.Option(help="The provider's key; '-' reads it from standard input.")] = None,
    base_url: Annotated[str, typer.Option(help="Base URL, where it is not the provider's own.")] = "",
    allow_private: Annotated[bool, typer.Option("--allow-private", help="Let it reach private and loopback addresses.")] = False,
    data: Annotated[list[str] | None, typer.Option(help="A further fact as name=value (region, account).")] = None,
    priority: Annotated[int, typer.Option(help="Lower is tried first.")] = 1,
    model: Annotated[list[str] | None, typer.Option("--model", "-m", help="A model it serves that the catalogue does not list.")] = None,
    proxy: Annotated[str, typer.Option(help="Proxy URL for this connection.")] = "",
    as_json: AsJson = False,
) -> None:
    """Connect an account or a local server; it takes part in routing at once."""
    ask: dict[str, Any] = {
        "provider": provider,
        "name": name or provider,
        "apiKey": _secret(api_key, provider),
        "baseUrl": base_url,
        "allowPrivate": allow_private,
        "proxy": proxy,
        "priority": priority,
        "models": model or [],
        "providerSpecificData": dict(fact(item) for item in data or []),
    }
    show(run(ctx, lambda hub: hub.call("connections-create", ask)), as_json=as_json)


@app.command("list")
def list_connections(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List the connections, without their secrets."""
    empty = "no connections yet; `hubroute providers add PROVIDER --name NAME --api-key -` makes one"
    show(run(ctx, lambda hub: hub.call("connections-list", {})), as_json=as_json, columns=_COLUMNS, empty=empty)


@app.command("test")
def try_connections(
    ctx: typer.Context,
    connection: Annotated[list[str] | None, typer.Argument(help="Ids or names; all by default.")] = None,
    as_json: AsJson = False,
) -> None:
    """Test connections against their providers; spends nothing."""
    reports = run(ctx, lambda hub: _tested(hub, connection or []))
    show(reports, as_json=as_json, columns=_TESTED, empty="no connections to test")
    if not all(report["valid"] for report in reports):
        raise typer.Exit(FAILED)


@app.command()
def remove(
    ctx: typer.Context, connection: Annotated[str, typer.Argument(help="Id or name of the connection.")], as_json: AsJson = False
) -> None:
    """Delete a connection with its stored credential."""

    async def work(hub: Reach) -> Any:
        found = (await hub.call("connections-list", {}))["connections"]
        return await hub.call("connections-delete", {"id": named(found, connection, kind="connection")["id"]})

    show(run(ctx, work), as_json=as_json)


async def _tested(hub: Reach, wanted: list[str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await hub.call("connections-list", {}))["connections"]
    chosen = [named(found, one, kind="connection") for one in wanted] if wanted else found
    reports: list[dict[str, Any]] = []
    with _Bar(len(chosen)) as advance:
        for one in chosen:
            reports.append(await hub.call("connections-test", {"id": one["id"]}))
            advance(one["name"])
            await asyncio.sleep(0)
    return reports


class _Bar:
    """A progress bar on stderr, where that is a terminal and there is more than one thing to do."""

    def __init__(self, total: int) -> None:
        self.total = total
        self._progress: Any = None

    def __enter__(self) -> Callable[[str], None]:
        if self.total < 2 or not sys.stderr.isatty():
            return lambda _: None
        from rich.console import Console  # noqa: PLC0415 - only a terminal wants it
        from rich.progress import Progress  # noqa: PLC0415

        self._progress = Progress(console=Console(stderr=True), transient=True)
        self._progress.start()
        task = self._progress.add_task("testing", total=self.total)
        return lambda name: self._progress.update(task, advance=1, description=f"tested {name}")

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()


def _secret(given: str | None, provider: str) -> str:
    """The key as an option, from standard input, or asked for without echo on a terminal; empty where none is given."""
    if given is not None or not sys.stdin.isatty():
        return piped(given or "")
    return typer.prompt(f"API key for {provider} (empty for none)", default="", hide_input=True, show_default=False)


def piped(given: str) -> str:
    """A secret as it was given, or from standard input for ``-``."""
    return sys.stdin.readline().strip() if given == "-" else given


def fact(item: str, option: str = "--data") -> tuple[str, str]:
    """Name and value of ``name=value``. Raises WrongUse naming the option, and nothing of a value that may be secret."""
    name, equals, value = item.partition("=")
    if not equals or not name:
        raise WrongUse(f"{option} {item if option == '--data' else '…'}: write name=value")
    return name, value
