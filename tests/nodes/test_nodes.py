"""Provider nodes: an endpoint of the owner's own is a provider like any other, at every door and on both databases."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.fakes.hub import running_hub
from tests.fakes.upstream import FaultUpstream, html, json_answer, reset_before_head
from tests.nodes.conftest import KEY, NODE, PICTURE, Lab, open_lab, own_server

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio


async def test_the_wire_of_a_node(lab: Lab) -> None:
    """openapi.yaml: provider-nodes, field by field."""
    assert await lab.ok("GET", "/api/provider-nodes") == {
        "nodes": [],
        "ccCompatibleProviderEnabled": False,
        "types": {
            "openai-compatible": ["chat", "responses", "embeddings", "audio-transcriptions", "audio-speech", "images-generations"],
            "anthropic-compatible": [],
            "gemini-compatible": [],
            "ollama-compatible": [],
        },
    }
    one = await lab.node()
    assert one["id"].startswith("openai-compatible-")
    assert {name: one[name] for name in ("type", "name", "prefix", "apiType", "chatPath", "modelsPath")} == {
        "type": "openai-compatible", "name": "My lab", "prefix": "lab", "apiType": "chat", "chatPath": None, "modelsPath": None,
    }  # fmt: skip
    assert one["createdAt"] == one["updatedAt"]
    change = {"name": "Lab 2", "prefix": "lab2", "baseUrl": "https://own.example/v1/", "chatPath": "/talk"}
    changed = (await lab.ok("PUT", f"/api/provider-nodes/{one['id']}", json=change))["node"]
    assert (changed["id"], changed["baseUrl"], changed["chatPath"], changed["apiType"]) == (
        one["id"],
        "https://own.example/v1",
        "/talk",
        "chat",
    )
    assert (await lab.ok("GET", "/api/provider-nodes"))["nodes"] == [changed]
    assert await lab.ok("DELETE", f"/api/provider-nodes/{one['id']}") == {"success": True, "connections": [], "usedBy": []}
    for method, body in (("PUT", change), ("DELETE", None)):
        await lab.ok(method, f"/api/provider-nodes/{one['id']}", 404, json=body)
    bare = await lab.node(baseUrl=None, prefix="bare")
    assert bare["baseUrl"] == ""
    refused = await lab.client.post("/api/providers", json={"provider": bare["id"], "name": "x", "apiKey": "k"})
    assert (refused.status_code, "base URL" in refused.text) == (400, True)


IMPOSSIBLE: list[tuple[dict[str, Any], str]] = [
    ({"name": ""}, "name"),
    ({"prefix": ""}, "prefix"),
    ({"prefix": "a/b"}, "prefix"),
    ({"apiType": None}, "apiType"),
    ({"apiType": "video"}, "apiType"),
    ({"type": "anthropic-compatible"}, "apiType"),
    ({"type": "openai"}, "type"),
    ({"baseUrl": "ftp://x.example"}, "baseUrl"),
    ({"baseUrl": "https://user:pass@x.example"}, "baseUrl"),
    ({"baseUrl": "https://x.example/v1?key=1"}, "baseUrl"),
    ({"chatPath": "chat"}, "chatPath"),
    ({"chatPath": "/../admin"}, "chatPath"),
    ({"modelsPath": "//evil.example"}, "modelsPath"),
    ({"compatMode": "cc"}, "compatMode"),
    ({"surprise": 1}, "surprise"),
]


async def test_a_node_that_could_never_work_is_not_stored(lab: Lab) -> None:
    for fields, field in IMPOSSIBLE:
        body = {**NODE, "baseUrl": "https://own.example/v1", **fields}
        answer = await lab.client.post("/api/provider-nodes", json={name: value for name, value in body.items() if value is not None})
        assert (answer.status_code, field in answer.text) == (400, True), (fields, answer.text)
    assert (await lab.ok("GET", "/api/provider-nodes"))["nodes"] == []


async def test_a_prefix_is_nobody_else_s(lab: Lab) -> None:
    """endpoints.md: a prefix of another node, a provider's id or alias, an alias of a model, a connection's prefix."""
    await lab.node()
    await lab.ok("PUT", "/api/models/alias", json={"model": "openai/gpt-5.4", "alias": "quick"})
    await lab.connect("openai-compatible", baseUrl="https://own.example/v1", providerSpecificData={"prefix": "den"})
    second = await lab.node(prefix="second")
    for taken in ("lab", "LAB", "openai", "cc", "quick", "den", "auto", "combo", second["id"]):
        answer = await lab.client.post("/api/provider-nodes", json={**NODE, "prefix": taken})
        assert (answer.status_code, "prefix" in answer.text) == (409 if len(taken) < 65 else 400, True), answer.text
    taken = {"name": "x", "prefix": "lab", "baseUrl": "https://own.example"}
    assert (await lab.client.put(f"/api/provider-nodes/{second['id']}", json=taken)).status_code == 409
    data = {"provider": "openai-compatible", "name": "x", "baseUrl": "https://a.example", "providerSpecificData": {"prefix": "lab"}}
    assert (await lab.client.post("/api/providers", json=data)).status_code == 400


async def test_who_may(lab: Lab) -> None:
    """SEC-01: no key, and a key without the right."""
    reader = await lab.running.headers("read:models")
    for path in ("/api/provider-nodes", "/api/provider-models"):
        async with httpx.AsyncClient(base_url=lab.running.url) as nobody:
            assert (await nobody.get(path)).status_code == 401
            assert (await nobody.get(path, headers=reader)).status_code == 403
            assert (await nobody.post(path, headers=reader, json=NODE)).status_code == 403


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
async def test_from_a_node_to_answers(tmp_path: Path, database: str, request: pytest.FixtureRequest) -> None:
    """Node, connection, chats, streams, embeddings, pictures, lists, alias, combo, decision, deletion; it outlives a restart."""
    settings = {"database_url": request.getfixturevalue("postgres_url")} if database == "postgresql" else {}
    async with AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(FaultUpstream())
        upstream.script(own_server)
        async with open_lab(tmp_path, upstream, **settings) as made:
            node = await made.node()
            assert "lab/owl-1" not in await made.listed()
            connection = await made.connect(node["id"], models=["owl-1"])
            assert connection["providerSpecificData"] == {
                "prefix": "lab", "apiType": "chat", "nodeName": "My lab", "baseUrl": f"{upstream.url}/v1",
            }  # fmt: skip
            await _answers(made, node)
        async with open_lab(tmp_path, upstream, **settings) as made:
            assert (await made.chat("lab/owl-1")).status_code == 200
            await _deleted(made, node)


async def _answers(lab: Lab, node: dict[str, Any]) -> None:
    answer = await lab.chat("lab/owl-1")
    assert answer.json()["choices"][0]["message"]["content"] == "Hello from the node"
    assert (answer.headers["x-omniroute-provider"], lab.last().target) == (node["id"], "/v1/chat/completions")
    assert (lab.last().json()["model"], lab.last().headers["authorization"]) == ("owl-1", f"Bearer {KEY}")
    assert (await lab.chat(f"{node['id']}/owl-1")).status_code == 200
    assert (await lab.chat("owl-1")).status_code == 200, "a bare name: only this connection has it"
    streamed = await lab.chat("lab/owl-9", stream=True)
    assert " node" in streamed.text
    assert streamed.text.rstrip().endswith("[DONE]")
    claude = {"model": "lab/owl-1", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
    assert (await lab.ok("POST", "/v1/messages", json=claude))["content"][0]["text"] == "Hello from the node"
    pinned = await lab.client.post("/v1/providers/lab/chat/completions", json={"model": "owl-1", "messages": claude["messages"]})
    assert pinned.status_code == 200, pinned.text
    vectors = await lab.ok("POST", "/v1/embeddings", json={"model": "lab/e", "input": "x"})
    assert vectors["data"][0]["embedding"] == [0.5, 0.25]
    pictures = await lab.ok("POST", "/v1/images/generations", json={"model": "lab/p", "prompt": "a cat"})
    assert (pictures["data"][0]["b64_json"], lab.last().target) == (PICTURE, "/v1/images/generations")
    assert "lab/owl-1" in await lab.listed()
    ours = await lab.client.get("/v1/providers/lab/models")
    assert [one["id"] for one in ours.json()["data"]] == ["lab/owl-1"]
    await lab.ok("PUT", "/api/models/alias", json={"model": "lab/owl-1", "alias": "bird"})
    assert (await lab.chat("bird")).status_code == 200
    await lab.ok("POST", "/api/combos", 201, json={"name": "birds", "models": ["lab/owl-1"]})
    assert (await lab.chat("birds")).status_code == 200
    await lab.ok("PATCH", "/api/pricing", json={node["id"]: {"owl-1": {"input": 1, "output": 2}}})
    priced = await lab.chat("lab/owl-1")
    assert float(priced.headers["x-omniroute-response-cost"]) == pytest.approx((100 * 1 + 20 * 2) / 1e6)
    assert (await lab.chat("auto")).status_code == 200
    known = (await lab.ok("GET", "/api/providers/catalog"))["providers"]
    assert next(row for row in known if row["id"] == node["id"])["connections"] == 1


async def _deleted(lab: Lab, node: dict[str, Any]) -> None:
    refused = await lab.client.delete(f"/api/provider-nodes/{node['id']}")
    assert refused.status_code == 409
    assert "combo 'birds'" in refused.text
    assert "alias 'bird'" in refused.text
    moved = {"name": "x", "prefix": "other", "baseUrl": "https://own.example"}
    assert (await lab.client.put(f"/api/provider-nodes/{node['id']}", json=moved)).status_code == 409
    await lab.ok("POST", "/api/provider-models", 201, json={"provider": "lab", "modelId": "own-1"})
    gone = await lab.ok("DELETE", f"/api/provider-nodes/{node['id']}?force=true")
    assert (gone["success"], len(gone["connections"]), len(gone["usedBy"])) == (True, 1, 2)
    assert (await lab.ok("GET", "/api/providers"))["connections"] == []
    assert await lab.ok("GET", "/api/provider-models") == {"models": {}, "modelCompatOverrides": []}
    assert node["id"] not in lab.running.hub.pricebook.set_by_hand()
    assert not [one for one in await lab.listed() if "owl" in one]
    assert (await lab.chat("birds")).headers.get("x-omniroute-provider") != node["id"]


async def test_another_process_sees_a_node_within_a_second(tmp_path: Path, postgres_url: str) -> None:
    """D24."""
    async with AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(FaultUpstream())
        upstream.script(own_server)
        labs: list[Lab] = []
        for name in ("one", "two"):
            running = await stack.enter_async_context(running_hub(tmp_path / name, database_url=postgres_url, master_key="A" * 43 + "="))
            headers = await running.headers()
            client = await stack.enter_async_context(httpx.AsyncClient(base_url=running.url, headers=headers, timeout=20))
            labs.append(Lab(running, client, upstream))
        here, there = labs
        node = await here.node()
        await here.connect(node["id"])
        async with asyncio.timeout(1.5):
            while (await there.chat("lab/owl-1")).headers.get("x-omniroute-provider") != node["id"]:
                await asyncio.sleep(0.05)
        change = {"name": "x", "prefix": "lab", "baseUrl": f"{upstream.url}/v2"}
        await here.ok("PUT", f"/api/provider-nodes/{node['id']}", json=change)
        async with asyncio.timeout(1.5):
            while there.last().target != "/v2/chat/completions":
                assert (await there.chat("lab/owl-1")).status_code == 200
                await asyncio.sleep(0.05)
        await here.ok("DELETE", f"/api/provider-nodes/{node['id']}")
        async with asyncio.timeout(1.5):
            while (await there.ok("GET", "/api/provider-nodes"))["nodes"] or (await there.ok("GET", "/api/providers"))["connections"]:
                await asyncio.sleep(0.05)


async def test_a_change_of_a_node_holds_for_its_connections_at_once(lab: Lab) -> None:
    node = await lab.node()
    shown = (await lab.connect(node["id"], name="follows"))["providerSpecificData"]
    # What a client read it sends back: it is the node's still.
    await lab.ok("PUT", f"/api/providers/{(await _first(lab))['id']}", json={"providerSpecificData": shown})
    assert (await lab.chat("lab/owl-1")).status_code == 200
    moved = {"name": "My lab", "prefix": "den", "baseUrl": f"{lab.upstream.url}/v2", "chatPath": "/talk?v=1", "modelsPath": "/list/models"}
    await lab.ok("PUT", f"/api/provider-nodes/{node['id']}", json=moved)
    assert (await lab.chat("den/owl-1")).status_code == 200
    assert lab.last().target == "/v2/talk?v=1"
    assert (await _first(lab))["providerSpecificData"]["baseUrl"] == f"{lab.upstream.url}/v2"
    await lab.ok("GET", f"/api/providers/{(await _first(lab))['id']}/models")
    assert lab.last().target == "/v2/list/models"
    wrong = {"providerSpecificData": {"prefix": "lab"}}
    assert (await lab.client.put(f"/api/providers/{(await _first(lab))['id']}", json=wrong)).status_code == 400


async def _first(lab: Lab) -> dict[str, Any]:
    return (await lab.ok("GET", "/api/providers"))["connections"][0]


async def test_every_type_speaks_its_format(lab: Lab) -> None:
    """What apiType and type pick: the address, the credential's header, and what is refused."""
    answers = await lab.node(prefix="resp", apiType="responses")
    await lab.connect(answers["id"])
    said = await lab.chat("resp/m")
    assert (said.json()["choices"][0]["message"]["content"], lab.last().target) == ("by responses", "/v1/responses")
    assert (await lab.client.post("/v1/embeddings", json={"model": "resp/e", "input": "x"})).status_code == 200
    vectors = await lab.node(prefix="vec", apiType="embeddings", chatPath="/embed/embeddings")
    await lab.connect(vectors["id"], apiKey="")
    assert (await lab.client.post("/v1/embeddings", json={"model": "vec/e", "input": "x"})).status_code == 200
    assert lab.last().target == "/v1/embed/embeddings"
    assert "authorization" not in lab.last().headers, "a server of one's own may need no key"
    refused = await lab.chat("vec/e")
    assert refused.status_code == 503
    assert "does not offer chat" in refused.text
    claude = await lab.node(prefix="cl", type="anthropic-compatible", apiType=None)
    await lab.connect(claude["id"])
    lab.upstream.answer(
        json_answer({"id": "m", "type": "message", "role": "assistant", "model": "x", "content": [{"type": "text", "text": "claude's"}],
                     "stop_reason": "end_turn", "usage": {"input_tokens": 3, "output_tokens": 2}})
    )  # fmt: skip
    lab.upstream.script(None)  # type: ignore[arg-type]
    assert (await lab.chat("cl/m")).json()["choices"][0]["message"]["content"] == "claude's"
    assert (lab.last().target, lab.last().headers["x-api-key"]) == ("/v1/messages", KEY)
    gem = await lab.node(prefix="gem", type="gemini-compatible", apiType=None)
    await lab.connect(gem["id"])
    parts = {"role": "model", "parts": [{"text": "gemini's"}]}
    lab.upstream.answer(json_answer({"candidates": [{"content": parts, "finishReason": "STOP"}], "usageMetadata": {"totalTokenCount": 5}}))
    assert (await lab.chat("gem/m")).json()["choices"][0]["message"]["content"] == "gemini's"
    assert (lab.last().target, lab.last().headers["x-goog-api-key"]) == ("/v1/models/m:generateContent", KEY)
    llama = await lab.node(prefix="lm", type="ollama-compatible", apiType=None)
    await lab.connect(llama["id"])
    lab.upstream.answer(
        json_answer({"model": "m", "message": {"role": "assistant", "content": "ollama's"}, "done": True, "done_reason": "stop"})
    )
    assert (await lab.chat("lm/m")).json()["choices"][0]["message"]["content"] == "ollama's"
    assert lab.last().target == "/v1/api/chat"


