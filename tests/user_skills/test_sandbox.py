"""Containers: what the program on this machine is told, what it sees, and that none of it outlives its time."""

from __future__ import annotations

import asyncio
import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from tests.user_skills.conftest import Bench, benched

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.anyio

#: Stands for docker: writes down what it is told and what it sees, runs the command itself, and can be killed by name.
DOCKER = """#!/usr/bin/python3
import json, os, subprocess, sys, time
home = os.path.dirname(os.path.abspath(__file__))
with open(f"{home}/calls.jsonl", "a") as file:
    file.write(json.dumps({"args": sys.argv[1:], "env": dict(os.environ)}) + "\\n")
if sys.argv[1] == "kill":
    sys.exit(0)
args = sys.argv[2:]
image = next(place for place, one in enumerate(args) if one.startswith(("alpine", "python", "node", "mine")))
if args[image] == "mine/absent:1":
    sys.stderr.write("Error response from daemon: No such image: mine/absent:1\\n")
    sys.exit(125)
command = args[image + 1:]
if command[:1] == ["sleep"]:
    with open(f"{home}/began", "w"):
        pass
    time.sleep(60)
if command[0] == "python":
    command[0] = sys.executable
sys.exit(subprocess.run(command).returncode)
"""
LIMITS = (
    "--rm -i --pull never --network none --cpus 0.1 --memory 256m --memory-swap 256m --cap-drop ALL --security-opt no-new-privileges "
    "--pids-limit 100 --read-only --workdir /workspace --user 65534:65534"
)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("bin") / "docker"
    made.write_text(DOCKER)
    made.chmod(0o755)
    return made


