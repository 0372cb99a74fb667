"""``hubroute connect`` and ``disconnect``: point a client program at this hub, and take that back."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from hub.clock import Clock
from hub.commands.session import FAILED, AsJson, WrongUse, run, settings_of
from hub.commands.show import print_json, show
from hub.connect.catalog import Client, Home, client, clients
from hub.connect.detect import found_clients
from hub.connect.entries import NO_KEY, VARIABLE, Wanted, snippets
from hub.connect.faults import BY_HAND, COMMENTED
from hub.connect.plan import Change, Connector
from hub.connect.receipts import Receipts
from hub.errors import Conflict, HubError
from hub.process.control import about
from hub.process.welcome import command
from hub.store.lock import holder

if TYPE_CHECKING:
    from hub.connect.catalog import Part
    from hub.settings import Settings

_COLUMNS = ("client", "title", "installed", "connected", "transports", "models", "env", "file")

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would change and write nothing.")]


def connect(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="CLIENT", help="Which client; --list names them.")] = "",
    everything: Annotated[bool, typer.Option("--list", help="List the clients, whether they are installed and connected.")] = False,
    stdio: Annotated[bool, typer.Option("--stdio", help="The client starts `hubroute mcp` itself instead of using HTTP.")] = False,
    models: Annotated[bool, typer.Option("--models", help="Also send the client's model requests through this hub.")] = False,
    model: Annotated[str, typer.Option(help="With --models: the model the client asks for.")] = "",
    url: Annotated[str, typer.Option(help="Address of the MCP door; this hub's own by default.")] = "",
    key: Annotated[str, typer.Option(help="Use this key instead of making one; - reads it from standard input.")] = "",
    no_key: Annotated[bool, typer.Option("--no-key", help="With --stdio: no key; the client has the owner's authority.")] = False,
    scopes: Annotated[str, typer.Option(help="Comma list of scopes or bundles of the key that is made.")] = "operator",
    env: Annotated[bool, typer.Option("--env", help=f"Write the name of the variable {VARIABLE} into the file, not the key.")] = False,
    print_only: Annotated[bool, typer.Option("--print", help="Only print the lines to paste.")] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Point a client program at this hub.

    Shows the change as a diff and asks; a copy of the file is kept in the data folder. A key is made for the client unless
    one is given or its present one still works.
    """
    settings = settings_of(ctx)
    if everything or not name:
        _list(settings, as_json=as_json)
        return
    row = client(name)
    wanted = _wanted(settings, row, stdio=stdio, models=models, model=model, url=url, env=env)
    given = _none(wanted) if no_key else _given(key)
    wanted = replace(wanted, key="" if no_key else given or NO_KEY)
    connector = _connector(settings)
    if print_only:
        _print(connector, row, wanted)
        return
    maker = _Keys(ctx, name, scopes, given, none=no_key)
    _connect(connector, name, row, wanted, maker, dry_run=dry_run, yes=yes)


def disconnect(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="CLIENT", help="Which client.")],
    keep_key: Annotated[bool, typer.Option("--keep-key", help="Do not revoke the key that was made for it.")] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Take this hub out of a client's files.

    What stood there before comes back, and the key that was made for the client is revoked.
    """
    client(name)
    connector = _connector(settings_of(ctx))
    changes = _needed(connector.disconnect(name))
    receipt = connector.receipts.get(name)
    if not changes and receipt is None:
        _say(f"{name} is not connected; nothing to do")
        return
    _agree(connector, changes, dry_run=dry_run, yes=yes, question="Take these lines out?")
    if dry_run:
        return
    connector.apply(name, changes, at=Clock().now_ms(), undo=True)
    for change in changes:
        _say(f"{change.found.path} {'is gone again' if change.text is None else 'no longer points here'}")
    if receipt is not None and receipt.key_id and not keep_key:
        _revoke(ctx, receipt.key_id, yes=yes)


class _Keys:
    """The key of a connection: given, the one in the client's files while it works, or a new one."""

    def __init__(self, ctx: typer.Context, name: str, scopes: str, given: str, *, none: bool) -> None:
        self.ctx = ctx
        self.name = name
        self.scopes = [part.strip() for part in scopes.split(",") if part.strip()]
        self.given = given
        self.none = none
        self.made = ""

    def present(self, connector: Connector) -> str:
        """The key to go on with, empty when one must be made."""
        if self.given or self.none:
            return self.given
        held = connector.held(self.name)
        if not held:
            return ""
        keys: list[dict[str, Any]] = run(self.ctx, lambda hub: hub.call("keys-list", {"limit": 1000}))["keys"]
        working = [key["keyPrefix"] for key in keys if key["isActive"] and not key["revokedAt"]]
        return next((key for key in held if any(prefix and key.startswith(prefix.rstrip("…")) for prefix in working)), "")

    def shown(self, present: str) -> str:
        """What stands for the key until it is made."""
        return "" if self.none else present or NO_KEY

    def make(self) -> str:
        """A new key, named after the client."""
        made = run(self.ctx, lambda hub: hub.call("keys-create", {"name": self.name, "scopes": self.scopes}))
        self.made = made["id"]
        return made["key"]

    def unmake(self) -> None:
        """Revoke the new key, because it was not used."""
        if self.made:
            run(self.ctx, lambda hub: hub.call("keys-revoke", {"id": self.made}))


def _connect(connector: Connector, name: str, row: Client, wanted: Wanted, keys: _Keys, *, dry_run: bool, yes: bool) -> None:
    try:
        present = "" if wanted.by_reference else keys.present(connector)
        wanted = replace(wanted, key=keys.shown(present))
        draft = connector.connect(name, wanted)
    except Conflict as error:
        if error.code in (COMMENTED, BY_HAND):
            _print(connector, row, wanted)
        raise
    if not _needed(draft):
        _say(f"{name} is connected already; nothing to change")
        return
    _agree(connector, draft, dry_run=dry_run, yes=yes, question="Write this?")
    if not dry_run:
        _write(connector, name, wanted, keys, made=keys.none or bool(present))
        _say(row.next)