async def test_private_addresses_need_the_switch(lab: Lab) -> None:
    """SEC-15: at a trial and at use, not only when it is written down."""
    node = await lab.node()
    await lab.connect(node["id"], allowPrivate=False)
    answer = await lab.chat("lab/owl-1")
    assert answer.status_code >= 400
    tried = await lab.ok("POST", "/api/provider-nodes/validate", json={"baseUrl": f"{lab.upstream.url}/v1"})
    assert (tried["valid"], "allowPrivate" in tried["remedy"]) == (False, True)
    always = await lab.ok("POST", "/api/provider-nodes/validate", json={"baseUrl": "http://169.254.169.254/v1", "allowPrivate": True})
    assert always["valid"] is False
    assert lab.upstream.requests == []


async def test_a_trial_tells_what_it_found(lab: Lab) -> None:
    ask = {"baseUrl": f"{lab.upstream.url}/v1/", "apiKey": KEY, "allowPrivate": True}
    good = await lab.ok("POST", "/api/provider-nodes/validate", json=ask)
    assert {name: good[name] for name in ("valid", "error", "method", "reached", "statusCode", "models", "remedy")} == {
        "valid": True, "error": None, "method": "models", "reached": f"{lab.upstream.url}/v1/models", "statusCode": 200,
        "models": ["owl-1", "owl-2"], "remedy": None,
    }  # fmt: skip
    assert good["latencyMs"] >= 0
    talked = await lab.ok(
        "POST", "/api/provider-nodes/validate", json={**ask, "modelId": "owl-1", "chatPath": "/chat/talk", "type": "openai-compatible"}
    )
    assert (talked["valid"], talked["method"], talked["reached"]) == (True, "chat", f"{lab.upstream.url}/v1/chat/talk")
    answers = await lab.ok("POST", "/api/provider-nodes/validate", json={**ask, "modelId": "m", "apiType": "responses"})
    assert (answers["valid"], answers["reached"], answers["models"]) == (True, f"{lab.upstream.url}/v1/responses", ["owl-1", "owl-2"])
    lab.upstream.script(None)  # type: ignore[arg-type]
    lab.upstream.answer(json_answer({"error": {"message": f"Your key {KEY} is no good here"}}, status=401))
    bad = await lab.ok("POST", "/api/provider-nodes/validate", json=ask)
    assert (bad["valid"], bad["statusCode"]) == (False, 401)
    assert "is no good here" in bad["error"]
    assert "canary" not in str(bad)
    assert "key" in bad["remedy"]
    lab.upstream.answer(
        json_answer({"error": "no such place"}, status=404), json_answer({"error": {"message": "model owl-7 does not exist"}}, status=404)
    )
    lost = await lab.ok("POST", "/api/provider-nodes/validate", json={**ask, "modelId": "owl-7"})
    assert (lost["valid"], "owl-7 does not exist" in lost["error"], lost["method"]) == (False, True, "chat")
    lab.upstream.answer(html())
    page = await lab.ok("POST", "/api/provider-nodes/validate", json=ask)
    assert (page["valid"], "baseUrl" in page["remedy"]) == (False, True), "a web page is no list of models"
    lab.upstream.answer(json_answer({"hello": "world"}))
    other = await lab.ok("POST", "/api/provider-nodes/validate", json=ask)
    assert ("not proven" in other["warning"], "baseUrl" in other["remedy"]) == (True, True)
    lab.upstream.answer(reset_before_head())
    broken = await lab.ok("POST", "/api/provider-nodes/validate", json=ask)
    assert (broken["valid"], broken["statusCode"]) == (False, None)
    assert broken["error"]
    for wrong in (
        {"baseUrl": ""},
        {"baseUrl": "nonsense"},
        {"baseUrl": "https://a.example", "type": "x"},
        {},
        {"baseUrl": "https://a.example", "compatMode": "cc"},
    ):
        assert (await lab.client.post("/api/provider-nodes/validate", json=wrong)).status_code == 400
    odd = {"baseUrl": "https://a.example", "apiType": "embeddings", "modelId": "m"}
    assert (await lab.client.post("/api/provider-nodes/validate", json=odd)).status_code == 400


