"""Two hubs as the compose file runs them, on one PostgreSQL and one folder: what any of them can answer, and what only one can."""

from __future__ import annotations

import re
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.fakes.command import answer, serving
from tests.fakes.database import postgres_database
from tests.fakes.mcp import ACCEPT, LEGACY, STREAM, modern

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

PASSWORD = "correct horse battery"


def legacy(method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


async def test_what_every_hub_can_answer_and_what_one_alone(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with postgres_database() as database, ExitStack() as stack:
        env = {"HUBROUTE_DATABASE_URL": database, "HUBROUTE_INITIAL_PASSWORD": PASSWORD}
        key = answer(data, "keys", "create", "first", "--scopes", "owner", **env)["key"]
        hubs = [stack.enter_context(serving(data, **env)) for _ in range(2)]
        urls = [re.search(r"listens on (http\S+)", hub.words)[1] for hub in hubs]  # type: ignore[index]
        assert urls[0] != urls[1]
        async with (
            httpx.AsyncClient(base_url=urls[0], timeout=60, headers={"authorization": f"Bearer {key}"}) as one,
            httpx.AsyncClient(base_url=urls[1], timeout=60, headers={"authorization": f"Bearer {key}"}) as two,
            httpx.AsyncClient(base_url=urls[0], timeout=60) as browser,
        ):
            kept = await one.post("/v1/files", files={"file": ("a.jsonl", b'{"a": 1}\n')}, data={"purpose": "batch"})
            assert (await two.get(f"/v1/files/{kept.json()['id']}/content")).content == b'{"a": 1}\n', "one folder"
            connected = {"provider": "openai", "name": "main", "apiKey": "sk-of-the-first"}
            assert (await one.post("/api/providers", json=connected)).status_code == 201
            assert (await browser.post("/api/auth/login", json={"password": PASSWORD})).status_code == 200
            assert [(await browser.get(f"{url}/")).status_code for url in urls] == [200, 200], "one session for all"
            body, headers = modern("tools/call", {"name": "omniroute_get_health", "arguments": {}})
            assert [(await hub.post(STREAM, json=body, headers=headers)).status_code for hub in (one, two)] == [200, 200]
            # Sessions of older revisions live in the process that began them: the proxy has to know.
            ask = legacy("initialize", protocolVersion=LEGACY, capabilities={}, clientInfo={"name": "x", "version": "1"})
            begun = await one.post(STREAM, json=ask, headers=ACCEPT)
            session = {**ACCEPT, "mcp-session-id": begun.headers["mcp-session-id"], "mcp-protocol-version": LEGACY}
            asked = [(await hub.post(STREAM, json=legacy("tools/list"), headers=session)).status_code for hub in (one, two)]
            assert asked == [200, 404]
        assert [hub.stop() for hub in hubs] == [0, 0]