@pytest.fixture(scope="module")
async def contained(program: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    os.environ["SECRET_OF_THE_HOST"] = "sk-host"
    try:
        more: dict[str, Any] = {"skills_sandbox_program": str(program), "skills_allowed_sandbox_images": "mine/absent:1, mine/tool:2"}
        async with benched(tmp_path_factory.mktemp("contained"), **more) as made:
            yield made
    finally:
        del os.environ["SECRET_OF_THE_HOST"]


def calls(program: Path) -> list[Any]:
    return [json.loads(line) for line in (program.parent / "calls.jsonl").read_text().splitlines()]


async def test_code_runs_with_every_limit_and_without_our_environment(contained: Bench, program: Path) -> None:
    await contained.install(name="run", handler="eval_code", description="Runs code.")
    code = "import os\nprint(2 + 2, 'SECRET_OF_THE_HOST' in os.environ)"
    run = await contained.run("run", {"code": code, "language": "python"})
    assert run["output"] == {"exitCode": 0, "stdout": "4 False\n", "stderr": "", "truncated": False}
    told = calls(program)[-1]
    args = told["args"]
    assert args[0] == "run"
    line = " ".join(args)
    for pair in LIMITS.split(" --"):
        assert pair.removeprefix("--") in line, pair
    assert [args[place + 1].split(":")[0] for place, one in enumerate(args) if one == "--tmpfs"] == ["/tmp", "/workspace"]
    assert all("size=64m" in args[place + 1] for place, one in enumerate(args) if one == "--tmpfs")
    assert args[-4:] == ["python:3.12-alpine", "python", "-c", code]
    assert not [one for one in args if one in ("-e", "--env", "-v", "--volume", "--privileged", "--mount")]
    assert "SECRET_OF_THE_HOST" not in told["env"]
    assert "hubroute" not in json.dumps([one for one in told["env"] if one.startswith("HUBROUTE")])
    assert told["env"]["DOCKER_CONFIG"].startswith(str(contained.hub.hub.settings.data_dir)), "docker's own proxies stay out of containers"


async def test_podman_is_told_not_to_pass_proxies(contained: Bench) -> None:
    sandbox = contained.hub.hub.user_skills.kit.sandbox
    assert "--http-proxy=false" in sandbox.arguments("podman", "x", "alpine:3.20", ["true"], network=False)
    assert "bridge" in sandbox.arguments("docker", "x", "alpine:3.20", ["true"], network=True)


async def test_handler_code_is_json_in_and_json_out(contained: Bench) -> None:
    """The seed's handlerCode: kept, and run in a container only."""
    code = "#!/usr/bin/env python\nimport json, sys\ngiven = json.load(sys.stdin)\nprint(json.dumps({'sum': sum(given['numbers'])}))"
    schema = {
        "input": {"type": "object", "properties": {"numbers": {"type": "array", "items": {"type": "number"}}}, "required": ["numbers"]},
        "output": {"type": "object", "properties": {"sum": {"type": "number"}}, "required": ["sum"]},
    }
    await contained.install(name="adder", description="Adds.", schema=schema, handlerCode=code)
    assert (await contained.run("adder", {"numbers": [1, 2, 3.5]}))["output"] == {"sum": 6.5}
    await contained.install(name="liar", description="Lies.", schema=schema, handlerCode=code.replace("'sum'", "'som'"))
    run = await contained.run("liar", {"numbers": [1]})
    assert run["status"] == "error"
    assert "does not fit the schema" in run["errorMessage"]
    await contained.install(name="thrower", description="Throws.", handlerCode="#!python\nraise SystemExit('no luck')")
    run = await contained.run("thrower", {})
    assert (run["status"], run["errorMessage"]) == ("error", "the code ended with status 1: no luck")


async def test_commands_images_and_networks(contained: Bench) -> None:
    await contained.install(name="command", handler="execute_command", description="Runs a command.")
    run = await contained.run("command", {"command": "echo", "args": ["$HOME", "; ls"]})
    assert run["output"]["stdout"] == "$HOME ; ls\n", "no shell reads it"
    error = await contained.run("command", {"command": "echo", "image": "evil:latest"}, 403)
    assert "SKILLS_ALLOWED_SANDBOX_IMAGES" in json.dumps(error)
    error = await contained.run("command", {"command": "echo", "networkEnabled": True}, 403)
    assert "SKILLS_SANDBOX_NETWORK_ENABLED" in json.dumps(error)
    error = await contained.run("command", {"command": "echo", "image": "mine/absent:1"}, 503)
    assert "docker pull mine/absent:1" in error["error"]
    run = await contained.run("command", {"command": "head", "args": ["-c", "500000", "/dev/zero"], "image": "mine/tool:2"})
    assert (len(run["output"]["stdout"]), run["output"]["truncated"]) == (100_000, True)


async def test_what_takes_too_long_is_killed(contained: Bench, program: Path) -> None:
    await contained.install(name="slow", handler="execute_command", description="Sleeps.")
    run = await contained.run("slow", {"command": "sleep", "timeoutMs": 300})
    assert run["status"] == "timeout"
    assert run["durationMs"] < 10_000
    began, killed = calls(program)[-2:]
    assert killed["args"] == ["kill", began["args"][began["args"].index("--name") + 1]]
    # A caller that goes away ends it, too.
    (program.parent / "began").unlink()
    task = asyncio.create_task(contained.run("slow", {"command": "sleep", "timeoutMs": 60_000}))
    async with asyncio.timeout(20):
        while not (program.parent / "began").exists():
            await asyncio.sleep(0.02)
        task.cancel()
        while calls(program)[-1]["args"][0] != "kill":
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("named", ["", "/nowhere/docker"])
async def test_without_a_program_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    async with benched(tmp_path, skills_sandbox_program=named) as bench:
        # Where one is installed all the same, it is not in this test's places.
        bench.hub.hub.user_skills.kit.sandbox._places = type(bench.hub.hub.user_skills.kit.sandbox._places)(())  # pyright: ignore[reportPrivateUsage]
        await bench.install(name="js", description="Code.", handlerCode="console.log(1)")
        error = await bench.run("js", {}, 503)
        assert "HUBROUTE_SKILLS_SANDBOX_PROGRAM" in error["error"]
        assert error["code"] == "not_configured"
        runs = await bench.ask("GET", "/api/skills/executions")
        assert [one["status"] for one in runs["data"]] == ["error"]
