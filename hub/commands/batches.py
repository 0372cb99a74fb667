"""``hubroute batches``: requests of a file worked off in the background."""

from __future__ import annotations

import asyncio
import base64
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hub.commands.session import FAILED, AsJson, WrongUse, run, settings_of
from hub.commands.show import show
from hub.errors import NotConfigured, NotFound
from hub.process.reach import Local

if TYPE_CHECKING:
    from hub.process.reach import Reach

app = typer.Typer(help="Batches: create, list, show, watch, output, cancel.", no_args_is_help=True)

_COLUMNS = ("id", "status", "endpoint", "total", "completed", "failed", "output", "errors")
_OVER = frozenset({"completed", "failed", "expired", "cancelled"})
_WATCH_SECONDS = 0.5
#: Files up to this size, in bytes, go over the control socket.
_LARGEST = 40 * 2**20
Batch = Annotated[str, typer.Argument(help="Id of the batch.")]


@app.command()
def create(
    ctx: typer.Context,
    file: Annotated[str, typer.Argument(help="A JSONL file, a request a line; or the id of an uploaded one.")],
    endpoint: Annotated[str, typer.Option(help="Where every request goes.")] = "/v1/chat/completions",
    watch: Annotated[bool, typer.Option("--watch", help="Wait for its end and show how far it is.")] = False,
    as_json: AsJson = False,
) -> None:
    """Work off the requests of a file; what is wrong in it is named by line and nothing is created."""
    content = None if file.startswith("file-") else _content(file)

    async def work(hub: Reach) -> Any:
        name = file
        if content is not None:
            name = (await hub.call("file-upload", {"file": base64.b64encode(content).decode(), "purpose": "batch"}))["id"]
        made = await hub.call("batch-create", {"input_file_id": name, "endpoint": endpoint, "completion_window": "24h"})
        return await _watched(hub, made["id"]) if watch else made

    _show(run(ctx, work), as_json=as_json)


@app.command("list")
def list_batches(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List your batches, the newest first."""
    found = run(ctx, lambda hub: hub.call("batch-list", {"limit": 100}))["data"]
    rows = found if as_json else list(map(_row, found))
    show(rows, as_json=as_json, columns=_COLUMNS, empty="no batches yet; `hubroute batches create FILE` makes one")


@app.command("show")
def show_batch(ctx: typer.Context, batch: Batch, as_json: AsJson = False) -> None:
    """Show a batch and how far it is."""
    _show(run(ctx, lambda hub: hub.call("batch-get", {"id": batch})), as_json=as_json)


@app.command()
def watch(ctx: typer.Context, batch: Batch, as_json: AsJson = False) -> None:
    """Wait for the end of a batch and show how far it is; exit code 1 when it did not complete."""
    found = run(ctx, lambda hub: _watched(hub, batch))
    _show(found, as_json=as_json)
    if found["status"] != "completed":
        raise typer.Exit(FAILED)


@app.command()
def cancel(ctx: typer.Context, batch: Batch, as_json: AsJson = False) -> None:
    """Cancel a batch; what is answered stays in its output file."""
    _show(run(ctx, lambda hub: hub.call("batch-cancel", {"id": batch})), as_json=as_json)


@app.command()
def output(
    ctx: typer.Context,
    batch: Batch,
    errors: Annotated[bool, typer.Option("--errors", help="What was not answered, instead of what was.")] = False,
) -> None:
    """Print what came of a batch: a line for each request."""
    found = run(ctx, lambda hub: hub.call("batch-get", {"id": batch}))
    name = found["error_file_id" if errors else "output_file_id"]
    if name is None:
        print(f"nothing: the batch is {found['status']}", file=sys.stderr)
        return
    # It was made on this machine, in the folder of the hub that answered.
    try:
        with (settings_of(ctx).data_dir / "files" / name).open("rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer)
    except FileNotFoundError:
        raise NotFound(f"{name} was deleted, or is in the data folder of another machine") from None


async def _watched(hub: Reach, batch_id: str) -> Any:
    """The batch once it is over; its progress goes to standard error. Raises NotConfigured where nobody works on it."""
    if isinstance(hub, Local) and not hub.hub.settings.postgres:
        raise NotConfigured("start the hub first (`hubroute serve`): it works batches off")
    last = ""
    while True:
        found = await hub.call("batch-get", {"id": batch_id})
        counts = found["request_counts"]
        words = f"{found['status']}: {counts['completed']} completed, {counts['failed']} failed of {counts['total']}"
        if words != last:
            print(words, file=sys.stderr, flush=True)
            last = words
        if found["status"] in _OVER:
            return found
        await asyncio.sleep(_WATCH_SECONDS)


def _content(path: str) -> bytes:
    """The file to upload. Raises WrongUse."""
    try:
        if Path(path).stat().st_size > _LARGEST:
            raise WrongUse(f"{path} is over {_LARGEST // 2**20} MiB: upload it with POST /v1/files, then give the id that it got")
        return Path(path).read_bytes()
    except OSError as error:
        raise WrongUse(f"cannot read {path}: {error.strerror}") from None


def _show(found: dict[str, Any], *, as_json: bool) -> None:
    show(found if as_json else _row(found), as_json=as_json)


def _row(found: dict[str, Any]) -> dict[str, Any]:
    files = {"output": found["output_file_id"] or "", "errors": found["error_file_id"] or ""}
    return {name: found[name] for name in ("id", "status", "endpoint")} | found["request_counts"] | files
