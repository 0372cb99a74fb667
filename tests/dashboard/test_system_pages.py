"""Pages of the system: webhooks, the audit log, backups, sync; their forms do what they say, and what is refused is said in the page."""

from __future__ import annotations

import html
import re
import sqlite3
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.dashboard.conftest import Dashboard, opened
from tests.dashboard.test_pages import csrf
from tests.dashboard.test_routing_pages import sent
from tests.fakes.hub import running_hub
from tests.fakes.receiver import Receiver, signed_by

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from playwright.async_api import Browser

pytestmark = pytest.mark.anyio
HOOKS, AUDIT, BACKUPS, SYNC = (f"/dashboard/{name}" for name in ("webhooks", "audit", "backups", "sync"))


@pytest.fixture(scope="module")
async def dashboard(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Dashboard]:
    """A hub that may push to loopback, and takes backups of a megabyte."""
    folder = tmp_path_factory.mktemp("system")
    async with running_hub(folder, allow_private=True, push_allowed_hosts="127.0.0.1", max_backup_mb=8) as running:
        _, token = await running.hub.login.sessions.begin(address="127.0.0.1", agent="tests")
        yield Dashboard(running, token)


def found(pattern: str, page: str) -> str:
    """What the group of a pattern takes of a page."""
    match = re.search(pattern, page)
    assert match is not None, pattern
    return match[1]


def shown(page: str, id_: str) -> str:
    """The text of a snippet."""
    return html.unescape(found(rf'<pre id="{id_}"[^>]*>([^<]+)</pre>', page))


async def brought(client: httpx.AsyncClient, data: bytes, *, status: int = 200, name: str = "hub.sqlite", **fields: str) -> str:
    """Send a file by the form of the backups' page, as a browser does; what the page says then."""
    page = (await client.get(BACKUPS)).text
    sent_by = {"origin": str(client.base_url).rstrip("/")}
    sending = {"csrf": csrf(page), "do": "import", **fields}
    answer = await client.post(BACKUPS, data=sending, files={"file": (name, data)}, headers=sent_by)
    assert answer.status_code == status, answer.text
    return answer.text


async def test_a_webhook_is_made_tested_switched_and_given_a_new_secret(dashboard: Dashboard) -> None:
    """SEC-22: the secret is shown once."""
    async with dashboard.client() as client, Receiver() as receiver:
        assert "A webhook tells a program of yours" in (await client.get(HOOKS)).text
        events: dict[str, Any] = {"event:key.*": "on", "event:quota.warning": "on", "events": "*.failed"}
        made = await sent(client, HOOKS, "create", status=200, url=receiver.hook, description="<i>pager</i>", enabled="on", **events)
        first = shown(made.text, "secret")
        page = (await client.get(HOOKS)).text
        assert first not in page
        assert "&lt;i&gt;pager" in page
        place = found(r'href="(/dashboard/webhooks/wh_[^"]+)"', page)
        hook = place.rsplit("/", 1)[1]
        assert (await dashboard.ask("webhooks-get", id=hook)).webhook.events == ["key.*", "quota.warning", "*.failed"]
        await sent(client, HOOKS, "test", id=hook)
        await receiver.received(1)
        assert signed_by(receiver.requests[0], first)
        assert "The receiver took the test: it answered 200." in (await client.get(HOOKS)).text
        rotated = await sent(client, place, "rotate", status=200)
        second = shown(rotated.text, "secret")
        assert second not in (await client.get(place)).text
        assert second != first
        await sent(client, place, "test")
        await receiver.received(2)
        assert signed_by(receiver.requests[1], second)
        own = "my-own-secret-of-enough-letters"
        await sent(client, place, "rotate", secret=own)
        assert own not in (await client.get(place)).text
        refused = await sent(client, place, "rotate", status=400, secret="short")
        assert 'role="alert"' in refused.text
        assert "short" not in re.findall(r'value="([^"]*)"', refused.text)
        await sent(client, HOOKS, "switch", id=hook, to="off")
        assert not (await dashboard.ask("webhooks-get", id=hook)).webhook.enabled
        await sent(client, place, "switch", to="on")
        assert (await dashboard.ask("webhooks-get", id=hook)).webhook.enabled
        await sent(client, place, "delete")
        assert (await client.get(place)).status_code == 404


