"""``hubroute health``: does the hub on this machine answer and can it work; what containers and service managers ask."""

from __future__ import annotations

from http.client import HTTPConnection, HTTPException
from typing import Annotated

import msgspec
import typer

from hub.commands.session import AsJson, WrongUse, settings_of
from hub.commands.show import print_json
from hub.errors import Unavailable

#: Addresses that stand for every address of the machine, and the one to ask at.
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - nothing is bound here


class Said(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer of ``/health`` or ``/ready``."""

    status: str
    faults: tuple[str, ...] = ()
    version: str = ""


def health(
    ctx: typer.Context,
    host: Annotated[str | None, typer.Option(help="Address the hub listens on, as for `serve`.")] = None,
    port: Annotated[int | None, typer.Option(help="Port the hub listens on, as for `serve`.")] = None,
    live: Annotated[bool, typer.Option("--live", help="Only ask whether it answers, not whether it can do its work.")] = False,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for the answer.")] = 3.0,
    as_json: AsJson = False,
) -> None:
    """Ask the hub of this machine whether it is well.

    The exit code is 0 when it is. Needs no key.
    """
    settings = settings_of(ctx, host=host, port=port)
    if not settings.port:
        raise WrongUse("with port 0 nobody knows where the hub listens; name its port with --port")
    path = "/health" if live else "/ready"
    said = _ask(_EVERYWHERE.get(settings.host, settings.host), settings.port, path, timeout)
    if as_json:
        print_json(msgspec.to_builtins(said))
    else:
        print(said.status)
    if said.faults:
        raise Unavailable(f"the hub on port {settings.port} is not ready: {', '.join(said.faults)}; its log says why")


def _ask(host: str, port: int, path: str, timeout: float) -> Said:
    """What a hub answers. Raises Unavailable where nobody answers, or no hub."""
    where = HTTPConnection(host, port, timeout=timeout)
    try:
        where.request("GET", path)
        return msgspec.json.decode(where.getresponse().read(65536), type=Said)
    except (OSError, HTTPException) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
        raise Unavailable(
            f"no hub answers on {host}:{port} ({why}); start it with `hubroute serve`, or name its --host and --port"
        ) from None
    except msgspec.MsgspecError:
        raise Unavailable(f"what answers on {host}:{port} is no hub; name the hub's --host and --port") from None
    finally:
        where.close()
