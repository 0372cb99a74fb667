"""Code in a container: docker or podman on this machine, with no network, no privileges, no disk of ours and nothing of our environment.

Nothing is downloaded: an image that is not there is named in the error with the command that gets it.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from hub.errors import BadRequest, Forbidden, NotConfigured
from hub.process import child
from hub.process.place import Places, unsafe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hub.clock import Clock
    from hub.settings import Settings

#: Programs in the order in which they are looked for.
PROGRAMS = ("docker", "podman")
#: Images that are always allowed; the first of a language is the one its code runs in.
IMAGES = {"js": "node:22-alpine", "python": "python:3.12-alpine", "shell": "alpine:3.20"}
COMMANDS = {"js": ("node", "-e"), "python": ("python", "-c"), "shell": ("sh", "-c")}
#: The limit of CPU seconds ends what runs on where the hub itself was killed.
_LIMITS = (
    "--cpus", "0.1", "--memory", "256m", "--memory-swap", "256m", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
    "--pids-limit", "100", "--ulimit", "cpu=60:60", "--read-only", "--tmpfs", "/tmp:rw,nosuid,nodev,size=64m,mode=1777",  # noqa: S108 - inside the container
    "--tmpfs", "/workspace:rw,nosuid,nodev,size=64m,mode=1777", "--workdir", "/workspace", "--user", "65534:65534",
)  # fmt: skip
#: What the client program sees of our environment besides what every child does: where its own service is.
_INHERITED = ("XDG_RUNTIME_DIR", "DOCKER_HOST", "CONTAINER_HOST")
#: The program's own failures, as docker and podman have them (docker run, "Exit status").
_OWN_FAILURE = 125
_NO_IMAGE = ("no such image", "image not known", "not found: manifest", "unable to find image")
_KILL_SECONDS = 10.0
#: How often a name that the service does not know yet is tried to be killed: the container may be about to begin.
_KILLS = 3
_AT_ONCE = 4
_PIECE = 64 * 1024


@dataclass(frozen=True, slots=True)
class Ran:
    """How a container ended. Output is cut at the limit, which ``cut`` says."""

    code: int
    out: str
    err: str
    cut: bool


class Sandbox:
    """Runs containers, a few at once. One for a hub."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._places = Places(("/usr/local/bin", "/usr/bin", "/opt/homebrew/bin"))

    async def run(self, image: str, command: Sequence[str], *, given: bytes = b"", seconds: float, network: bool = False) -> Ran:
        """Run a command in a new container; ``given`` is its standard input.

        Raises NotConfigured where there is no program or no image, Forbidden for an image or a network that the owner does not allow,
        BadRequest, TimeoutError after ``seconds``. However it ends, the container is gone.
        """
        self._admit(image, network)
        program = await asyncio.to_thread(self._program)
        name = self._clock.new_id("hubroute-skill-").lower()
        arguments = [program, *self.arguments(Path(program).name, name, image, command, network=network)]
        async with asyncio.timeout(seconds), self._slots:
            config = self._settings.data_dir / "skills" / "docker"
            await asyncio.to_thread(partial(config.mkdir, mode=0o700, parents=True, exist_ok=True))
            # Docker's own configuration may put proxies with passwords into every container.
            env = child.environment(program, self._places.folders(), _INHERITED) | {"DOCKER_CONFIG": str(config)}
            process = await child.spawn(arguments, env=env, cwd="/", talk=True)
            try:
                ran = await self._talk(process, given)
            except BaseException:
                await asyncio.shield(self._kill(process, program, name, env))
                raise
            await child.end(process)
        return self._judged(ran, Path(program).name, image)

    def arguments(self, program: str, name: str, image: str, command: Sequence[str], *, network: bool) -> list[str]:
        """What the program is told: everything that limits the container, and nothing of our environment."""
        own = ["--http-proxy=false"] if program.startswith("podman") else []
        reach = "bridge" if network else "none"
        return ["run", "--rm", "-i", "--pull", "never", "--name", name, "--network", reach, *_LIMITS, *own, image, *command]

    def images(self) -> list[str]:
        """The images that may be used."""
        more = (one.strip() for one in self._settings.skills_allowed_sandbox_images.split(","))
        return list(dict.fromkeys([*IMAGES.values(), *(one for one in more if one)]))

    def _admit(self, image: str, network: bool) -> None:
        if image not in self.images():
            raise Forbidden(f"the image {image[:100]!r} is not allowed; SKILLS_ALLOWED_SANDBOX_IMAGES lists those that are")
        if network and not self._settings.skills_sandbox_network_enabled:
            raise Forbidden("containers have no network here; SKILLS_SANDBOX_NETWORK_ENABLED=true gives it to those that ask for it")

    def _program(self) -> str:
        named = self._settings.skills_sandbox_program
        found = self._places.find([named] if named else PROGRAMS)
        if not found.path or found.reason or unsafe(found.path):
            why = f"{named} cannot be used: {found.reason}" if named else "neither docker nor podman is installed"
            raise NotConfigured(f"code runs in containers only, and {why}; install one of them, or set HUBROUTE_SKILLS_SANDBOX_PROGRAM")
        return found.path

    async def _talk(self, process: asyncio.subprocess.Process, given: bytes) -> Ran:
        out, err, _ = await asyncio.gather(self._read(process.stdout), self._read(process.stderr), self._write(process, given))
        code = await process.wait()
        return Ran(code, out[0], err[0], out[1] or err[1])

    async def _read(self, stream: asyncio.StreamReader | None) -> tuple[str, bool]:
        """What a container writes, to the limit; what comes after it is read and dropped, so that the container is not held up."""
        if stream is None:
            raise RuntimeError("started without pipes")
        most = self._settings.skills_max_sandbox_output_chars
        kept = bytearray()
        cut = False
        while piece := await stream.read(_PIECE):
            room = most * 4 - len(kept)
            kept += piece[: max(0, room)]
            cut = cut or len(piece) > room
        text = kept.decode("utf-8", "replace")
        return text[:most], cut or len(text) > most

    async def _write(self, process: asyncio.subprocess.Process, given: bytes) -> None:
        if process.stdin is None:
            raise RuntimeError("started without pipes")
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            process.stdin.write(given)
            await process.stdin.drain()
        process.stdin.close()

    async def _kill(self, process: asyncio.subprocess.Process, program: str, name: str, env: dict[str, str]) -> None:
        """End a container and the program that started it, in this order of harm: the program is told to stop, the service to kill."""
        await child.end(process, grace=0.0)
        for _ in range(_KILLS):
            killer = await child.spawn([program, "kill", name], env=env, cwd="/", talk=False)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_KILL_SECONDS):
                    await asyncio.gather(self._read(killer.stdout), self._read(killer.stderr))
                    await killer.wait()
            await child.end(killer, grace=0.0)
            if killer.returncode == 0:
                return
            await asyncio.sleep(0.2)

    def _judged(self, ran: Ran, program: str, image: str) -> Ran:
        """Raise for what the program itself could not do; what the code did is its own."""
        if ran.code != _OWN_FAILURE:
            return ran
        words = ran.err.lower()
        if any(part in words for part in _NO_IMAGE):
            raise NotConfigured(f"the image {image} is not on this machine; run `{program} pull {image}` once")
        raise NotConfigured(f"{program} could not start the container: {ran.err.strip()[:300] or 'it did not say why'}")


def language_of(code: str, named: str = "") -> str:
    """The language of code: the one that is named, that of its first line (``#!``), else JavaScript. Raises BadRequest for another one."""
    if named:
        if named not in COMMANDS:
            raise BadRequest(f"handler.language: {named[:40]!r} is not one of {', '.join(COMMANDS)}", field="handler.language")
        return named
    first = code.split("\n", 1)[0]
    if first.startswith("#!"):
        if "python" in first:
            return "python"
        return "js" if "node" in first else "shell"
    return "js"


def outcome(ran: Ran) -> dict[str, object]:
    """How a container ended, as a skill's output."""
    return {"exitCode": ran.code, "stdout": ran.out, "stderr": ran.err, "truncated": ran.cut}