async def test_what_a_webhook_was_sent_is_seen_and_sent_again(dashboard: Dashboard) -> None:
    async with dashboard.client() as client, Receiver() as receiver:
        everything: dict[str, Any] = {"event:*": "on"}
        await sent(client, HOOKS, "create", status=200, url=receiver.hook, enabled="on", **everything)
        hook = (await dashboard.ask("webhooks-list")).webhooks[-1].id
        place = f"{HOOKS}/{hook}"
        assert "send a test to see how it looks" in (await client.get(place)).text
        await sent(client, place, "test")
        await receiver.received(1)
        page = (await client.get(place)).text
        assert "test.ping" in page
        assert "Message and tries" in page
        delivery = found(r'name="delivery" value="([^"]+)"', page)
        await sent(client, place, "replay", delivery=delivery)
        await receiver.received(2)
        assert len({one.headers["webhook-id"] for one in receiver.requests}) == 1
        assert "No delivery fits." in (await client.get(place, params={"state": "cancelled"})).text
        assert "test.ping</td>" in (await client.get(place, params={"state": "no such", "event": "test.ping"})).text
        await sent(client, place, "replay", status=404, delivery="no-such")
        await sent(client, place, "change", url=receiver.hook, description="", enabled="on", events="budget.*\nmcp.tool.*")
        page = (await client.get(place)).text
        assert re.search(r'name="event:budget\.\*" value="on" checked', page)
        assert ">mcp.tool.*</textarea>" in page
        assert (await dashboard.ask("webhooks-get", id=hook)).webhook.events == ["budget.*", "mcp.tool.*"]
        refused = await sent(client, place, "change", status=400, url=receiver.hook, events="no.such.event")
        assert "there is no event no.such.event" in refused.text
        assert 'class="all wrong"' in refused.text
        await sent(client, place, "delete")


async def test_a_webhook_that_cannot_be_is_refused_and_keeps_what_was_typed(dashboard: Dashboard) -> None:
    async with dashboard.client() as client:
        fields: dict[str, Any] = {
            "url": "ftp://nowhere",
            "secret": "a-secret-that-was-typed",
            "description": "mine",
            "event:key.created": "on",
        }
        refused = (await sent(client, HOOKS, "create", status=400, **fields)).text
        assert 'class="field wrong"' in refused
        assert 'value="mine"' in refused
        assert "a-secret-that-was-typed" not in refused
        assert re.search(r'name="event:key.created" value="on" checked', refused)
        assert not re.search(r'name="event:\*" value="on" checked', refused)
        nothing = (await sent(client, HOOKS, "create", status=400, url="https://hooks.example.com/x")).text
        assert 'class="all wrong"' in nothing
        assert not (await dashboard.ask("webhooks-list")).webhooks


async def test_a_test_that_does_not_arrive_is_bad_news(dashboard: Dashboard) -> None:
    async with dashboard.client() as client:
        hook = (await dashboard.ask("webhooks-create", url="http://127.0.0.1:9/gone")).webhook.id
        await sent(client, HOOKS, "test", id=hook)
        assert re.search(r'class="note bad" role="status">The test did not arrive', (await client.get(HOOKS)).text)
        await dashboard.ask("webhooks-delete", id=hook)


async def test_the_audit_log_is_filtered_exported_and_walked(dashboard: Dashboard) -> None:
    """SEC-80, SEC-81."""
    key = await dashboard.ask("keys-create", name="audited <b>", scopes=["chat"])
    async with dashboard.client() as client:
        page = (await client.get(AUDIT)).text
        assert re.search(r"All [0-9]+ rows hang together", page)
        some = (await client.get(AUDIT, params={"action": "keys.*", "target": key.id, "status": "success"})).text
        assert key.id in some
        assert "backup.list" not in some
        assert "audited &lt;b&gt;" in some
        export = html.unescape(found(r'href="(/api/compliance/audit-log/export[^"]+jsonl)"', some))
        lines = (await client.get(export)).text.splitlines()
        assert len(lines) == 1
        assert "keys-create" in lines[0]
        changes = page.partition("<table")[2]
        assert "keys.create" in changes
        assert "audit.log" not in changes
        assert "audit.log" in (await client.get(AUDIT, params={"changes": "false"})).text.partition("<table")[2]
        assert "No row fits" in (await client.get(AUDIT, params={"actor": "nobody of this name"})).text
        wrong = await client.get(AUDIT, params={"from": "yesterday", "actor": "owner"})
        assert wrong.status_code == 200
        assert 'role="alert"' in wrong.text
        assert 'value="yesterday"' in wrong.text
        assert "no-such-status" not in (await client.get(AUDIT, params={"status": "no-such-status"})).text.partition("<table")[2]
        walked = await sent(client, AUDIT, "verify", status=200)
        assert "rows hang together" in walked.text
        await sent(client, AUDIT, "anchor")
        assert "The log is anchored up to row" in (await client.get(AUDIT)).text
        assert "digest of the export up to it" in (await sent(client, AUDIT, "verify", status=200)).text


