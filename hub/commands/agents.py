"""``hubroute agents``: remote A2A agents behind this hub, and calls to their skills."""

from __future__ import annotations

import json
import sys
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from hub.commands.providers import fact
from hub.commands.session import FAILED, AsJson, WrongUse, run
from hub.commands.show import print_json, show

if TYPE_CHECKING:
    from hub.process.reach import Reach

app = typer.Typer(help="Remote A2A agents: add, approve, call, diff.", no_args_is_help=True)

_COLUMNS = ("name", "title", "version", "standing", "signed", "speaks", "skills", "findings", "lastError")
_SKILLS = ("id", "tool", "description")
_CHANGES = ("path", "before", "after")
Agent = Annotated[str, typer.Argument(help="Id or name of the agent.")]


@app.command()
def add(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Its name here, such as `travel`; its skills become agent-NAME.SKILL.")],
    url: Annotated[str, typer.Argument(help="Address of the agent or of its card.")],
    credential: Annotated[str, typer.Option(help="Key or token, @FILE, or - for standard input; kept encrypted.")] = "",
    scheme: Annotated[str, typer.Option(help="Which security scheme of its card the credential is for.")] = "",
    header: Annotated[list[str] | None, typer.Option(help="A request header as name=value; kept encrypted.")] = None,
    trusted_key: Annotated[list[str] | None, typer.Option(help="Public key that signs its card, a JWK or @FILE.")] = None,
    allow_private: Annotated[bool, typer.Option("--allow-private", help="Let it be on a private or loopback address.")] = False,
    timeout: Annotated[float | None, typer.Option(help="Seconds that one call may take.")] = None,
    cost: Annotated[float | None, typer.Option(help="US dollars that one call costs.")] = None,
    approve: Annotated[bool, typer.Option("--approve", help="Offer its skills at once if the scan finds nothing in its card.")] = False,
    as_json: AsJson = False,
) -> None:
    """Add an agent and read its card; nobody can call it until you approve it."""
    ask: dict[str, Any] = {
        "name": name,
        "url": url,
        "credential": _given(credential).strip(),
        "scheme": scheme,
        "headers": dict(fact(item, "--header") for item in header or []),
        "trustedKeys": [_key(text) for text in trusted_key or []],
        "allowPrivate": allow_private,
        **({} if timeout is None else {"timeoutSeconds": timeout}),
        "costPerCall": cost,
        "approve": approve,
    }
    _show(run(ctx, lambda hub: hub.call("agents-add", ask)), as_json)


