"""The audit log as a compliance office uses it: filters, export, proof, anchors (SEC-80 to SEC-83, SEC-28)."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import sqlite3
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from hub.access.actions import Actions
from hub.records import AuditRow
from tests.fakes.command import hubroute
from tests.fakes.database import postgres_database
from tests.fakes.hub import Running, running_hub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

pytestmark = pytest.mark.anyio
LOG = "/api/compliance/audit-log"


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Iterator[str]:
    with postgres_database() if request.param == "postgresql" else nullcontext("") as url:
        yield url


@pytest.fixture(scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory, database: str) -> AsyncIterator[Running]:
    async with running_hub(tmp_path_factory.mktemp("audit"), database_url=database) as hub:
        yield hub


@pytest.fixture(scope="module")
async def http(running: Running) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=running.url, headers=await running.headers("manage"), timeout=10) as client:
        yield client


async def page(http: httpx.AsyncClient, **params: Any) -> list[Any]:
    answer = await http.get(LOG, params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_an_entry_has_every_name_that_clients_look_for(http: httpx.AsyncClient) -> None:
    """SEC-80: who, from where, what, on what, how it went, under which request; no secret."""
    body = {"provider": "openai", "name": "one", "apiKey": "sk-canary-secret-of-the-audit"}
    answer = await http.post("/api/providers", json=body)
    connection = answer.json()["connection"]["id"]
    answer = await http.get(LOG, params={"action": "provider.credentials.created", "target": connection})
    assert (answer.headers["x-total-count"], answer.headers["x-page-limit"], answer.headers["x-page-offset"]) == ("1", "50", "0")
    [entry] = answer.json()
    assert entry["action"] == "provider.credentials.created"
    assert (entry["actor"], entry["target"], entry["status"]) == ("test key 1", connection, "success")
    assert entry["resource_type"] == entry["resourceType"] == "provider_credentials"
    assert entry["ip_address"] == entry["ip"] == "127.0.0.1"
    assert entry["request_id"] == entry["requestId"]
    assert entry["timestamp"] == entry["createdAt"]
    assert entry["details"] == entry["metadata"]
    assert entry["details"]["input"]["apiKey"] == "[redacted]"
    assert entry["details"]["input"]["provider"] == "openai"
    assert "canary" not in answer.text
    await http.delete(f"/api/providers/{connection}")
    assert {one["action"] for one in await page(http, target=connection)} >= {
        "provider.credentials.created",
        "provider.credentials.revoked",
    }


async def test_filters(running: Running, http: httpx.AsyncClient) -> None:
    key = (await http.post("/api/keys", json={"name": "filtered"})).json()["id"]
    await http.patch(f"/api/keys/{key}", json={"name": "renamed"})
    await http.delete(f"/api/keys/{key}")
    assert (await http.delete(f"/api/keys/{key}")).status_code == 404
    poor = await running.headers("chat")
    assert (await http.delete(f"/api/keys/{key}", headers=poor)).status_code == 403
    on_key = await page(http, target=key)
    assert [(one["action"], one["status"]) for one in on_key] == [
        ("keys.delete", "denied"),
        ("keys.delete", "failed"),
        ("keys.delete", "success"),
        ("keys.update", "success"),
        ("keys.create", "success"),
    ]
    assert [one["id"] for one in await page(http, target=key, status="denied")] == [on_key[0]["id"]]
    assert [one["id"] for one in await page(http, target=key, status="failed")] == [on_key[1]["id"]]
    assert len(await page(http, target=key, action="keys.delete")) == 3
    assert len(await page(http, target=key, action="keys.*", status="success")) == 3
    assert len(await page(http, target=key, resourceType="keys")) == 5
    assert await page(http, target=key, resourceType="combos") == []
    assert await page(http, target=key, action="provider.*") == []
    assert len(await page(http, target=key, actor="test key 1")) == 4
    assert (await http.get(f"/api/keys/{key}")).status_code == 404
    assert (await page(http, target=key))[0]["action"] == "keys.get"
    assert [one["id"] for one in await page(http, target=key, changes="true")] == [one["id"] for one in on_key]
    assert await page(http, target=key, changes="true", action="keys.get") == []
    some = on_key[2]
    assert [one["id"] for one in await page(http, requestId=some["requestId"][4:])] == [some["id"]]
    assert await page(http, requestId="%") == []
    assert len(await page(http, target=key, **{"from": some["timestamp"], "to": "2100-01-01"})) >= 3
    assert await page(http, target=key, to="2000-01-01") == []
    assert await page(http, target=key, since="2100-01-01T00:00:00Z") == []
    first = await page(http, target=key, limit=2, changes="true")
    assert [one["id"] for one in first + await page(http, target=key, limit=3, offset=2, changes="true")] == [one["id"] for one in on_key]


@pytest.mark.parametrize(
    "params",
    [{"limit": 0}, {"limit": 501}, {"offset": -1}, {"offset": 10_001}, {"status": "perhaps"}, {"from": "yesterday"}, {"colour": "red"}],
)
async def test_what_is_wrong_is_named(http: httpx.AsyncClient, params: dict[str, Any]) -> None:
    answer = await http.get(LOG, params=params)
    assert answer.status_code == 400
    assert next(iter(params)) in answer.text


async def test_only_owners_may(running: Running, http: httpx.AsyncClient) -> None:
    calls = [("GET", LOG), ("GET", f"{LOG}/export"), ("GET", f"{LOG}/verify"), ("POST", f"{LOG}/anchor"), ("POST", f"{LOG}/reanchor")]
    for method, path in calls:
        assert (await http.request(method, path, headers={"authorization": ""})).status_code == 401
        assert (await http.request(method, path, headers=await running.headers("read:*"))).status_code == 403


async def test_another_s_words_stay_in_their_field(running: Running, http: httpx.AsyncClient) -> None:
    """SEC-83, SEC-28: line ends do not make a row, and a spreadsheet runs nothing."""
    evil = '=HYPERLINK("http://evil")\r\n{"seq": 1}'
    running.hub.store.audit.add(
        AuditRow(at=1, request_id="req_evil", door="rest", caller=evil, key_id="key_e", skill="keys-get", outcome="ok", target="+1")
    )
    [entry] = await page(http, requestId="req_evil")
    assert entry["actor"] == evil
    text = (await http.get(f"{LOG}/export", params={"requestId": "req_evil"})).text
    assert text.count("\n") == 1
    assert json.loads(text)["caller"] == evil
    sheet = (await http.get(f"{LOG}/export", params={"requestId": "req_evil", "format": "csv"})).content.decode()
    [row] = list(csv.DictReader(io.StringIO(sheet, newline="")))
    assert row["caller"] == f"'{evil}"
    assert row["target"] == "'+1"
    assert row["action"] == "keys.get"


async def test_a_third_party_can_check_an_export(running: Running, http: httpx.AsyncClient) -> None:
    """The digest of an anchor is made from the lines of an export alone, with no key; the chain hangs together line by line."""
    anchor = (await http.post(f"{LOG}/anchor")).json()["anchor"]
    answer = await http.get(f"{LOG}/export")
    assert answer.headers["content-type"] == "application/x-ndjson"
    digest, last, checked = "", "", False
    for number, text in enumerate(answer.content.splitlines(), 1):
        row = json.loads(text)
        assert (row["seq"], row["prev_hash"]) == (number, last)
        digest, last = hashlib.sha256(digest.encode() + text).hexdigest(), row["hash"]
        if number == anchor["seq"]:
            assert (digest, last) == (anchor["digest"], anchor["hash"])
            checked = True
    assert checked
    verdict = (await http.get(f"{LOG}/verify")).json()
    assert (verdict["ok"], verdict["reason"], verdict["brokenAt"]) == (True, "", None)
    assert verdict["newestAnchor"] == anchor
    again = (await http.post(f"{LOG}/anchor")).json()["anchor"]
    assert again["seq"] > anchor["seq"]


async def test_an_export_is_streamed_in_pieces(running: Running, http: httpx.AsyncClient) -> None:
    for number in range(2500):
        row = AuditRow(at=number, request_id=f"req_bulk_{number}", door="cli", caller="bulk", key_id="", skill="keys-get", outcome="ok")
        running.hub.store.audit.add(row)
    lines = (await http.get(f"{LOG}/export", params={"actor": "bulk"})).content.splitlines()
    assert [json.loads(one)["request_id"] for one in lines] == [f"req_bulk_{number}" for number in range(2500)]


async def test_names_of_the_seed(running: Running) -> None:
    """One table: what a row is called, which rows are called so, and rows that hold such a name themselves."""
    actions = Actions(running.hub.skills)

    def row(skill: str, outcome: str = "ok", code: str = "") -> AuditRow:
        return AuditRow(at=0, request_id="", door="", caller="", key_id="", skill=skill, outcome=outcome, error_code=code)

    assert actions.name(row("connections-create")) == "provider.credentials.created"
    assert actions.name(row("connections-create", "error", "address_refused")) == "provider.validation.ssrf_blocked"
    assert actions.name(row("keys-revoke")) == "keys.revoke"
    assert actions.name(row("auth.login.success")) == "auth.login.success"
    assert actions.name(row("auth-login")) == "auth.login.success"
    assert actions.name(row("auth-login", "denied", "login_failed")) == "auth.login.failed"
    assert actions.name(row("retention-sweep")) == "compliance.cleanup"
    assert actions.event(row("keys-create")) == "key.created"
    assert actions.event(row("keys-create", "error")) == ""
    running.hub.store.audit.add(row("auth.login.success"))
    running.hub.store.audit.add(row("connections-create", "error", "address_refused"))
    async with httpx.AsyncClient(base_url=running.url, headers=await running.headers("manage")) as http:
        for action in ("auth.login.success", "auth.*", "provider.validation.ssrf_blocked"):
            [entry] = await page(http, action=action)
            assert entry["action"].startswith(action.rstrip("*"))
        running.hub.store.audit.add(row("auth-login", "denied", "login_failed"))
        assert [one["skill"] for one in await page(http, action="auth.login.failed")] == ["auth-login"]
        assert len(await page(http, action="auth.*")) == 2
        assert all(one["action"] == "provider.credentials.created" for one in await page(http, action="provider.credentials.created"))


async def test_a_rolled_back_log_is_found_out(tmp_path: Path) -> None:
    """SEC-81: an older table is put back together with its head; the anchors outside of it tell."""
    async with running_hub(tmp_path) as running, httpx.AsyncClient(base_url=running.url, headers=await running.headers("manage")) as http:
        await http.post("/api/keys", json={"name": "one"})
        assert (await http.post(f"{LOG}/anchor")).json()["anchor"]
    database = tmp_path / "data" / "hubroute.db"
    old = database.read_bytes()
    async with running_hub(tmp_path) as running:
        headers = await running.headers("manage")
        async with httpx.AsyncClient(base_url=running.url, headers=headers) as http:
            for name in ("two", "three"):
                await http.post("/api/keys", json={"name": name})
    database.write_bytes(old)
    for left in ("hubroute.db-wal", "hubroute.db-shm"):
        (tmp_path / "data" / left).unlink(missing_ok=True)
    async with running_hub(tmp_path) as running, httpx.AsyncClient(base_url=running.url, headers=await running.headers("manage")) as http:
        assert [event.kind for event in running.hub.events.recent if event.kind.startswith("audit.")] == ["audit.broken"]
        verdict = (await http.get(f"{LOG}/verify")).json()
        assert verdict["ok"] is False
        assert verdict["brokenAt"] is None
        assert "an older state was put back" in verdict["reason"]
        assert (await http.post(f"{LOG}/anchor")).json() == {"anchor": None}
        assert (await http.post(f"{LOG}/reanchor")).json()["anchor"]["seq"] > 0
        assert (await http.get(f"{LOG}/verify")).json()["ok"] is True
    assert len(list((tmp_path / "data").glob("audit-anchors*.jsonl"))) == 2


async def test_a_log_that_was_written_anew_is_found_out(tmp_path: Path) -> None:
    """A row that was changed breaks the chain; the command line says where and fails."""
    async with running_hub(tmp_path) as running, httpx.AsyncClient(base_url=running.url, headers=await running.headers("manage")) as http:
        for name in ("one", "two", "three"):
            await http.post("/api/keys", json={"name": name})
        place = await page(http, action="keys.create")
    data = tmp_path / "data"
    done = hubroute(data, "audit", "verify")
    assert (done.returncode, "whole" in done.stdout) == (0, True), done.stderr
    with sqlite3.connect(data / "hubroute.db") as database:
        database.execute("UPDATE audit_log SET caller = 'somebody else' WHERE seq = ?", (place[1]["id"],))
    database.close()
    done = hubroute(data, "audit", "verify")
    assert done.returncode == 1
    assert f"row {place[1]['id']}" in done.stderr