async def test_a_test_of_a_connection_tells_the_provider_s_words(lab: Lab) -> None:
    """openapi.yaml: providers/{id}/test and providers/validate."""
    node = await lab.node()
    connection = await lab.connect(node["id"])
    good = await lab.ok("POST", f"/api/providers/{connection['id']}/test", json={})
    assert {name: good[name] for name in ("valid", "error", "warning", "refreshed", "statusCode", "runtime")} == {
        "valid": True, "error": None, "warning": None, "refreshed": False, "statusCode": 200, "runtime": None,
    }  # fmt: skip
    assert good["diagnosis"] == {"type": "ok", "source": "upstream", "message": None, "code": None}
    assert good["testedAt"]
    lab.upstream.script(None)  # type: ignore[arg-type]
    lab.upstream.answer(json_answer({"error": {"message": "the lab is closed"}}, status=403))
    bad = await lab.ok("POST", f"/api/providers/{connection['id']}/test")
    assert "the lab is closed" in bad["error"]
    assert (bad["diagnosis"]["type"], bad["diagnosis"]["source"]) == ("permission", "upstream")
    await lab.ok("POST", "/api/providers/nobody/test", 404)
    ask = {"provider": node["id"], "apiKey": KEY, "allowPrivate": True, "validationModelId": "owl-1", "customUserAgent": "", "cx": ""}
    said = await lab.ok("POST", "/api/providers/validate", json=ask)
    assert (said["valid"], "the lab is closed" in said["error"], said["method"]) == (False, True, "models")
    refused = await lab.client.post("/api/providers/validate", json={**ask, "customUserAgent": "curl"})
    assert (refused.status_code, "customUserAgent" in refused.text) == (400, True)
    assert (await lab.client.post("/api/providers/validate", json={"provider": "nobody"})).status_code == 404
    assert (await lab.client.put(f"/api/providers/{connection['id']}", json={})).status_code == 400
