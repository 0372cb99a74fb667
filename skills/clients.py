"""Client programs on this machine: which there are, whether they use this hub, and pointing them at it."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any, Literal, cast

from pydantic import Field

from hub.connect.catalog import Client, Home, Part, client, clients
from hub.connect.detect import Seen, found_clients, seen
from hub.connect.entries import NO_KEY, Wanted, known_templates
from hub.connect.files import find, replace
from hub.connect.plan import Change, Connector, without_secrets
from hub.connect.receipts import Copy, Receipts
from hub.context import Context
from hub.errors import BadRequest, Conflict, NotFound
from hub.process.welcome import command
from hub.skill import Audit, CostClass, Rest, skill
from hub.wire import Body, Nothing, Wire, iso

#: The seed's tool id -> the name of the row.
_TOOLS = {row.tool: name for name, row in clients().items() if row.tool}


ConfigStatus = Literal["configured", "not_configured", "not_installed", "unknown"]
#: Whether a client points here, and whether it is installed -> the seed's word for it.
_STATES: dict[tuple[str, bool], ConfigStatus] = {
    ("yes", True): "configured",
    ("yes", False): "configured",
    ("no", True): "not_configured",
    ("no", False): "not_installed",
    ("unreadable", True): "unknown",
    ("unreadable", False): "unknown",
}


class ToolName(Body):
    """Names one client."""

    tool_id: str = Field(max_length=60, description="A client as cli-tools-status names it, e.g. `codex`.")


class ToolStatus(Wire):
    """A client on this machine. ``reason`` says why it is not installed; ``config_status`` whether it points at this hub."""

    tool_id: str
    title: str
    installed: bool
    runnable: bool
    command: str
    command_path: str | None
    runtime_mode: str = "auto"
    reason: str
    requires_binary: bool
    config_status: ConfigStatus
    config_path: str
    last_configured_at: str | None
    message: str


class ToolList(Wire):
    """Every client this hub knows."""

    tools: list[ToolStatus]


class ToolSettings(ToolStatus):
    """A client and what is in its file, tokens masked. ``text`` is the file where it is no JSON."""

    settings: dict[str, Any] | None
    text: str | None


class ToolApply(ToolName):
    """What to point a client at. Left out: this hub, with a new key named after the client."""

    parts: tuple[Literal["tools", "models"], ...] = Field(
        default=(), description="`tools` adds the MCP server, `models` sends model requests here; empty: models where the client has them."
    )
    transport: Literal["http", "stdio", ""] = Field(
        default="", description="How the MCP server is reached; empty: as is usual for the client."
    )
    base_url: str = Field(
        default="", max_length=2000, pattern=r"^(https?://.+)?$", description="Address of the hub; this one's by default."
    )
    api_key: str = Field(default="", max_length=500, description="Key to write; a new one by default.")
    key_id: str = Field(default="", max_length=100, description="Not possible here: a hub keeps no secrets of its keys. Leave it out.")
    model: str = Field(default="", max_length=300, description="Model the client shall ask for.")
    env: dict[str, str] = Field(default={}, description="The same as the seed's clients send it: variables of the client's settings.")
    scopes: list[str] = Field(default=["operator"], description="Scopes or bundles of the new key.")
    dry_run: bool = Field(default=False, description="Only show what would change.")


class ToolChange(Wire):
    """One file that was or would be changed; ``diff`` is unified, secrets are masked."""

    path: str
    diff: str


class ToolChanged(Wire):
    """What was done. ``key_id`` is the key that was made or revoked; its secret is in the client's file alone."""

    success: bool = True
    message: str
    changed: bool
    files: list[ToolChange]
    key_id: str | None


class CopyPage(Body):
    """Whose copies to list."""

    tool: str = Field(default="", max_length=60, description="One client; all by default.")


class CopyView(Wire):
    """A kept copy of a client's file as it was before a change."""

    id: str
    tool_id: str
    path: str
    size: int
    created_at: str | None


class CopyList(Wire):
    """Kept copies, newest first."""

    backups: list[CopyView]


class CopyName(Body):
    """Names one copy."""

    tool: str = Field(max_length=60, description="Whose copy.")
    backup_id: str = Field(max_length=60, description="Id of the copy.")