def _write(connector: Connector, name: str, wanted: Wanted, keys: _Keys, *, made: bool) -> None:
    """Write what was agreed to, with a new key unless there is one; the key goes again when that fails."""
    try:
        if not made:
            wanted = replace(wanted, key=_for_environment(keys) if wanted.by_reference else keys.make())
        changes = connector.connect(name, wanted)
        connector.apply(name, changes, at=Clock().now_ms(), key_id=keys.made)
    except (HubError, OSError):
        keys.unmake()
        raise
    for change in _needed(changes):
        _say(f"{change.found.path} points at {wanted.url if wanted.transport == 'http' else 'hubroute mcp'}")


def _needed(changes: list[Change]) -> list[Change]:
    return [change for change in changes if change.needed]


def _for_environment(keys: _Keys) -> str:
    """The key that the variable holds, or a new one, which is shown this once."""
    if keys.given or os.environ.get(VARIABLE):
        _say(f"set {VARIABLE} where the client starts; {'it is set here' if os.environ.get(VARIABLE) else 'to the key you gave'}")
        return keys.given or NO_KEY
    made = keys.make()
    print(f"export {VARIABLE}={made}")
    _say(f"the key is shown this once; set {VARIABLE} where the client starts")
    return made


def _revoke(ctx: typer.Context, key_id: str, *, yes: bool) -> None:
    keys: list[dict[str, Any]] = run(ctx, lambda hub: hub.call("keys-list", {"limit": 1000}))["keys"]
    key = next((key for key in keys if key["id"] == key_id and not key["revokedAt"]), None)
    if key is None or not (yes or typer.confirm(f"Revoke the key {key['name']!r} that was made for it?", default=True, err=True)):
        return
    run(ctx, lambda hub: hub.call("keys-revoke", {"id": key_id}))
    _say(f"key {key['name']!r} is revoked")


def _agree(connector: Connector, changes: list[Change], *, dry_run: bool, yes: bool, question: str) -> None:
    """Show the changes; go on only when they are wanted. Raises Forbidden, typer.Abort."""
    if not dry_run:
        connector.allowed()
    for change in _needed(changes):
        print(change.diff(), end="", flush=True)
    if not dry_run and not yes and not typer.confirm(question, err=True):
        _say("nothing was changed")
        raise typer.Exit(FAILED)


def _wanted(settings: Settings, row: Client, *, stdio: bool, models: bool, model: str, url: str, env: bool) -> Wanted:
    parts: frozenset[Part] = frozenset({"tools", "models"}) if models else frozenset({"tools"})
    if "tools" not in row.parts:
        parts = row.parts
    if model and "models" not in parts:
        raise WrongUse("--model goes with --models")
    transport: Literal["http", "stdio"] = "stdio" if stdio or row.transports[:1] == ("stdio",) else "http"
    base = _hub_of(url) if url else _base(settings)
    return Wanted(
        url=url or f"{base}/api/mcp/stream",
        base=base,
        command=(*command(), "mcp"),
        folder=str(settings.data_dir.absolute()),
        transport=transport,
        parts=parts,
        model=model,
        by_reference=env,
    )


def _hub_of(url: str) -> str:
    """The hub's own address in that of its MCP door."""
    if not url.startswith(("http://", "https://")):
        raise WrongUse(f"--url {url}: write http://host:port/path")
    return url.removesuffix("/").removesuffix("/api/mcp/stream")


def _base(settings: Settings) -> str:
    """How this hub is reached: as it says of itself while it serves, else as it would serve."""
    facts = about(settings.data_dir)
    serves = str(facts.get("url", "")).startswith("http") and facts.get("pid") in (holder(settings.data_dir / "hub.lock"), os.getpid())
    base = facts["url"] if serves and not settings.public_url else settings.base_url
    return base.rstrip("/").replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")


def _none(wanted: Wanted) -> str:
    if wanted.transport != "stdio" or wanted.by_reference or "models" in wanted.parts:
        raise WrongUse("--no-key goes with --stdio alone; everything else needs a key")
    return ""


def _given(key: str) -> str:
    if key != "-":
        return key
    found = sys.stdin.readline().strip()
    if not found:
        raise WrongUse("--key -: no key came on standard input")
    return found


def _connector(settings: Settings) -> Connector:
    return Connector(Home.of(settings.cli_config_home), Receipts(settings.data_dir), writes=settings.cli_allow_config_writes)


def _list(settings: Settings, *, as_json: bool) -> None:
    rows = [
        {
            "client": one.name,
            "title": one.row.title,
            "installed": one.installed,
            "connected": one.state,
            "transports": list(one.row.transports),
            "models": "models" in one.row.parts,
            "env": one.row.key_reference is not None,
            "file": one.file,
        }
        for one in (found_clients(_connector(settings), clients(), extra=settings.cli_extra_paths, base=_base(settings)))
    ]
    if as_json:
        print_json(rows)
    else:
        show(rows, as_json=False, columns=_COLUMNS)


def _print(connector: Connector, row: Client, wanted: Wanted) -> None:
    """The lines to paste, each file's name on the error stream."""
    pieces = snippets(row, wanted)
    for edit, text in pieces:
        _say(f"# {connector.home.locate(edit.file)[0]}")
        print(text, end="", flush=True)
    if any(NO_KEY in text for _, text in pieces):
        _say(f"put a key in place of {NO_KEY}: `hubroute keys create NAME` makes one")


def _say(words: str) -> None:
    print(words, file=sys.stderr)
