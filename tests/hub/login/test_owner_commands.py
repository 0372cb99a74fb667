"""``hubroute owner`` as the owner has it: a hub that runs in its own process, commands over its control socket, a browser beside them."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.fakes.command import Served, answer, hubroute, serving
from tests.fakes.database import postgres_database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PASSWORD = "correct horse"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("owner") / "data"


@pytest.fixture(scope="module")
def live(folder: Path) -> Iterator[Served]:
    with serving(folder) as served:
        yield served


def test_a_password_from_a_pipe_a_session_and_its_end(live: Served, folder: Path) -> None:
    refused = hubroute(folder, "owner", "password", "-", stdin="short\n")
    assert (refused.returncode, "8 to 200" in refused.stderr) == (1, True)
    done = hubroute(folder, "owner", "password", "-", stdin=f"{PASSWORD}\n")
    assert done.returncode == 0, done.stderr
    assert PASSWORD not in done.stdout + done.stderr
    assert hubroute(folder, "owner", "password", PASSWORD).returncode == 2, "not where other users of the machine see it"
    with httpx.Client(base_url=live.url) as browser:
        assert browser.post("/api/auth/login", json={"password": PASSWORD}).status_code == 200
        assert browser.get("/api/keys").status_code == 200
        listed = answer(folder, "owner", "sessions")
        assert [one["address"] for one in listed] == ["127.0.0.1"]
        assert hubroute(folder, "owner", "sessions", "--end", listed[0]["id"]).returncode == 0
        assert browser.get("/api/keys").status_code == 401
        assert "no browser" in hubroute(folder, "owner", "sessions").stderr
        assert hubroute(folder, "owner", "sessions", "--end", "nobody").returncode == 1


def test_a_link_and_an_unlock(live: Served, folder: Path) -> None:
    assert hubroute(folder, "owner", "password", "-", stdin=f"{PASSWORD}\n").returncode == 0
    link = answer(folder, "owner", "link")["url"]
    assert link.startswith(f"{live.url}/owner?token=")
    assert httpx.get(link).status_code == 200
    for _ in range(5):
        httpx.post(f"{live.url}/api/auth/login", json={"password": "wrong pony"})
    assert httpx.post(f"{live.url}/api/auth/login", json={"password": PASSWORD}).status_code == 429
    assert hubroute(folder, "owner", "unlock").returncode == 0
    with httpx.Client(base_url=live.url, headers={"sec-fetch-site": "same-origin"}) as browser:
        assert browser.post("/api/auth/login", json={"password": PASSWORD}).status_code == 200
        assert browser.post("/api/auth/totp").status_code == 201
    assert hubroute(folder, "owner", "forget-totp").returncode == 0
    assert hubroute(folder, "owner", "forget-totp").returncode == 1


def test_a_hub_without_an_owner_is_not_put_where_others_reach_it(tmp_path: Path) -> None:
    """SEC B1: refused with the reason; a key or a password mends it."""
    folder = tmp_path / "data"
    refused = hubroute(folder, "serve", "--port", "0", "--host", "0.0.0.0")
    assert (refused.returncode, "INITIAL_PASSWORD" in refused.stderr) == (1, True), refused.stderr
    with serving(folder, "--host", "0.0.0.0", INITIAL_PASSWORD=PASSWORD) as served:
        assert "Owner link" not in served.words
        assert f"{served.url}/login" in served.words
    weak = hubroute(folder, "serve", "--port", "0", INITIAL_PASSWORD="changeme")
    assert (weak.returncode, "mend HUBROUTE_INITIAL_PASSWORD" in weak.stderr, "changeme" in weak.stderr) == (2, True, False)


def test_two_processes_on_one_database_are_one_hub_to_a_browser(tmp_path: Path) -> None:
    """Sessions, failed tries and logouts of one are the other's at once."""
    master = base64.b64encode(bytes(32)).decode()
    with postgres_database() as url:
        shared = {"HUBROUTE_DATABASE_URL": url, "HUBROUTE_MASTER_KEY": master, "INITIAL_PASSWORD": PASSWORD}
        with serving(tmp_path / "one", **shared) as one, serving(tmp_path / "two", **shared) as two, httpx.Client() as browser:
            assert browser.post(f"{one.url}/api/auth/login", json={"password": PASSWORD}).status_code == 200
            token = browser.cookies["auth_token"]
            browser.cookies.clear()
            sent = {"cookie": f"auth_token={token}", "sec-fetch-site": "same-origin"}
            assert browser.get(f"{two.url}/api/keys", headers=sent).status_code == 200
            assert browser.post(f"{two.url}/api/auth/logout", headers=sent).status_code == 200
            assert browser.get(f"{one.url}/api/keys", headers=sent).status_code == 401
            for place in (one, two, one, two, one):
                browser.post(f"{place.url}/api/auth/login", json={"password": "wrong pony"})
            assert browser.post(f"{two.url}/api/auth/login", json={"password": PASSWORD}).status_code == 429