def _by_tool(status: ToolList) -> dict[str, Any]:
    """The seed's shape: a map by id."""
    return {tool.tool_id: tool.model_dump(mode="json", by_alias=True) for tool in status.tools}


def _settings_view(tool: ToolSettings) -> dict[str, Any]:
    """The seed's shape: the file under ``settings``, or ``config`` where it is text."""
    whole: dict[str, Any] = tool.model_dump(mode="json", by_alias=True)
    text, path, ours = whole.pop("text"), whole.pop("configPath"), whole["configStatus"] == "configured"
    textual = client(_name(tool.tool_id)).edits[0].format != "json"
    shown = {"config": text, "configPath": path} if textual else {"settings": whole["settings"], "settingsPath": path}
    whole.pop("settings")
    return {**whole, **shown, "hasOmniRoute": ours, "hasHubRoute": ours}


def _addresses(method: str, view: Any = None) -> list[Rest]:
    """One address a client of the seed's; the client's id is part of the last segment."""

    def at(tool: str) -> Rest:
        return Rest(method, f"/api/cli-tools/{tool}-settings", ask=lambda fields: {**fields, "toolId": tool}, view=view)

    return [at(tool) for tool in _TOOLS]


@skill(
    "cli-tools-status",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("GET", "/api/cli-tools/status", view=_by_tool)],
    read_only=True,
    audit=Audit.NONE,
)
async def status(ctx: Context, ask: Nothing) -> ToolList:
    """List the client programs this hub knows, whether they are installed and whether they point at it. No program is run."""
    del ask
    connector, extra, base = _connector(ctx), ctx.hub.settings.cli_extra_paths, ctx.hub.settings.base_url
    found = await asyncio.to_thread(found_clients, connector, clients(), extra=extra, base=base)
    return ToolList(tools=[_status(connector, one) for one in found])


@skill(
    "cli-tools-runtime",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("GET", "/api/cli-tools/runtime/{toolId}")],
    read_only=True,
    audit=Audit.NONE,
)
async def runtime(ctx: Context, ask: ToolName) -> ToolStatus:
    """Say whether one client program is installed and points at this hub."""
    connector, name = _connector(ctx), _name(ask.tool_id)
    return await asyncio.to_thread(_look, ctx, connector, name)


@skill(
    "cli-tools-settings",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=_addresses("GET", _settings_view),
    read_only=True,
    audit=Audit.NONE,
)
async def settings(ctx: Context, ask: ToolName) -> ToolSettings:
    """Show a client's own settings, tokens masked, and whether they point at this hub."""
    connector, name = _connector(ctx), _name(ask.tool_id)
    return await asyncio.to_thread(_read, ctx, connector, name)


@skill("cli-tools-apply", scopes=["manage"], cost=CostClass.FREE, rest=_addresses("POST"), destructive=True, audit=Audit.FULL)
async def apply(ctx: Context, ask: ToolApply) -> ToolChanged:
    """Point a client program at this hub: its files are edited in place, a copy is kept.

    Without a key one is made and named after the client, unless the present one still works. Refused for files with
    comments, malformed files, links out of the home folder, and where CLI_ALLOW_CONFIG_WRITES is false.
    """
    name, connector = _name(ask.tool_id), _connector(ctx)
    if not ask.dry_run:
        connector.allowed()
    wanted = _wanted(ctx, client(name), ask)
    present = wanted.key if wanted.key != NO_KEY else await _present(ctx, connector, name)
    draft = dataclasses.replace(wanted, key=present or NO_KEY)
    changes = await asyncio.to_thread(connector.connect, name, draft)
    if ask.dry_run or not any(change.needed for change in changes):
        return _changed(changes, "nothing was written" if ask.dry_run else f"{client(name).title} is connected already", "", done=False)
    made = "" if present else await _with_new_key(ctx, connector, name, wanted, ask.scopes)
    if present:
        await asyncio.to_thread(connector.apply, name, changes, at=ctx.hub.clock.now_ms())
    row = client(name)
    words = filter(None, (f"{row.title} points at this hub.", row.next))
    return _changed(changes, " ".join(words), made, done=True)


