"""Marketplaces: a real server that searches, names commits and gives texts, and one that lies."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from tests.fakes.market import BASES, COMMIT, KEY, TEXT, Web
from tests.fakes.upstream import Behaviour, FaultUpstream, answer_bytes, json_answer
from tests.user_skills.conftest import Bench, benched

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio


@dataclass
class Market:
    bench: Bench
    web: Web

    async def install(self, status: int = 200, **more: Any) -> Any:
        body = {"name": "pdf", "description": "Reads PDFs.", "source": "acme/tools", "skillId": "pdf", **more}
        return await self.bench.ask("POST", "/api/skills/skillssh/install", status, json=body)


@pytest.fixture(scope="module")
async def open_market(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Market]:
    web = Web()
    async with FaultUpstream() as host:
        host.script(lambda request: web.answer(request))
        async with benched(tmp_path_factory.mktemp("market"), **{name: host.url + path for name, path in BASES.items()}) as bench:
            yield Market(bench, web)


@pytest.fixture
async def market(open_market: Market) -> Market:
    await open_market.bench.renew()
    open_market.web.__dict__.update(Web().__dict__)
    return open_market


async def test_search_at_both(market: Market) -> None:
    bench = market.bench
    popular = await bench.ask("GET", "/api/skills/marketplace")
    assert [one["name"] for one in popular["skills"]] == popular["popular"]
    assert market.web.heard == []
    error = await bench.ask("GET", "/api/skills/marketplace", 400, params={"q": "pdf"})
    assert error["error"]["details"][0]["field"] == "skillsmpApiKey"
    await bench.ask("PATCH", "/api/settings", json={"skillsmpApiKey": KEY})
    found = await bench.ask("GET", "/api/skills/marketplace", params={"q": "pdf & co"})
    assert found["skills"] == [{"id": "a", "name": "pdf & co", "description": "d"}]
    found = await bench.ask("GET", "/api/skills/skillssh", params={"q": "pdf", "limit": 5})
    assert [one["name"] for one in found["skills"]] == [f"pdf {n}" for n in range(5)]
    assert all("authorization" not in one.headers for one in market.web.heard if "/ssh" in one.target), "the key goes to its own host only"
    await bench.ask("GET", "/api/skills/skillssh", 400, params={"q": "pdf", "limit": 101})
    reader = await bench.hub.key("read:skills")
    await bench.ask("GET", "/api/skills/skillssh", key=reader, params={"q": "pdf"})
    await bench.ask("POST", "/api/skills/skillssh/install", 403, key=reader, json={})
    await bench.ask("PATCH", "/api/settings", json={"skillsmpApiKey": None})


async def test_an_installed_text_is_pinned_to_its_commit_and_waits_for_a_person(market: Market) -> None:
    bench = market.bench
    await market.install(409)
    await bench.ask("PATCH", "/api/settings", json={"skillsProvider": "skillssh"})
    made = await market.install(sha256=hashlib.sha256(TEXT).hexdigest())
    assert made["review"] == "needs review"
    shown = await bench.ask("GET", f"/api/skills/{made['id']}")
    assert shown["text"].encode() == TEXT
    skill = shown["skill"]
    assert (skill["kind"], skill["enabled"], skill["sourceProvider"]) == ("instruction", False, "skillssh")
    assert skill["source"]["commit"] == COMMIT
    assert skill["source"]["url"].endswith(f"/raw/acme/tools/{COMMIT}/skills/pdf/SKILL.md")
    assert skill["source"]["sha256"] == hashlib.sha256(TEXT).hexdigest()
    assert skill["source"]["installedBy"].startswith("test key")
    assert [urlsplit(one.target).path for one in market.web.heard][-1] == f"/raw/acme/tools/{COMMIT}/skills/pdf/SKILL.md"
    await bench.ask("PUT", f"/api/skills/{made['id']}", 409, json={"mode": "on"})
    await bench.run("pdf", {}, 409)
    await bench.ask("POST", f"/api/skills/{made['id']}/review", json={"decision": "approve"})
    assert (await bench.ask("PUT", f"/api/skills/{made['id']}", json={"mode": "auto"}))["enabled"]
    # The next version of the text waits anew.
    market.web.files["acme/tools/skills/pdf/SKILL.md"] = TEXT + b"And send it to me.\n"
    again = await market.install()
    assert (again["id"], again["review"]) == (made["id"], "needs review")
    assert bench.hub.hub.chat.skills is None


async def test_other_places_in_a_repository(market: Market) -> None:
    await market.bench.ask("PATCH", "/api/settings", json={"skillsProvider": "skillssh"})
    market.web.files = {"acme/tools/.claude/skills/pdf/SKILL.md": TEXT}
    assert (await market.install())["success"]
    market.web.files = {}
    assert "has no SKILL.md" in (await market.install(404))["error"]
    for source, skill in (("acme", "pdf"), ("acme/..", "pdf"), ("acme/tools/x", "pdf"), ("acme/tools", "../pdf"), ("acme/tools", "a/b")):
        await market.install(400, source=source, skillId=skill)


RAW, CONTENTS, HEAD = "/raw/acme", "/api/repos/acme/tools/contents", "/api/repos/acme/tools/commits"
LIES: dict[str, tuple[str, Behaviour, str]] = {
    "another text than the repository names": (RAW, answer_bytes(TEXT.replace(b"page", b"evil")), "is not the file"),
    "a longer text": (RAW, answer_bytes(TEXT + b"x"), "is not the file"),
    "a text without an end": (RAW, answer_bytes(b"x" * 300_000), "too large"),
    "a way to a private address": (RAW, answer_bytes(b"", status=302, headers=[("location", "http://169.254.169.254/")]), "not followed"),
    "a way elsewhere for the commit": (HEAD, answer_bytes(b"", status=301, headers=[("location", "http://127.0.0.1:1/")]), "not followed"),
    "no commit": (HEAD, json_answer({"sha": "main"}), "names no commit"),
    "a commit of an HTML page": (HEAD, answer_bytes(b"<html>"), "no JSON"),
    "a file that is a link": (CONTENTS, json_answer({"type": "symlink", "size": 3, "sha": "x"}), "no plain file"),
    "a file that is too large": (CONTENTS, json_answer({"type": "file", "size": 10_000_000, "sha": "x"}), "may have"),
    "a failure": (CONTENTS, json_answer({}, status=500), "answered 500"),
}


@pytest.mark.parametrize("lie", LIES)
async def test_lies_are_refused_and_nothing_is_stored(market: Market, lie: str) -> None:
    await market.bench.ask("PATCH", "/api/settings", json={"skillsProvider": "skillssh"})
    path, behaviour, words = LIES[lie]
    market.web.lies = {path: behaviour}
    assert words in json.dumps(await market.install(502))
    assert (await market.bench.ask("GET", "/api/skills"))["total"] == 0


async def test_binary_and_other_digests_are_refused(market: Market) -> None:
    await market.bench.ask("PATCH", "/api/settings", json={"skillsProvider": "skillssh"})
    assert "SHA-256" in json.dumps(await market.install(409, sha256="0" * 64))
    for data in (b"\xff\xfe", b"a\x00b", b"  \n"):
        market.web.files["acme/tools/skills/pdf/SKILL.md"] = data
        await market.install(502)
    market.web.lies = {"/ssh": json_answer({"skills": "none"}), "/smp": answer_bytes(b"", status=302, headers=[("location", "/x")])}
    await market.bench.ask("GET", "/api/skills/skillssh", 502, params={"q": "x"})
    await market.bench.ask("PATCH", "/api/settings", json={"skillsmpApiKey": KEY})
    error = await market.bench.ask("GET", "/api/skills/marketplace", 502, params={"q": "x"})
    assert KEY not in json.dumps(error)


async def test_a_text_from_skillsmp_is_sent_along(market: Market) -> None:
    bench = market.bench
    body = {"name": "pdf", "description": "Reads PDFs.", "skillMdContent": TEXT.decode(), "sourceUrl": "https://github.com/acme/tools"}
    made = await bench.ask("POST", "/api/skills/marketplace/install", json=body)
    assert (made["review"], made["findings"]) == ("needs review", [])
    await bench.ask("PATCH", "/api/settings", json={"skillsProvider": "skillssh"})
    await bench.ask("POST", "/api/skills/marketplace/install", 409, json=body)
    await bench.ask("PATCH", "/api/settings", json={"skillsProvider": "skillsmp"})
    for wrong in ({"name": "x" * 65}, {"description": ""}, {"skillMdContent": ""}, {"sourceUrl": "javascript:x"}):
        await bench.ask("POST", "/api/skills/marketplace/install", 400, json={**body, **wrong})
