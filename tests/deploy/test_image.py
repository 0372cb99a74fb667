"""SEC-75: the image, the compose files and the systemd unit say what they must; and the hub needs no more than they give it."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from hub.settings import Settings
from tests.fakes.command import COMMAND, LIMIT, ROOT, environment

DEPLOY = ROOT / "deploy"
#: What a container gets: a process of nobody's, without rights but to read (a checkout may lie in a folder that is not everybody's).
NOBODY = ["setpriv", "--reuid", "10001", "--regid", "10001", "--clear-groups", "--no-new-privs"]
READER = ["--bounding-set", "-all,+dac_read_search", "--inh-caps", "-all,+dac_read_search", "--ambient-caps", "-all,+dac_read_search"]
#: The folder in which the data folder is seen there; one that every system has and nothing here needs.
SEEN = Path("/srv")


def instructions() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile, with continued lines joined."""
    text = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", (DEPLOY / "Dockerfile").read_text(), flags=re.M))
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in text.splitlines() if line.strip()]


def test_the_dockerfile_pins_hashes_names_no_host_and_ends_as_nobody() -> None:
    told = instructions()
    assert {name for name, _ in told} <= {
        "ARG",
        "FROM",
        "WORKDIR",
        "COPY",
        "RUN",
        "ENV",
        "LABEL",
        "USER",
        "VOLUME",
        "EXPOSE",
        "STOPSIGNAL",
        "HEALTHCHECK",
        "ENTRYPOINT",
        "CMD",
    }
    stages = [index for index, (name, _) in enumerate(told) if name == "FROM"]
    assert len(stages) == 3
    last = told[stages[-1] :]
    of = dict(last)
    assert of["USER"] == "10001:10001"
    assert (of["STOPSIGNAL"], of["VOLUME"], of["EXPOSE"]) == ("SIGTERM", '["/data"]', "20128")
    assert of["HEALTHCHECK"].endswith('CMD ["hubroute", "health"]')
    assert (of["ENTRYPOINT"], of["CMD"]) == ('["hubroute"]', '["serve"]')
    assert [words for name, words in last if name == "COPY"] == ["--from=build /opt/hubroute /opt/hubroute"], "nothing else is in the image"
    assert "/usr/bin/apt*" in of["RUN"], "no package manager"
    installs = [words for name, words in told if name == "RUN" and re.search(r"pip install|npm ci|uv build", words)]
    assert len(installs) == 4
    for words in installs:
        assert "--require-hashes" in words or "npm ci" in words, words
    # Where things come from is the builder's affair; no credential is ever an argument or a variable of the image.
    assert not re.search(r"https?://|[a-z0-9-]+\.(io|com|org|dev)/", (DEPLOY / "Dockerfile").read_text())
    assert not [words for name, words in told if name in ("ARG", "ENV") and re.search(r"KEY|TOKEN|SECRET|PASSWORD", words)]
    assert not [words for name, words in told if name == "RUN" and ("curl" in words or "wget" in words or "apt-get" in words)]


def test_the_builder_gets_what_the_image_is_made_of_and_no_more() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    taken = {line[1:] for line in lines if line.startswith("!")}
    assert taken == {
        *("hub", "agents", "skills", "transports", "hatch_build.py", "pyproject.toml", "README.md", "LICENSE"),
        *("requirements.lock", "requirements-dev.lock", "requirements-uv.lock"),
    }
    assert all((ROOT / name).exists() for name in taken)


def compose(name: str) -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / name).read_text())


