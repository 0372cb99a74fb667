"""Models of the owner's own, hidden models, and what is changed of requests to one model, seen at the provider's end of the wire."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hub.engine.compat import short_id
from tests.nodes.conftest import Lab

pytestmark = pytest.mark.anyio

CALLS = [
    {"role": "developer", "content": "Be brief."},
    {"role": "user", "content": "Weather?"},
    {"role": "assistant", "content": None, "tool_calls": [
        {"id": "call_abcdefghijklmnop", "type": "function", "function": {"name": "w", "arguments": "{ }"}},
        {"id": "Ab3dE6gH9", "type": "function", "function": {"name": "w", "arguments": "{}"}},
    ]},
    {"role": "tool", "tool_call_id": "call_abcdefghijklmnop", "content": "sun"},
    {"role": "tool", "tool_call_id": "Ab3dE6gH9", "content": "rain"},
]  # fmt: skip
TOOLS = [{"type": "function", "function": {"name": "w", "parameters": {"type": "object"}}}]


async def post(lab: Lab, status: int = 201, **fields: Any) -> Any:
    return await lab.ok("POST", "/api/provider-models", status, json={"provider": "lab", "modelId": "own-1", **fields})


async def put(lab: Lab, status: int = 200, **fields: Any) -> Any:
    return await lab.ok("PUT", "/api/provider-models", status, json={"provider": "lab", "modelId": "own-1", **fields})


@pytest.fixture
async def node(lab: Lab) -> dict[str, Any]:
    made = await lab.node()
    await lab.connect(made["id"])
    return made


async def test_the_wire_of_a_model(lab: Lab, node: dict[str, Any]) -> None:
    """openapi.yaml: provider-models; 201 for a creation, 404 where nothing was removed (endpoints.md)."""
    made = (await post(lab, modelName="Own", pricing={"input": 1, "output": 2}, contextLength=9000, capabilities=["tools"]))["model"]
    assert made == {
        "id": "own-1", "name": "Own", "source": "manual", "apiFormat": "chat-completions", "supportedEndpoints": ["chat"], "custom": True,
        "contextLength": 9000, "maxOutputTokens": None, "dimensions": None, "capabilities": ["tools"],
        "pricing": {"input": 1.0, "output": 2.0}, "connectionId": None, "isHidden": False,
    }  # fmt: skip
    assert (await lab.client.post("/api/provider-models", json={"provider": "lab", "modelId": "own-1"})).status_code == 409
    assert await lab.ok("GET", "/api/provider-models") == {"models": {node["id"]: [made]}, "modelCompatOverrides": []}
    assert await lab.ok("GET", "/api/provider-models?provider=lab") == {"models": [made], "modelCompatOverrides": []}
    changed = (await put(lab, modelName="Renamed", normalizeToolCallId=True))["model"]
    assert (changed["name"], changed["contextLength"], changed["normalizeToolCallId"]) == ("Renamed", 9000, True)
    await lab.ok("PUT", "/api/provider-models", 404, json={"provider": "openai", "modelId": "gpt-5.4", "modelName": "x"})
    await lab.ok("PUT", "/api/provider-models", 404, json={"provider": "openai", "modelId": "nothing", "normalizeToolCallId": True})
    assert await lab.ok("DELETE", "/api/provider-models?provider=lab&model=own-1") == {"removed": True, "count": 1}
    await lab.ok("DELETE", "/api/provider-models?provider=lab&model=own-1", 404)
    await lab.ok("DELETE", "/api/provider-models?provider=lab&all=true", 404)
    await lab.ok("DELETE", "/api/provider-models?provider=lab", 400)
    await lab.ok("DELETE", "/api/provider-models?model=x", 400)
    await post(lab)
    await post(lab, modelId="own-2")
    assert (await lab.ok("DELETE", "/api/provider-models?provider=lab&all=true"))["count"] == 2
    for method in ("POST", "PUT"):
        await lab.ok(method, "/api/provider-models", 404, json={"provider": "nobody", "modelId": "x"})


IMPOSSIBLE: list[tuple[dict[str, Any], str]] = [
    ({"modelId": ""}, "modelId"),
    ({"modelId": "../x"}, "modelId"),
    ({"apiFormat": "smoke"}, "apiFormat"),
    ({"supportedEndpoints": ["smoke"]}, "supportedEndpoints"),
    ({"capabilities": ["flying"]}, "capabilities"),
    ({"contextLength": 0}, "contextLength"),
    ({"pricing": {"input": -1}}, "pricing"),
    ({"connectionId": "con_nobody"}, "connectionId"),
    ({"upstreamHeaders": {"Connection": "close"}}, "upstreamHeaders"),
    ({"upstreamHeaders": {"Proxy-Thing": "x"}}, "upstreamHeaders"),
    ({"upstreamHeaders": {"Authorization": "Bearer x"}}, "upstreamHeaders"),
    ({"upstreamHeaders": {"X-Api-Key": "x"}}, "upstreamHeaders"),
    ({"upstreamHeaders": {"X-Note": "sk-proj-abcdefghijklmnopqrstuvwxyz"}}, "upstreamHeaders"),
    ({"upstreamHeaders": {"X A": "x"}}, "upstreamHeaders"),
    ({"upstreamHeaders": {"X-A": "x\r\nY: z"}}, "upstreamHeaders"),
    ({"upstreamHeaders": {f"X-{number}": "x" for number in range(17)}}, "upstreamHeaders"),
    ({"compatByProtocol": {"morse": {}}}, "compatByProtocol"),
    ({"provider": "anthropic", "apiFormat": "embeddings"}, "embeddings"),
    ({"surprise": True}, "surprise"),
]


async def test_a_model_that_could_never_work_is_not_stored(lab: Lab, node: dict[str, Any]) -> None:
    for fields, field in IMPOSSIBLE:
        answer = await lab.client.post("/api/provider-models", json={"provider": "lab", "modelId": "own-1", **fields})
        assert (answer.status_code, field in answer.text) == (400, True), (fields, answer.text)
    assert await lab.ok("GET", "/api/provider-models") == {"models": {}, "modelCompatOverrides": []}


async def test_an_own_model_is_listed_priced_and_routed(lab: Lab, node: dict[str, Any]) -> None:
    assert "lab/own-1" not in await lab.listed()
    await post(lab, contextLength=9000, maxOutputTokens=500, capabilities=["tools", "vision"], pricing={"input": 3, "output": 5})
    listed = await lab.ok("GET", "/v1/models/lab/own-1")
    assert (listed["context_length"], listed["max_output_tokens"]) == (9000, 500)
    assert listed["capabilities"] == {"tool_calling": True, "reasoning": False, "vision": True}
    answer = await lab.chat("own-1")
    assert answer.status_code == 200, "found by its bare name"
    assert float(answer.headers["x-omniroute-response-cost"]) == pytest.approx((100 * 3 + 20 * 5) / 1e6)
    assert (await lab.chat("auto")).status_code == 200
    assert lab.last().json()["model"] == "own-1"
    catalogue = (await lab.ok("GET", "/api/models/catalog"))["catalog"]["lab"]
    assert [(one["id"], one["custom"]) for one in catalogue["models"]] == [("lab/own-1", True)]
    await post(lab, modelId="by-resp", apiFormat="responses")
    assert (await lab.chat("lab/by-resp")).json()["choices"][0]["message"]["content"] == "by responses"
    assert lab.last().target == "/v1/responses"
    await post(lab, modelId="vec", apiFormat="embeddings", dimensions=2, pricing={"input": 7})
    vectors = await lab.client.post("/v1/embeddings", json={"model": "lab/vec", "input": "x"})
    assert vectors.status_code == 200
    assert float(vectors.headers["x-omniroute-response-cost"]) == pytest.approx(3 * 7 / 1e6)
    assert (await lab.chat("lab/vec")).status_code in (400, 503), "it is no model for chats"
    shelf = await lab.ok("GET", "/v1/embeddings")
    assert [(one["id"], one["dimensions"]) for one in shelf["data"]] == [("lab/vec", 2)]
    await post(lab, modelId="both", supportedEndpoints=["chat", "embeddings"])
    assert (await lab.chat("lab/both")).status_code == 200
    assert (await lab.client.post("/v1/embeddings", json={"model": "lab/both", "input": "x"})).status_code == 200


async def test_what_the_owner_says_of_a_catalogue_model_wins(lab: Lab) -> None:
    await lab.connect("openai", baseUrl=f"{lab.upstream.url}/v1")
    before = await lab.ok("GET", "/v1/models/openai/gpt-5.4")
    await lab.ok("POST", "/api/provider-models", 201, json={"provider": "openai", "modelId": "gpt-5.4", "contextLength": 4242})
    after = await lab.ok("GET", "/v1/models/openai/gpt-5.4")
    assert after == {**before, "context_length": 4242}
    assert (await lab.listed()).count("openai/gpt-5.4") == 1
    await lab.ok("DELETE", "/api/provider-models?provider=openai&model=gpt-5.4")
    assert await lab.ok("GET", "/v1/models/openai/gpt-5.4") == before


async def test_a_model_of_one_connection_is_asked_there_only(lab: Lab, node: dict[str, Any]) -> None:
    second = await lab.connect(node["id"], name="second", apiKey="sk-canary-second-9999", priority=5)
    await post(lab, connectionId=second["id"])
    for _ in range(3):
        assert (await lab.chat("lab/own-1")).status_code == 200
        assert lab.last().headers["authorization"] == "Bearer sk-canary-second-9999"
    names = [one["id"] for one in (await lab.ok("GET", f"/api/providers/{second['id']}/models"))["models"]]
    assert names == ["owl-1", "owl-2", "own-1"]
    await lab.ok("DELETE", f"/api/providers/{second['id']}")
    assert "lab/own-1" not in await lab.listed()


async def test_hidden_models_are_nowhere_and_stay_callable(lab: Lab, node: dict[str, Any]) -> None:
    """PATCH: every list, and auto."""
    await post(lab, modelId="a-1")
    await post(lab, modelId="b-1")
    await lab.chat("auto")
    assert lab.last().json()["model"] == "a-1"
    done = await lab.ok("PATCH", "/api/provider-models?provider=lab&modelId=a-1", json={"isHidden": True})
    assert (done["ok"], done["updated"], done["modelCompatOverrides"]) == (True, 1, [{"id": "a-1", "isHidden": True}])
    assert [one["id"] for one in done["models"]] == ["a-1", "b-1"]
    again = await lab.ok("PATCH", "/api/provider-models?provider=lab", json={"isHidden": True, "modelIds": ["a-1", "owl-1"]})
    assert again["updated"] == 1
    connection = (await lab.ok("GET", "/api/providers"))["connections"][0]["id"]
    lists = [
        await lab.listed(),
        [one["id"] for one in (await lab.ok("GET", f"/api/providers/{connection}/models"))["models"]],
        [one["id"] for one in (await lab.ok("GET", "/api/models/catalog"))["catalog"]["lab"]["models"]],
        [one["name"] for one in (await lab.ok("GET", "/v1beta/models"))["models"]],
        [one["name"] for one in (await lab.ok("GET", "/api/tags"))["models"]],
        [one["id"] for one in (await lab.ok("GET", "/v1/providers/lab/models"))["data"]],
    ]
    for names in lists:
        assert [name for name in names if "b-1" in name], names
        assert not [name for name in names if "a-1" in name or "owl-1" in name], names
    shown = await lab.ok("GET", f"/api/providers/{connection}/models?includeHidden=true")
    assert {"owl-1", "a-1"} <= {one["id"] for one in shown["models"]}
    await lab.chat("auto")
    assert lab.last().json()["model"] == "b-1"
    assert (await lab.chat("lab/a-1")).status_code == 200
    await lab.ok("PATCH", "/api/provider-models?provider=lab&modelId=a-1", json={"isHidden": False})
    assert "lab/a-1" in await lab.listed()
    await lab.ok("PATCH", "/api/provider-models?provider=lab", 400, json={"isHidden": True})
    await lab.ok("PATCH", "/api/provider-models?provider=lab&modelId=x", 400, json={})
    await lab.ok("PATCH", "/api/provider-models?provider=nobody&modelId=x", 404, json={"isHidden": True})


async def test_ids_of_tool_calls_are_shortened(lab: Lab, node: dict[str, Any]) -> None:
    """normalizeToolCallId: nine letters and digits, the same for call and result; one that is so already stays."""
    ask = {"messages": CALLS, "tools": TOOLS}
    await lab.chat("lab/own-1", **ask)
    assert lab.last().json()["messages"] == CALLS, "without it every byte passes"
    await post(lab, normalizeToolCallId=True)
    answer = await lab.chat("lab/own-1", **ask)
    assert answer.status_code == 200
    sent = lab.last().json()["messages"]
    ids = [call["id"] for call in sent[2]["tool_calls"]]
    assert ids == [short_id("call_abcdefghijklmnop"), "Ab3dE6gH9"]
    assert [one["tool_call_id"] for one in sent[3:]] == ids
    assert all(len(one) == 9 and one.isalnum() for one in ids)
    assert (sent[0]["role"], sent[2]["tool_calls"][0]["function"]["arguments"]) == ("developer", "{ }")
    decision = await lab.ok("GET", f"/api/routing/decisions/{answer.headers['x-request-id']}")
    assert "normalizeToolCallId" in json.dumps(decision)
    claude = {"model": "lab/own-1", "max_tokens": 9, "tools": [{"name": "w", "input_schema": {"type": "object"}}], "messages": [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_0123456789", "name": "w", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_0123456789", "content": "sun"}]},
    ]}  # fmt: skip
    await lab.ok("POST", "/v1/messages", json=claude)
    assert lab.last().json()["messages"][2]["tool_call_id"] == short_id("toolu_0123456789")
    await put(lab, normalizeToolCallId=False)
    await lab.chat("lab/own-1", **ask)
    assert lab.last().json()["messages"] == CALLS


async def test_the_developer_s_role_and_headers(lab: Lab, node: dict[str, Any]) -> None:
    """preserveOpenAIDeveloperRole, upstreamHeaders, and compatByProtocol for one kind of client."""
    own = {"upstreamHeaders": {"X-Team": "birds", "user-agent": "lab/1"}}
    await put(lab, preserveOpenAIDeveloperRole=False, **own, compatByProtocol={"claude": {"upstreamHeaders": {"X-Team": "cats"}}})
    await lab.chat("lab/own-1", messages=CALLS, tools=TOOLS)
    assert lab.last().json()["messages"] == [{**CALLS[0], "role": "system"}, *CALLS[1:]]
    assert (lab.last().headers["x-team"], lab.last().headers["user-agent"]) == ("birds", "lab/1")
    await lab.chat("lab/other", messages=CALLS, tools=TOOLS)
    assert lab.last().json()["messages"] == CALLS, "another model is left alone"
    assert "x-team" not in lab.last().headers
    await lab.ok("POST", "/v1/messages", json={"model": "lab/own-1", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]})
    assert lab.last().headers["x-team"] == "cats"
    await lab.client.post("/v1/embeddings", json={"model": "lab/own-1", "input": "x"})
    assert lab.last().headers["x-team"] == "birds"
    streamed = await lab.chat("lab/own-1", messages=CALLS, stream=True)
    assert (lab.last().headers["x-team"], "[DONE]" in streamed.text) == ("birds", True)
    listed = (await lab.ok("GET", "/api/provider-models?provider=lab"))["modelCompatOverrides"]
    assert listed == [{
        "id": "own-1", "isHidden": False, "preserveOpenAIDeveloperRole": False, "upstreamHeaders": own["upstreamHeaders"],
        "compatByProtocol": {"claude": {"upstreamHeaders": {"X-Team": "cats"}}},
    }]  # fmt: skip
    await put(lab, preserveOpenAIDeveloperRole=True)
    await lab.chat("lab/own-1", messages=CALLS, tools=TOOLS)
    assert lab.last().json()["messages"] == CALLS
    await put(lab, preserveOpenAIDeveloperRole=None, upstreamHeaders={}, compatByProtocol=None)
    assert (await lab.ok("GET", "/api/provider-models?provider=lab"))["modelCompatOverrides"] == []


async def test_rules_reach_a_catalogue_model(lab: Lab) -> None:
    await lab.connect("openai", baseUrl=f"{lab.upstream.url}/v1")
    rules = {"provider": "openai", "modelId": "gpt-5.4", "compatByProtocol": {"openai": {"preserveOpenAIDeveloperRole": False}}}
    shown = (await lab.ok("PUT", "/api/provider-models", json=rules))["model"]
    assert (shown["custom"], shown["source"]) == (False, "catalogue")
    await lab.chat("openai/gpt-5.4", messages=CALLS, tools=TOOLS)
    assert lab.last().json()["messages"][0]["role"] == "system"
    assert await lab.ok("DELETE", "/api/provider-models?provider=openai&model=gpt-5.4") == {"removed": True, "count": 1}