async def test_a_long_audit_log_has_pages(dashboard: Dashboard) -> None:
    for _ in range(101):
        await dashboard.ask("keys-list")
    async with dashboard.client() as client:
        first = (await client.get(AUDIT, params={"action": "keys.list"})).text
        later = html.unescape(found(r'rel="next" href="([^"]+)"', first))
        assert "action=keys.list" in later
        second = (await client.get(AUDIT + later)).text
        assert 'rel="prev"' in second
        assert (await client.get(AUDIT, params={"offset": "999999999"})).status_code == 200


async def test_an_audit_log_that_was_changed_is_said_and_can_be_anchored_anew(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as running:
        _, token = await running.hub.login.sessions.begin(address="127.0.0.1", agent="tests")
        own = Dashboard(running, token)
        await own.ask("keys-create", name="one", scopes=["chat"])
        async with own.client() as client:
            await client.get(AUDIT)
            await running.hub.store.flush()
            with sqlite3.connect(running.hub.settings.data_dir / "hubroute.db") as database:
                database.execute("UPDATE audit_log SET skill = 'keys-list' WHERE seq = 1")
            page = (await client.get(AUDIT)).text
            assert "The log is not what it was" in page
            assert "Begin new anchors" in page
            await sent(client, AUDIT, "reanchor")


async def test_a_backup_is_made_looked_at_restored_and_deleted(dashboard: Dashboard) -> None:
    async with dashboard.client() as client:
        assert "A backup is one file" in (await client.get(BACKUPS)).text
        await sent(client, BACKUPS, "create")
        page = (await client.get(BACKUPS)).text
        assert "by hand" in page
        place = found(r'href="(/dashboard/backups/[^"]+)"', page)
        backup = place.rsplit("/", 1)[1]
        file = await client.get("/api/db-backups/export", params={"backupId": backup})
        assert file.content.startswith(b"SQLite format 3")
        one = (await client.get(place)).text
        assert "Comes back" in one
        assert "Goes on" in one
        later = await dashboard.ask("keys-create", name="made later", scopes=["chat"])
        done = await sent(client, BACKUPS, "restore", status=200, id=backup)
        assert "The backup is restored" in done.text
        assert later.id not in {one.id for one in (await dashboard.ask("keys-list")).keys}
        before = found(r'href="(/dashboard/backups/[^"]+)">another backup', done.text)
        assert "before a restore" in (await client.get(before)).text
        await sent(client, BACKUPS, "restore", status=404, id="no-such")
        await sent(client, place, "delete")
        assert (await client.get(place)).status_code == 404
        await sent(client, before, "delete")


async def test_the_clock_of_backups_is_set(dashboard: Dashboard) -> None:
    async with dashboard.client() as client:
        fields: dict[str, Any] = {"backupSchedule.everyHours": "6", "backupSchedule.keep": "7"}
        await sent(client, BACKUPS, "schedule", **fields)
        assert (await dashboard.ask("settings-get")).preferences.backup_schedule.every_hours == 6
        await sent(client, BACKUPS, "schedule", **fields)
        assert "Nothing was changed." in (await client.get(BACKUPS)).text
        refused = await sent(client, BACKUPS, "schedule", status=400, **{**fields, "backupSchedule.everyHours": "-1"})
        assert 'role="alert"' in refused.text


async def test_a_file_is_brought_by_a_plain_form(dashboard: Dashboard) -> None:
    async with dashboard.client() as client:
        file = (await client.get("/api/db-backups/export")).content
        later = await dashboard.ask("keys-create", name="after the file", scopes=["chat"])
        page = await brought(client, file, name="<b>old</b>.sqlite")
        assert "b&gt;.sqlite is in place" in page
        assert later.id not in {one.id for one in (await dashboard.ask("keys-list")).keys}
        kept = [one for one in (await dashboard.ask("backup-list")).backups if one.reason == "before-import"]
        assert len(kept) == 1
        spool = dashboard.running.hub.spool.folder
        assert not spool.is_dir() or not list(spool.iterdir())


@pytest.mark.parametrize(
    ("data", "status", "said"),
    [
        (b"no database at all", 400, 'role="alert"'),
        (b"", 400, 'role="alert"'),
        (b"x" * 9 * 2**20, 413, "HUBROUTE_MAX_BACKUP_MB raises it"),
    ],
)
async def test_a_file_that_is_no_backup_is_refused_in_the_page(dashboard: Dashboard, data: bytes, status: int, said: str) -> None:
    """REL-08: the limit holds while it comes."""
    async with dashboard.client() as client:
        page = await brought(client, data, status=status)
        assert said in page
        assert "Import a file" in page


async def test_a_form_without_a_file_says_so(dashboard: Dashboard) -> None:
    async with dashboard.client() as client:
        assert "choose a file first" in await brought(client, b"", status=400, name="")
        assert "choose a file first" in (await sent(client, BACKUPS, "import", status=400)).text


async def test_a_file_that_no_page_of_this_hub_sends_is_refused(dashboard: Dashboard) -> None:
    """SEC-08: without the browser's word, from another origin, and without the form's token."""
    async with dashboard.client() as client:
        token = csrf((await client.get(BACKUPS)).text)
        own = {"origin": dashboard.url}
        tries: list[tuple[dict[str, str], dict[str, str]]] = [
            ({}, {"csrf": token}),
            ({"origin": "https://evil.example"}, {"csrf": token}),
            ({**own, "sec-fetch-site": "cross-site"}, {"csrf": token}),
            (own, {"csrf": "x" * 43}),
            (own, {}),
        ]
        for headers, fields in tries:
            files: Any = {"file": ("a.sqlite", b"SQLite format 3\0")}
            answer = await client.post(BACKUPS, data={**fields, "do": "import"}, files=files, headers=headers)
            assert answer.status_code == 403, (headers, fields)
        # Pages without files take no such form.
        answer = await client.post(SYNC, data={"csrf": token, "do": "verify"}, files={"file": ("a", b"b")}, headers=own)
        assert answer.status_code == 400


async def test_two_hubs_sync_by_their_pages(dashboard: Dashboard, tmp_path: Path) -> None:
    async with running_hub(tmp_path) as there, dashboard.client() as client:
        _, token = await there.hub.login.sessions.begin(address="127.0.0.1", agent="tests")
        other = Dashboard(there, token)
        await other.ask("combos-create", name="from there", strategy="priority", models=["openai/gpt-4o"])
        async with other.client() as far:
            refused = await sent(far, SYNC, "create", status=400, name="laptop", recipient="no key")
            assert 'class="field wrong"' in refused.text
            made = await sent(far, SYNC, "create", status=200, name="laptop", expiresInDays="30")
            secret = shown(made.text, "token")
            assert secret not in (await far.get(SYNC)).text
            wrong = await sent(client, SYNC, "enable", status=400, url="http://hub.example.com", token=secret, intervalMinutes="0")
            assert 'role="alert"' in wrong.text
            assert secret not in wrong.text
            named = await sent(client, SYNC, "enable", status=200, url=there.url, token=secret, intervalMinutes="0")
            assert "combo from there" in named.text
            assert "lets this hub only take" in named.text
            page = (await client.get(SYNC)).text
            assert "only when you say so" in page
            assert secret not in page
            await other.ask("combos-create", name="second there", strategy="priority", models=["openai/gpt-4o"])
            planned = await sent(client, SYNC, "plan", status=200)
            assert "What a sync would do" in planned.text
            assert "combo second there" in planned.text
            assert "second there" not in [one.name for one in (await dashboard.ask("combos-list")).combos]
            done = await sent(client, SYNC, "sync", status=200)
            assert "What was done" in done.text
            assert "second there" in [one.name for one in (await dashboard.ask("combos-list")).combos]
            await sent(client, SYNC, "verify")
            assert "without credentials" in (await client.get(SYNC)).text
            token_id = found(r'name="id" value="([^"]+)"', (await far.get(SYNC)).text)
            await sent(far, SYNC, "revoke", id=token_id)
            assert "No hub has a token yet." in (await far.get(SYNC)).text
            failed = await sent(client, SYNC, "sync", status=502)
            assert 'role="alert"' in failed.text
            await sent(client, SYNC, "disable")
            assert "Two hubs of yours" in (await client.get(SYNC)).text


async def test_a_file_is_brought_in_a_browser_without_scripts(browser: Browser, dashboard: Dashboard, tmp_path: Path) -> None:
    """The browser's own form, with its Origin; one that is too large is refused in the page as well."""
    async with dashboard.client() as client:
        (tmp_path / "kept.sqlite").write_bytes((await client.get("/api/db-backups/export")).content)
    (tmp_path / "large.sqlite").write_bytes(b"x" * 9 * 2**20)
    async with opened(browser, dashboard, java_script_enabled=False) as watched:
        page = watched.page
        for name, words in (("kept.sqlite", "kept.sqlite is in place"), ("large.sqlite", "HUBROUTE_MAX_BACKUP_MB raises it")):
            await page.goto(BACKUPS)
            await page.get_by_role("button", name="Import a file").click()
            await page.get_by_label("Backup of a hub").set_input_files(tmp_path / name)
            await page.get_by_role("button", name="Yes, import it").click()
            await page.get_by_text(words).wait_for()
        watched.faults.clear()  # the browser tells of the status 413, too