@pytest.mark.parametrize("name", ["compose.yaml", "compose.many.yaml"])
def test_compose_publishes_on_loopback_and_takes_rights_away(name: str) -> None:
    services = compose(name)["services"]
    hub = services["hub"]
    assert hub["read_only"] is True
    assert hub["cap_drop"] == ["ALL"]
    assert hub["security_opt"] == ["no-new-privileges:true"]
    assert (hub["tmpfs"], hub["volumes"]) == (["/tmp"], ["data:/data"])
    published = [port for service in services.values() for port in service.get("ports", [])]
    assert published == ["127.0.0.1:20128:20128"]
    known = {f"HUBROUTE_{field.upper()}" for field in Settings.model_fields}
    assert set(hub["environment"]) <= known
    drain = float(hub["environment"].get("HUBROUTE_DRAIN_SECONDS", 0))
    assert int(re.sub(r"\D", "", hub["stop_grace_period"])) > Settings().shutdown_seconds + drain
    for service in services.values():
        assert not {"privileged", "cap_add", "network_mode", "pid", "devices"} & set(service)
    whole = shutil.which("docker-compose")
    if whole:
        env = {**os.environ, "POSTGRES_PASSWORD": "x"}
        done = subprocess.run([whole, "-f", DEPLOY / name, "config", "-q"], env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_many_hubs_have_no_port_and_a_password_must_be_given() -> None:
    services = compose("compose.many.yaml")["services"]
    assert set(services) == {"postgres", "hub", "proxy"}
    assert "ports" not in services["hub"]
    assert "ports" not in services["postgres"]
    assert services["hub"]["deploy"]["replicas"] > 1
    assert "front" not in services["postgres"]["networks"]
    assert float(services["hub"]["environment"]["HUBROUTE_DRAIN_SECONDS"]) > 2, "twice the second between the proxy's looks"
    text = (DEPLOY / "compose.many.yaml").read_text()
    assert text.count("${POSTGRES_PASSWORD:?") == text.count("${POSTGRES_PASSWORD") == 2


def test_the_proxy_tries_another_hub_only_before_a_request_was_sent() -> None:
    lines = [line.strip() for line in (DEPLOY / "haproxy.cfg").read_text().splitlines()]
    assert {"retry-on conn-failure", "option abortonclose", "option http-no-delay"} <= set(lines)
    assert "acl alone path_beg /api/mcp/ /a2a/" in lines
    assert lines.count("server-template hub 8 hub:20128") == 2
    haproxy = shutil.which("haproxy")
    if haproxy:
        done = subprocess.run([haproxy, "-c", "-f", DEPLOY / "haproxy.cfg"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_the_unit_is_sound_and_hardened(tmp_path: Path) -> None:
    text = (DEPLOY / "hubroute.service").read_text()
    for line in (
        *("Type=notify", "User=hubroute", "NoNewPrivileges=yes", "CapabilityBoundingSet=", "ProtectSystem=strict", "ProtectHome=yes"),
        *("PrivateTmp=yes", "StateDirectory=hubroute", "StateDirectoryMode=0700", "MemoryDenyWriteExecute=yes", "KillMode=mixed"),
    ):
        assert f"\n{line}\n" in text
    seconds = re.search(r"^TimeoutStopSec=(\d+)$", text, re.M)
    assert seconds is not None
    assert int(seconds[1]) > Settings().shutdown_seconds
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("no systemd-analyze to verify the unit with")
    unit = tmp_path / "hubroute.service"
    unit.write_text(text.replace("/opt/hubroute/bin/hubroute", "/bin/true"))
    done = subprocess.run([analyze, "verify", unit], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    security = [analyze, "security", "--offline=true", "--threshold=20", unit]
    done = subprocess.run(security, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-300:] + done.stderr


#: Runs as root in a mount namespace of its own: everything is read-only but the data folder (at /srv) and an empty /tmp.
SEAL = f"""
set -e
mount --make-rprivate /
mount --bind "$1" {SEEN}
# The checkout stays where it is, even in the folder that is emptied.
mount --bind "$2" /mnt
mount -t tmpfs -o mode=1777 tmpfs /tmp
mkdir -p "$2"
mount --bind /mnt "$2"
umount /mnt
findmnt -rno TARGET | while read -r place; do
    case "$place" in {SEEN}|/tmp|/proc*|/sys*|/dev*) ;; *) mount -o remount,bind,ro "$place" 2>/dev/null || true ;; esac
done
cd {SEEN}; shift 2; exec "$@"
"""

#: What a person does with a new container, each step a process of its own.
STEPS = """
import json, os, subprocess, sys, time, urllib.request
command, port = json.loads(sys.argv[1]), sys.argv[2]
def run(*args):
    return subprocess.run([*command, *args], capture_output=True, text=True)
told = {"uid": os.getuid(), "writable": []}
for place in json.loads(sys.argv[3]):
    try:
        open(os.path.join(place, "probe"), "w").close()
        told["writable"].append(place)
    except OSError as error:
        told.setdefault("refused", []).append(error.strerror)
told["first"] = run("serve").stderr
told["key"] = run("keys", "create", "first", "--scopes", "owner").stdout.strip()
hub = subprocess.Popen([*command, "serve"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
hub.stdout.readline()
told["health"] = run("health").stdout
body = json.dumps({"model": "demo", "messages": [{"role": "user", "content": "Hello"}]}).encode()
ask = urllib.request.Request(f"http://127.0.0.1:{port}/v1/chat/completions", body)
ask.add_header("Authorization", f"Bearer {told['key']}")
ask.add_header("Content-Type", "application/json")
told["answer"] = json.load(urllib.request.urlopen(ask))["choices"][0]["message"]["content"]
told["backup"] = run("backup", "create", "--json").stdout
hub.terminate()
hub.communicate()
told["exit"] = hub.returncode
told["files"] = sorted(os.listdir("."))
print(json.dumps(told))
"""


def test_a_hub_needs_one_folder_and_tmp_to_write_to_and_no_rights(tmp_path: Path) -> None:
    """SEC-75: as in the container: nobody's process, a root that is read-only, beyond loopback."""
    if os.geteuid() != 0 or not (shutil.which("unshare") and shutil.which("setpriv") and shutil.which("findmnt")):
        pytest.skip("a read-only root needs root, unshare, setpriv and findmnt to be tried")
    if subprocess.run(["unshare", "-m", "mount", "--make-rprivate", "/"], check=False, capture_output=True).returncode:
        pytest.skip("this system lets nobody make a mount namespace, so a read-only root cannot be tried")
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    os.chown(data, 10001, 10001)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
    env = environment(SEEN, HUBROUTE_HOST="0.0.0.0", HUBROUTE_PORT=port, HOME=str(SEEN), PYTHONDONTWRITEBYTECODE="1")
    places = json.dumps(["/tmp", str(SEEN), "/etc", "/var", str(ROOT), "/"])
    told = [sys.executable, "-P", "-c", STEPS, json.dumps(COMMAND), port, places]
    sealed = ["unshare", "-m", "--", "sh", "-c", SEAL, "seal", data, ROOT, *NOBODY, *READER, *told]
    done = subprocess.run(sealed, env=env, cwd=ROOT, capture_output=True, text=True, timeout=2 * LIMIT, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["uid"] == 10001
    assert found["writable"] == ["/tmp", str(SEEN)]
    assert set(found["refused"]) == {"Read-only file system"}
    assert "has neither an owner password nor keys yet" in found["first"]
    assert found["key"].startswith("hr_")
    assert found["health"] == "ready\n"
    assert "Hello" in found["answer"]
    assert json.loads(found["backup"])["created"]
    assert found["exit"] == 0
    assert {"hubroute.db", "master.key", "backups"} <= set(found["files"])
    assert {path.stat().st_uid for path in data.rglob("*")} == {10001}