async def _with_new_key(ctx: Context, connector: Connector, name: str, wanted: Wanted, scopes: list[str]) -> str:
    """Make a key, write it, and give its id; it is revoked again when it could not be written."""
    key = await _call(ctx, "keys-create", {"name": name, "scopes": scopes})
    try:
        changes = await asyncio.to_thread(connector.connect, name, dataclasses.replace(wanted, key=key.key))
        await asyncio.to_thread(connector.apply, name, changes, at=ctx.hub.clock.now_ms(), key_id=key.id)
    except BaseException:
        await _call(ctx, "keys-revoke", {"id": key.id})
        raise
    return key.id


@skill("cli-tools-reset", scopes=["manage"], cost=CostClass.FREE, rest=_addresses("DELETE"), destructive=True, audit=Audit.FULL)
async def reset(ctx: Context, ask: ToolName) -> ToolChanged:
    """Take this hub out of a client's files, put back what stood there, and revoke the key that was made for it."""
    name, connector = _name(ask.tool_id), _connector(ctx)
    connector.allowed()
    receipt = connector.receipts.get(name)
    changes = await asyncio.to_thread(connector.disconnect, name)
    await asyncio.to_thread(connector.apply, name, changes, at=ctx.hub.clock.now_ms(), undo=True)
    revoked = receipt.key_id if receipt else ""
    if revoked:
        try:
            await _call(ctx, "keys-revoke", {"id": revoked})
        except NotFound:
            revoked = ""
    return _changed(changes, f"{client(name).title} no longer points at this hub", revoked, done=True)


@skill(
    "cli-tools-backups",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("GET", "/api/cli-tools/backups")],
    read_only=True,
    audit=Audit.NONE,
)
async def backups(ctx: Context, ask: CopyPage) -> CopyList:
    """List the kept copies of clients' files, newest first."""
    receipts = _connector(ctx).receipts
    names = [_name(ask.tool)] if ask.tool else list(clients())
    found = [copy for name in names for copy in await asyncio.to_thread(receipts.copies, name)]
    return CopyList(backups=[_copy(copy) for copy in sorted(found, key=lambda copy: copy.at, reverse=True)])


@skill(
    "cli-tools-restore",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("POST", "/api/cli-tools/backups")],
    destructive=True,
    audit=Audit.FULL,
)
async def restore(ctx: Context, ask: CopyName) -> ToolChanged:
    """Put a kept copy of a client's file back; the file as it is now is kept as a copy, too."""
    name, connector = _name(ask.tool), _connector(ctx)
    connector.allowed()
    change = await asyncio.to_thread(_restore, connector, name, ask.backup_id, ctx.hub.clock.now_ms())
    return _changed([change], f"{change.found.path} is as it was", "", done=True)


def _restore(connector: Connector, name: str, copy_id: str, at: int) -> Change:
    content = connector.receipts.content(name, copy_id)
    path = next(copy.path for copy in connector.receipts.copies(name) if copy.id == copy_id)
    for edit in client(name).edits:
        place, root = connector.home.locate(edit.file)
        if str(place) == path:
            found = find(place, root)
            change = Change(found, content.decode().removeprefix(found.mark))
            if found.bytes is not None:
                connector.receipts.save(name, at, place, found.bytes)
            replace(found, change.text or "")
            return change
    raise Conflict(f"{path} is not where {client(name).title} keeps its settings now; the copy stays in the data folder")


def _name(tool: str) -> str:
    """The row of a tool id. Raises NotFound."""
    name = _TOOLS.get(tool, tool)
    client(name)
    return name


def _connector(ctx: Context) -> Connector:
    settings = ctx.hub.settings
    return Connector(Home.of(settings.cli_config_home), Receipts(settings.data_dir), writes=settings.cli_allow_config_writes)


def _look(ctx: Context, connector: Connector, name: str) -> ToolStatus:
    settings = ctx.hub.settings
    return _status(connector, seen(connector, name, client(name), extra=settings.cli_extra_paths, base=settings.base_url))


