"""Every operation about compression: what it answers, what it refuses and how, and that what is set is what happens."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hub.access.scopes import expand
from hub.records import Caller
from tests.compression.conftest import ASKED, SETTINGS, STATUS, TOOLS, Desk, tool_turn
from tests.fakes.vendors import MODELS

pytestmark = pytest.mark.anyio

CAVEMAN, RTK, COMBOS = "/api/context/caveman/config", "/api/context/rtk/config", "/api/context/combos"
PREVIEW, TEST, ANALYTICS = "/api/compression/preview", "/api/context/rtk/test", "/api/context/analytics"
READS = [SETTINGS, CAVEMAN, RTK, COMBOS, f"{COMBOS}/default-caveman", f"{COMBOS}/default-caveman/assignments", ANALYTICS,
         "/api/compression/rules", "/api/compression/language-packs", "/api/context/rtk/filters"]  # fmt: skip
RAW = "/api/context/rtk/raw-output/"


async def test_settings_are_the_documented_object(desk: Desk) -> None:
    found = (await desk.owner.get(SETTINGS)).json()
    assert (found["enabled"], found["defaultMode"], found["autoTriggerMode"], found["autoTriggerTokens"]) == (False, "off", "lite", 0)
    assert found["rtkConfig"]["maxLinesPerResult"] == 120
    assert found["cavemanConfig"]["compressRoles"] == ["user"]
    assert found["aggressive"]["thresholds"] == {"verbatim": 2, "light": 2, "moderate": 3, "fullSummary": 5}
    assert found["aggressive"]["toolStrategies"] == dict.fromkeys(
        ["fileContent", "grepSearch", "shellOutput", "json", "errorMessage"], True
    )
    changed = await desk.put(CAVEMAN, enabled=True, cavemanConfig={"intensity": "lite"}, comboOverrides={})
    assert changed["cavemanConfig"] == {**found["cavemanConfig"], "intensity": "lite"}
    assert await desk.put(SETTINGS, **changed) == changed  # what GET gives can be sent back
    assert (await desk.owner.get("/api/settings")).json()["compression"] == changed
    assert await desk.put(SETTINGS, enabled=None, cavemanConfig=None) == found
    assert (await desk.put(RTK, intensity="aggressive"))["intensity"] == "aggressive"
    assert (await desk.owner.get(SETTINGS)).json()["rtkConfig"]["intensity"] == "aggressive"


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        (SETTINGS, {}, "patch"),
        (SETTINGS, {"defaultMode": "most"}, "defaultMode"),
        (SETTINGS, {"colour": 1}, "colour"),
        (SETTINGS, {"cacheMinutes": 61}, "cacheMinutes"),
        (SETTINGS, {"cavemanConfig": {"skipRules": ["no-such-rule"]}}, "cavemanConfig.skipRules"),
        (SETTINGS, {"cavemanConfig": {"preservePatterns": ["(a+)+"]}}, "cavemanConfig.preservePatterns.0"),
        (SETTINGS, {"languageConfig": {"enabledPacks": ["xx"]}}, "languageConfig.enabledPacks"),
        (SETTINGS, {"languageConfig": {"defaultLanguage": "xx"}}, "languageConfig.defaultLanguage"),
        (SETTINGS, {"compressionComboId": "none"}, "compressionComboId"),
        (SETTINGS, {"comboOverrides": {"none": "lite"}}, "comboOverrides.none"),
        (SETTINGS, {"stackedPipeline": []}, "stackedPipeline"),
        (SETTINGS, {"stackedPipeline": [{"engine": "magic"}]}, "stackedPipeline.0.engine"),
        (SETTINGS, {"stackedPipeline": [{"engine": "rtk", "intensity": "full"}]}, "stackedPipeline.0.intensity"),
        (SETTINGS, {"stackedPipeline": [{"engine": "lite", "intensity": "full"}]}, "stackedPipeline.0.intensity"),
        (SETTINGS, {"stackedPipeline": [{"engine": "ultra", "config": {"compressionRate": 7}}]}, "stackedPipeline.0.compressionRate"),
        (RTK, {"intensity": "full"}, "intensity"),
        (RTK, {"enabledFilters": ["no-such-filter"]}, "enabledFilters"),
        (RTK, {"maxLinesPerResult": 1}, "maxLinesPerResult"),
        (RTK, {"colour": 1}, "colour"),
        ("/api/settings", {"compression": {"cavemanConfig": {"preservePatterns": ["("]}}}, "preservePatterns"),
    ],
)  # fmt: skip
async def test_what_is_wrong_is_named_and_nothing_is_stored(desk: Desk, path: str, body: dict[str, Any], field: str) -> None:
    before = (await desk.owner.get(SETTINGS)).json()
    refused = await desk.owner.put(path, json=body)
    assert refused.status_code == 400, refused.text
    assert field in json.dumps([one["field"] for one in refused.json()["error"].get("details", [])] or refused.text)
    assert (await desk.owner.get(SETTINGS)).json() == before


async def test_scopes(desk: Desk) -> None:
    """SEC-01: nothing without a key, reading with read:compression, changing with write:compression."""
    nobody, reader, talker = {"authorization": ""}, await desk.running.headers("read:compression"), await desk.running.headers("chat")
    body = {"messages": [{"role": "user", "content": "x"}], "mode": "lite"}
    for path in READS:
        statuses = [(await desk.owner.get(path, headers=who)).status_code for who in (nobody, talker, reader)]
        assert statuses == [401, 403, 200], path
    for path, given in ((PREVIEW, body), (TEST, {"text": "x"})):
        statuses = [(await desk.owner.post(path, json=given, headers=who)).status_code for who in (nobody, talker, reader)]
        assert statuses == [401, 403, 200], path
    changes = [("PUT", SETTINGS, {"cacheMinutes": 5}), ("PUT", RTK, {"enabled": True}), ("POST", COMBOS, {"name": "x"}),
               ("PUT", f"{COMBOS}/default-caveman", {"description": "x"}), ("DELETE", f"{COMBOS}/none", None),
               ("PUT", f"{COMBOS}/default-caveman/assignments", {"routingComboIds": []})]  # fmt: skip
    for method, path, given in changes:
        statuses = [(await desk.owner.request(method, path, json=given, headers=who)).status_code for who in (nobody, talker, reader)]
        assert statuses == [401, 403, 403], path
    writer = await desk.running.headers("write:compression")
    assert (await desk.owner.put(SETTINGS, json={"cacheMinutes": 5}, headers=writer)).status_code == 200


async def test_preview_shows_exactly_what_would_be_sent(desk: Desk) -> None:
    messages = tool_turn()
    shown = (await desk.post(PREVIEW, {"messages": messages, "mode": "stacked"})).json()
    await desk.put(enabled=True, defaultMode="stacked")
    answer = await desk.chat(*messages, tools=TOOLS)
    assert [one["content"] for one in shown["messages"]] == [one.get("content") or "" for one in desk.sent["messages"]]
    assert f"saved={shown['tokensSaved']}" in answer.headers["x-omniroute-compression"]
    assert shown["originalTokens"] - shown["compressedTokens"] == shown["tokensSaved"] == sum(shown["engines"].values())
    assert shown["techniquesUsed"] == ["rtk", "caveman"]
    assert (shown["mode"], shown["intensity"], shown["outputMode"], shown["fallbackApplied"]) == ("stacked", "standard", None, False)
    assert shown["validation"] == {"valid": True, "errors": [], "warnings": [], "fallbackApplied": False}
    assert "git-status:dropPatterns" in shown["rulesApplied"]
    assert {"kind": "span", "preview": "`the file`"} in shown["preservedBlocks"]
    assert {one["type"] for one in shown["diff"]} == {"same", "removed", "added"}
    assert "".join(one["text"] for one in shown["diff"] if one["type"] != "added") == shown["original"]
    assert "".join(one["text"] for one in shown["diff"] if one["type"] != "removed") == shown["compressed"]
    assert shown["skippedReasons"] == ["instructions stay as they are (preserveSystemPrompt)"]


async def test_preview_of_other_modes_and_settings(desk: Desk) -> None:
    turn = {"role": "user", "content": [{"type": "text", "text": ASKED}]}
    off = (await desk.post(PREVIEW, {"messages": [turn], "mode": "off"})).json()
    assert (off["compressed"], off["tokensSaved"], off["savingsPct"]) == (ASKED, 0, 0)
    kept = (
        await desk.post(PREVIEW, {"messages": [turn], "mode": "standard", "config": {"cavemanConfig": {"skipRules": ["please"]}}})
    ).json()
    assert kept["rulesApplied"] == ["polite-request", "adverbs", "in-order-to", "articles"]
    terse = (await desk.post(PREVIEW, {"messages": [turn], "mode": "lite", "config": {"cavemanOutputMode": {"enabled": True}}})).json()
    assert terse["outputMode"] == "full"
    assert "[answer style]" in terse["messages"][0]["content"]
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": STATUS}]}
    call = {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "bash", "input": {"command": "git status"}}]}
    blocks = (await desk.post(PREVIEW, {"messages": [turn, call, result], "mode": "rtk"})).json()
    assert blocks["techniquesUsed"] == ["rtk"]
    marked = {"role": "user", "content": [{"type": "text", "text": ASKED, "cache_control": {"type": "ephemeral"}}]}
    left = (await desk.post(PREVIEW, {"messages": [marked], "mode": "ultra"})).json()
    assert left["skippedReasons"] == ["ultra lowered: the request has prompt-cache markers",
                                      "everything stands before the client's last cache marker (preserveCachedPrefix)"]  # fmt: skip
    assert (await desk.owner.get(SETTINGS)).json()["enabled"] is False


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"messages": [], "mode": "lite"}, "messages"),
        ({"messages": [{"role": "user", "content": "x"}]}, "mode"),
        ({"messages": [{"role": "user", "content": "x"}], "mode": "most"}, "mode"),
        ({"messages": [{"role": "nobody", "content": "x"}], "mode": "lite"}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": 5}], "mode": "lite"}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": ["x"]}], "mode": "lite"}, "messages.0.content.0"),
        ({"messages": [{"role": "user", "content": "x"}], "mode": "lite", "config": {"colour": 1}}, "config.colour"),
        ({"messages": [{"role": "user", "content": "x"}], "mode": "lite", "config": {"ultra": {"compressionRate": 9}}}, "config.ultra"),
        ({"messages": [{"role": "user", "content": "x"}], "mode": "lite", "more": 1}, "more"),
    ],
)
async def test_a_preview_that_is_wrong(desk: Desk, body: dict[str, Any], field: str) -> None:
    refused = await desk.owner.post(PREVIEW, json=body)
    assert (refused.status_code, field in refused.text) == (400, True), refused.text


async def test_rules_packs_and_filters_are_listed(desk: Desk) -> None:
    rules = (await desk.owner.get("/api/compression/rules")).json()["rules"]
    assert len(rules) > 100
    assert next(one for one in rules if one["name"] == "articles") == {
        "name": "articles", "language": "en", "context": "all", "category": "terse", "minIntensity": "full",
        "intensities": ["full", "ultra"], "description": "Articles.",
    }  # fmt: skip
    packs = (await desk.owner.get("/api/compression/language-packs")).json()
    assert packs["languages"] == ["en", "de", "es", "fr", "ja", "pt-BR"]
    assert sum(one["ruleCount"] for one in packs["packs"]) == len(rules)
    found = (await desk.owner.get("/api/context/rtk/filters")).json()
    assert len(found["filters"]) == 48
    assert found["diagnostics"] == []
    first = next(one for one in found["filters"] if one["id"] == "git-status")
    assert (first["name"], first["commandTypes"], first["category"], first["priority"]) == ("git status", ["git status"], "git", 90)


async def test_filters_of_the_owner_are_taken_over(desk: Desk) -> None:
    folder = desk.running.hub.settings.data_dir / "compression" / "filters"
    folder.mkdir(parents=True)
    row = {"id": "mine", "label": "Mine", "description": "d", "category": "own", "match": {"commands": ["mine"]},
           "rules": {"dropPatterns": ["^noise"]}}  # fmt: skip
    (folder / "mine.json").write_text(json.dumps([row]))
    (folder / "bad.json").write_text("[")
    desk.running.hub.compressor._looked_at = -10.0
    found = (await desk.owner.get("/api/context/rtk/filters")).json()
    assert "mine" in [one["id"] for one in found["filters"]]
    assert [fault["file"] for fault in found["diagnostics"]] == ["bad.json"]
    tried = (
        await desk.post(
            TEST, {"text": "noise and more noise, so that it is worth it, and then some more of it\nsignal", "command": "mine --x"}
        )
    ).json()
    assert tried["text"].startswith("signal\n")
    for path in folder.iterdir():
        path.unlink()
    desk.running.hub.compressor._looked_at = -10.0


async def test_rtk_is_tried_on_a_text(desk: Desk) -> None:
    tried = (await desk.post(TEST, {"text": STATUS, "command": "git status"})).json()
    assert tried["detection"] == {
        "type": "git-status", "command": "git status", "confidence": 1.0, "category": "git", "matchedPatterns": ["git status"],
    }  # fmt: skip
    assert (tried["compressed"], tried["techniquesUsed"], tried["rulesApplied"]) == (True, ["rtk"], ["git-status:dropPatterns"])
    assert tried["compressedTokens"] < tried["originalTokens"]
    guessed = (await desk.post(TEST, {"text": STATUS})).json()
    assert (guessed["detection"]["type"], guessed["text"]) == ("git-status", tried["text"])
    assert 0.5 < guessed["detection"]["confidence"] < 1
    data = (await desk.post(TEST, {"text": '{"a":  1}'})).json()
    assert (data["detection"]["type"], data["text"]) == ("json", '{"a":1}')
    off = (await desk.post(TEST, {"text": STATUS, "config": {"disabledFilters": ["git-status"]}})).json()
    assert off["detection"]["type"] == "generic"
    for body, field in (
        ({"text": ""}, "text"),
        ({"text": "x", "more": 1}, "more"),
        ({"text": "x", "config": {"intensity": "full"}}, "config.intensity"),
    ):
        refused = await desk.owner.post(TEST, json=body)
        assert (refused.status_code, field in refused.text) == (400, True), refused.text


async def test_outputs_are_kept_in_their_long_form(desk: Desk) -> None:
    """By id, for the key it belongs to and the owner; sealed, secrets masked; nothing of keys that want nothing kept."""
    await desk.put(enabled=True, defaultMode="rtk", rtkConfig={"rawOutputRetention": "always"})
    keys = {name: await desk.running.headers("chat", "read:compression") for name in ("mine", "other")}
    secret = "sk-proj-" + "a1B2" * 10
    body = {"model": MODELS["openai"], "messages": tool_turn(f'{STATUS}\n  (use "git x" with {secret})'), "tools": TOOLS}
    await desk.post("/v1/chat/completions", body, **keys["mine"])
    named = desk.sent["messages"][3]["content"]
    output_id = named.partition("; the whole: ")[2].rstrip("]")
    assert len(output_id) == 24
    got = await desk.owner.get(RAW + output_id, headers=keys["mine"])
    assert got.headers["content-type"] == "text/plain; charset=utf-8"
    assert got.text.startswith(STATUS)
    assert secret not in got.text
    assert (await desk.owner.get(RAW + output_id)).text == got.text
    assert (await desk.owner.get(RAW + output_id, headers=keys["other"])).status_code == 404
    await desk.post("/v1/chat/completions", body, **keys["mine"])
    assert desk.sent["messages"][3]["content"] == named
    await desk.post("/v1/chat/completions", body, **keys["other"])
    assert desk.sent["messages"][3]["content"] != named
    rows = await desk.running.hub.store._database.read(lambda link: link.run("SELECT sealed FROM compression_outputs"))
    assert rows
    assert not any("On branch" in row["sealed"] for row in rows)
    quiet = {"authorization": f"Bearer {await desk.running.key('chat', no_log=True)}"}
    await desk.post("/v1/chat/completions", body, **quiet)
    assert "the whole" not in desk.sent["messages"][3]["content"]
    await desk.put(RTK, rawOutputRetention="failures")
    await desk.post("/v1/chat/completions", body)
    assert "the whole" not in desk.sent["messages"][3]["content"]
    assert (await desk.owner.get(RAW + "0" * 24)).status_code == 404
    assert (await desk.owner.get(RAW + "nothing")).status_code == 400


async def test_compression_combos(desk: Desk) -> None:
    listed = (await desk.owner.get(COMBOS)).json()["combos"]
    assert [(one["id"], one["name"], one["isDefault"]) for one in listed] == [("default-caveman", "Standard Savings", True)]
    body = {"name": "Mine", "id": "mine", "pipeline": [{"engine": "lite"}, {"engine": "ultra", "config": {"compressionRate": 0.8}}],
            "languagePacks": ["en", "de"], "outputMode": True, "outputModeIntensity": "lite", "description": "d"}  # fmt: skip
    made = await desk.post(COMBOS, body)
    assert made.status_code == 201
    one = made.json()
    assert {name: one[name] for name in body} == {
        **body, "pipeline": [{"engine": "lite", "intensity": ""}, {"engine": "ultra", "intensity": "", "config": {"compressionRate": 0.8}}]
    }  # fmt: skip
    assert (await desk.owner.get(f"{COMBOS}/mine")).json() == one == (await desk.owner.get(f"{COMBOS}/Mine")).json()
    for again in ({"name": "Mine"}, {"name": "Standard Savings"}, {"name": "x", "id": "mine"}, {"name": "x", "id": "default-caveman"}):
        assert (await desk.owner.post(COMBOS, json=again)).status_code == 409, again
    changed = await desk.put(f"{COMBOS}/mine", isDefault=True, name="Ours")
    assert (changed["isDefault"], changed["name"], changed["pipeline"]) == (True, "Ours", one["pipeline"])
    assert [one["isDefault"] for one in (await desk.owner.get(COMBOS)).json()["combos"]] == [False, True]
    await desk.put(enabled=True, defaultMode="stacked")
    answer = await desk.chat({"role": "user", "content": ASKED})  # stacked means the default now
    assert answer.headers["x-omniroute-compression"].endswith("; terse")
    assert (await desk.owner.delete(f"{COMBOS}/mine")).status_code == 409
    assert (await desk.owner.put(f"{COMBOS}/mine", json={"isDefault": False})).status_code == 400
    back = await desk.put(f"{COMBOS}/default-caveman", isDefault=True, description="as it was")
    assert (back["isDefault"], back["description"]) == (True, "as it was")
    assert (await desk.owner.delete(f"{COMBOS}/default-caveman")).status_code == 409
    await desk.put(compressionComboId="mine")
    assert (await desk.owner.delete(f"{COMBOS}/mine")).status_code == 409
    await desk.put(compressionComboId=None)
    assert (await desk.owner.delete(f"{COMBOS}/mine")).json() == {"ok": True}
    for method, path in (("GET", "/mine"), ("DELETE", "/mine"), ("GET", "/mine/assignments")):
        assert (await desk.owner.request(method, COMBOS + path)).status_code == 404
    assert (await desk.owner.put(f"{COMBOS}/mine", json={"description": "x"})).status_code == 404
    assert (await desk.owner.put(f"{COMBOS}/mine/assignments", json={"routingComboIds": []})).status_code == 404


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": "x", "pipeline": []}, "pipeline"),
        ({"name": "x", "pipeline": [{"engine": "magic"}]}, "pipeline.0.engine"),
        ({"name": "x", "pipeline": [{"engine": "caveman", "intensity": "most"}]}, "pipeline.0.intensity"),
        ({"name": "x", "languagePacks": ["xx"]}, "languagePacks.0"),
        ({"name": "x", "outputModeIntensity": "most"}, "outputModeIntensity"),
        ({"name": "x", "id": "a b"}, "id"),
        ({"name": "x", "colour": 1}, "colour"),
    ],
)
async def test_a_compression_combo_that_is_wrong(desk: Desk, body: dict[str, Any], field: str) -> None:
    refused = await desk.owner.post(COMBOS, json=body)
    assert (refused.status_code, field in refused.text) == (400, True), refused.text


async def test_a_routing_combo_uses_one_compression_combo(desk: Desk) -> None:
    ids = [(await desk.post("/api/combos", {"name": f"route{at}", "models": [MODELS["openai"]]})).json()["id"] for at in range(2)]
    await desk.post(COMBOS, {"name": "first", "id": "first"})
    given = await desk.put(f"{COMBOS}/first/assignments", routingComboIds=["route0", ids[1], ids[0]])
    assert [one["routingComboId"] for one in given["assignments"]] == ids
    assert all(one["compressionComboId"] == "first" and one["createdAt"] for one in given["assignments"])
    moved = await desk.put(f"{COMBOS}/default-caveman/assignments", routingComboIds=[ids[0]])
    assert [one["routingComboId"] for one in moved["assignments"]] == [ids[0]]
    assert [one["routingComboId"] for one in (await desk.owner.get(f"{COMBOS}/first/assignments")).json()["assignments"]] == [ids[1]]
    again = await desk.put(f"{COMBOS}/default-caveman/assignments", routingComboIds=[ids[0]])
    assert again == moved
    refused = await desk.owner.put(f"{COMBOS}/first/assignments", json={"routingComboIds": [ids[0], "none"]})
    assert (refused.status_code, "routingComboIds.1" in refused.text) == (400, True)
    for one in ids:
        assert (await desk.owner.delete(f"/api/combos/{one}")).status_code == 200
    assert (await desk.owner.delete(f"{COMBOS}/first")).status_code == 200


async def test_analytics_are_of_what_was_sent(desk: Desk) -> None:
    await desk.put(enabled=True, defaultMode="stacked")
    before = (await desk.owner.get(ANALYTICS)).json()
    headers = await desk.running.headers("chat")
    answer = await desk.post("/v1/chat/completions", {"model": MODELS["openai"], "messages": tool_turn(), "tools": TOOLS}, **headers)
    await desk.chat({"role": "user", "content": "hello"}, vendor="anthropic")
    saved = int(answer.headers["x-omniroute-compression"].rpartition("=")[2])
    after = (await desk.owner.get(ANALYTICS)).json()
    assert after["totalRequests"] - before["totalRequests"] == 2
    assert after["compressedRequests"] - before["compressedRequests"] == 1
    assert after["totalTokensSaved"] - before["totalTokensSaved"] == saved
    assert after["byMode"]["stacked"]["tokensSaved"] - before["byMode"].get("stacked", {"tokensSaved": 0})["tokensSaved"] == saved
    assert {"rtk", "caveman"} <= after["byEngine"].keys()
    assert after["byProvider"]["openai"]["estimatedUsdSaved"] > 0
    assert MODELS["openai"].partition("/")[2] in after["byModel"]
    key = [share for share in after["byKey"].values() if share["name"].startswith("test key") and share["tokensSaved"] == saved]
    assert len(key) == 1
    assert (after["byDay"][-1]["tokensSaved"], after["last24h"][-1]["tokensSaved"]) == (
        after["totalTokensSaved"],
        after["totalTokensSaved"],
    )
    assert after["byCompressionCombo"]["default-caveman"]["tokensSaved"] >= saved
    real = after["realUsage"]
    assert real["promptTokens"] - before["realUsage"]["promptTokens"] == 1000 + 600
    assert real["bySource"]["provider"] == real["requestsWithReceipts"] == after["totalRequests"]
    assert (await desk.owner.get(ANALYTICS, params={"since": "all"})).json()["totalRequests"] == after["totalRequests"]
    assert (await desk.owner.get(ANALYTICS, params={"since": "1y"})).status_code == 400


async def test_tools_for_agents(desk: Desk) -> None:
    hub = desk.running.hub

    async def call(tool: str, caller: Caller | None = None, **arguments: Any) -> Any:
        made = next(one for one in hub.skills if one.mcp is not None and one.mcp.tool == tool)
        return await hub.call(made, arguments, hub.context(caller or Caller.owner(), "test"))

    set_up = await call("omniroute_compression_configure", enabled=True, strategy="lite", maxTokens=9000, targetRatio=0.7)
    assert set_up.model_dump(by_alias=True) == {
        "success": True,
        "updated": {"enabled": True, "strategy": "lite", "maxTokens": 9000, "targetRatio": 0.7},
        "settings": {"maxTokens": 9000, "autoTriggerMode": "lite", "targetRatio": 0.7, "preserveSystemPrompt": True,
                     "mcpDescriptionCompressionEnabled": False, "enabled": True, "strategy": "lite"},
    }  # fmt: skip
    engine = await call(
        "omniroute_set_compression_engine", engine="stacked", cavemanIntensity="lite", rtkIntensity="aggressive", outputMode=True
    )
    assert [one["intensity"] for one in engine.settings["stackedPipeline"]] == ["aggressive", "lite"]
    assert (engine.settings["defaultMode"], engine.settings["cavemanOutputMode"]["enabled"]) == ("stacked", True)
    assert (await call("omniroute_set_compression_engine", engine="caveman")).settings["defaultMode"] == "standard"
    status = await call("omniroute_compression_status")
    assert (status.enabled, status.strategy) == (True, "standard")
    figures = status.analytics.mcp_description_compression
    assert figures.descriptions_compressed > 10
    assert figures.chars_before - figures.chars_after == figures.chars_saved > 100
    assert (await call("omniroute_list_compression_combos")).combos[0].id == "default-caveman"
    stats = await call("omniroute_compression_combo_stats", comboId="default-caveman", since="all")
    assert (stats.combo_id, stats.combo.count) == ("default-caveman", stats.summary.total_requests)
    assert (await call("omniroute_compression_combo_stats")).combo is None
    assert (await call("omniroute_set_compression_engine", engine="off")).settings["enabled"] is False
    reader = Caller(key_id="k", name="k", scopes=expand(["read:compression"]))
    assert (await call("omniroute_compression_status", reader)).enabled is False
    for tool, arguments, message in (
        ("omniroute_compression_configure", {}, "nothing to change"),
        ("omniroute_compression_configure", {"strategy": "most"}, "strategy"),
        ("omniroute_compression_combo_stats", {"comboId": "none"}, "no compression combo"),
    ):
        with pytest.raises(Exception, match=message):
            await call(tool, **arguments)
    with pytest.raises(Exception, match="write:compression"):
        await call("omniroute_compression_configure", reader, enabled=True)


async def test_descriptions_of_tools_are_shorter_where_the_owner_says_so(desk: Desk) -> None:
    ask = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {
        "_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}}}  # fmt: skip
    headers = {"accept": "application/json, text/event-stream", "mcp-protocol-version": "2026-07-28", "mcp-method": "tools/list"}

    async def size() -> int:
        return len((await desk.post("/api/mcp/stream", ask, **headers)).text)

    plain = await size()
    await desk.put(mcpDescriptionCompressionEnabled=True)
    assert await size() < plain
    assert (await desk.owner.get(ANALYTICS)).json()["mcpDescriptionCompression"]["estimatedTokensSaved"] > 0
    await desk.put(mcpDescriptionCompressionEnabled=False)
    assert await size() == plain