@app.command("list")
def list_agents(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List the agents and where their cards stand."""
    found = run(ctx, lambda hub: hub.call("agents-list", {}))["agents"]
    rows = found if as_json else [_row(one) for one in found]
    show(rows, as_json=as_json, columns=_COLUMNS, empty="no remote agents yet; `hubroute agents add NAME URL` adds one")


@app.command("show")
def show_agent(ctx: typer.Context, agent: Agent, as_json: AsJson = False) -> None:
    """Show an agent and its skills."""
    _show(run(ctx, lambda hub: hub.call("agents-get", {"id": agent})), as_json)


@app.command()
def approve(ctx: typer.Context, agent: Agent, as_json: AsJson = False) -> None:
    """Allow an agent's card as it is stated now; a later change hides its skills again."""
    _show(run(ctx, lambda hub: hub.call("agents-approve", {"id": agent})), as_json)


@app.command()
def refresh(ctx: typer.Context, agent: Agent, as_json: AsJson = False) -> None:
    """Read an agent's card anew."""
    _show(run(ctx, lambda hub: hub.call("agents-refresh", {"id": agent})), as_json)


@app.command()
def diff(ctx: typer.Context, agent: Agent, as_json: AsJson = False) -> None:
    """Show what changed in an agent's card since you allowed it; exit code 1 when something did."""

    async def work(hub: Reach) -> Any:
        await hub.call("agents-refresh", {"id": agent})
        return await hub.call("agents-diff", {"id": agent})

    found = run(ctx, work)
    if found["standing"] == "refused" and not as_json:
        print(f"the card is refused: {found['reason']}", file=sys.stderr)
    else:
        show(found if as_json else found["differences"], as_json=as_json, columns=_CHANGES, empty="nothing changed")
    if found["standing"] in ("changed", "refused"):
        raise typer.Exit(FAILED)


@app.command()
def remove(ctx: typer.Context, agent: Agent, as_json: AsJson = False) -> None:
    """Remove an agent with its skills and credentials."""
    show(run(ctx, lambda hub: hub.call("agents-remove", {"id": agent})), as_json=as_json)


@app.command()
def call(
    ctx: typer.Context,
    agent: Agent,
    message: Annotated[str, typer.Argument(help="What to say; @FILE, or - for standard input.")] = "",
    skill: Annotated[str, typer.Option(help="The agent's own id of the skill, where it has several.")] = "",
    context: Annotated[str, typer.Option(help="Go on with a conversation: contextId of an earlier answer.")] = "",
    task: Annotated[str, typer.Option(help="Go on with a task that asked for something, or look at one: its taskId.")] = "",
    data: Annotated[str, typer.Option(help="A data part, as JSON.")] = "",
    wait: Annotated[float | None, typer.Option(help="Seconds to wait; the agent goes on, and --task finds it again.")] = None,
    as_json: AsJson = False,
) -> None:
    """Call a skill of an agent and print its words as they come; interrupting cancels the task there."""
    ask: dict[str, Any] = {
        "id": agent,
        "skill": skill,
        "message": _given(message),
        "contextId": context,
        "taskId": task,
        **({"data": _object(data, "--data")} if data else {}),
        **({} if wait is None else {"waitSeconds": wait}),
    }

    async def work(hub: Reach) -> None:
        printed = _Printed()
        async with aclosing(hub.stream("agents-stream", ask)) as events:
            async for event in events:
                if as_json:
                    print_json({name: value for name, value in event.items() if value})
                else:
                    printed.add(event)

    run(ctx, work)


class _Printed:
    """Writes what an agent makes as it comes, and at the end what is needed to go on."""

    def __init__(self) -> None:
        self._artifact = ""
        self._open = False

    def add(self, event: dict[str, Any]) -> None:
        """One event of a call."""
        if event["artifact"]:
            self._piece(event["artifact"], event["append"])
        elif event["reply"]:
            self._end(event["reply"])
        elif event["words"]:
            print(_plain(event["words"]), file=sys.stderr)

    def _piece(self, artifact: dict[str, Any], append: bool) -> None:
        if self._open and not append:
            print("\n")
        for part in artifact["parts"]:
            text = part.get("text")
            sys.stdout.write(_plain(text) if text is not None else json.dumps(part.get("data", part), ensure_ascii=False))
        sys.stdout.flush()
        self._open = True

    def _end(self, reply: dict[str, Any]) -> None:
        if self._open:
            print()
        if not self._open or reply["state"] == "input-required":
            print(_plain(reply["text"]))
        for name, flag in (("taskId", "--task"), ("contextId", "--context")):
            if reply[name]:
                print(f"{flag} {reply[name]}", file=sys.stderr)
        if reply["state"] != "completed":
            print(f"the task is {reply['state']}", file=sys.stderr)


def _plain(text: str) -> str:
    """Foreign text for a terminal: no control characters but line breaks and tabs."""
    return "".join(letter for letter in text if letter.isprintable() or letter in "\n\t")


def _show(view: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(view)
        return
    facts = {**_row(view), "url": view["url"], "reason": view["reason"]}
    show({name: value for name, value in facts.items() if value not in ("", [], None)}, as_json=False)
    print()
    show(view["skills"], as_json=False, columns=_SKILLS, empty="the agent states no skills")


def _row(agent: dict[str, Any]) -> dict[str, Any]:
    spoken = agent["interface"]
    speaks = f"{spoken['binding']} {spoken['version']}" if spoken else ""
    standing = agent["standing"] if agent["enabled"] else "off"
    return {**{name: agent.get(name) for name in _COLUMNS}, "standing": standing, "speaks": speaks, "skills": len(agent["skills"])}


def _given(text: str) -> str:
    """What was written, from a file or standard input where it says so. Raises WrongUse."""
    if text == "-":
        return sys.stdin.read()
    if not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise WrongUse(f"cannot read {text[1:]}: {getattr(error, 'strerror', None) or error}") from None


def _key(text: str) -> dict[str, Any]:
    return _object(_given(text), "--trusted-key")


def _object(text: str, flag: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise WrongUse(f"{flag} is not valid JSON: {error}") from None
    if not isinstance(found, dict):
        raise WrongUse(f"{flag} is not a JSON object")
    return cast("dict[str, Any]", found)