def _read(ctx: Context, connector: Connector, name: str) -> ToolSettings:
    edits = client(name).edits
    edit = next((one for one in edits if one.part == "models"), edits[0])
    found = connector.find(edit)
    state = _look(ctx, connector, name)
    tree = None
    if found.text is not None and edit.format == "json" and state.config_status != "unknown":
        tree = cast("dict[str, Any]", without_secrets(connector.tree(edit, found)))
    text = None if found.text is None or edit.format == "json" else "".join(map(str, without_secrets(found.text.splitlines(keepends=True))))
    facts: dict[str, Any] = {**state.model_dump(by_alias=False), "config_path": str(found.path)}
    return ToolSettings(**facts, settings=tree, text=text)


def _reason(one: Seen) -> str:
    if one.program:
        return ""
    return "not_found" if one.row.command else "not_required"


def _status(connector: Connector, one: Seen) -> ToolStatus:
    receipt = connector.receipts.get(one.name)
    return ToolStatus(
        tool_id=one.row.tool or one.name,
        title=one.row.title,
        installed=one.installed,
        runnable=bool(one.program),
        command=one.row.command,
        command_path=one.program or None,
        reason=_reason(one),
        requires_binary=bool(one.row.command),
        config_status=_STATES[one.state, one.installed],
        config_path=one.file,
        last_configured_at=iso(receipt.at) if receipt and one.state == "yes" else None,
        message=one.fault or (f"{one.row.title} is installed" if one.installed else f"{one.row.title} was not found on this machine"),
    )


def _wanted(ctx: Context, row: Client, ask: ToolApply) -> Wanted:
    if ask.key_id and not ask.api_key:
        raise BadRequest("the hub keeps no secrets of its keys; leave keyId out and a key is made, or give apiKey", field="keyId")
    said = _said(row, ask.env)
    settings = ctx.hub.settings
    base = _hub_of(ask.base_url or said.get("base", "") or settings.base_url)
    return Wanted(
        url=f"{base}/api/mcp/stream",
        base=base,
        command=(*command(), "mcp"),
        folder=str(settings.data_dir.absolute()),
        transport=ask.transport or ("stdio" if row.transports[:1] == ("stdio",) else "http"),
        parts=_parts(row, ask.parts),
        model=ask.model or said.get("model", ""),
        key=ask.api_key or said.get("key", "") or NO_KEY,
    )


def _hub_of(base_url: str) -> str:
    """The hub's own address in the one that a client of the seed sends, with ``/v1`` or without."""
    return base_url.rstrip("/").removesuffix("/v1").removesuffix("/api")


def _parts(row: Client, asked: tuple[Part, ...]) -> frozenset[Part]:
    """The parts asked for; else what the seed sets up, which is models, where the client has that."""
    models: frozenset[Part] = frozenset({"models"})
    return frozenset(asked) or (models if models <= row.parts else row.parts)


def _said(row: Client, env: dict[str, str]) -> dict[str, str]:
    """What the seed's clients say through variables of the client's settings, by the names of our templates."""
    slots = {f"env.{name}": value for name, value in env.items()}
    known = {".".join(path): template for _, path, template in known_templates(row)}
    if unknown := sorted(set(slots) - set(known)):
        raise BadRequest(f"{row.title} is not set up through {', '.join(unknown)} here", field="env")
    return {str(known[path]).strip("{}"): value for path, value in slots.items()}


async def _present(ctx: Context, connector: Connector, name: str) -> str:
    """The key in the client's files, while it works."""
    held = await asyncio.to_thread(connector.held, name)
    return next((key for key in held if (found := ctx.hub.store.keys.find(key)) is not None and found.active), "")


async def _call(ctx: Context, name: str, data: dict[str, Any]) -> Any:
    return await ctx.hub.call(ctx.hub.find(name), data, ctx)


def _changed(changes: list[Change], message: str, key_id: str, *, done: bool) -> ToolChanged:
    files = [ToolChange(path=str(change.found.path), diff=change.diff()) for change in changes if change.needed]
    return ToolChanged(message=message, changed=done and bool(files), files=files, key_id=key_id or None)


def _copy(copy: Copy) -> CopyView:
    return CopyView(id=copy.id, tool_id=client(copy.client).tool or copy.client, path=copy.path, size=copy.size, created_at=iso(copy.at))
