"""Pages of evals, assessments, agents and their tasks, compression and policies; their forms do what they say."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from hub.remote_agents.turn import Pace
from tests.dashboard.conftest import Dashboard, opened
from tests.dashboard.test_routing_pages import sent
from tests.fakes.hub import running_hub
from tests.fakes.sdk_agent import sdk_agent
from tests.fakes.upstream import FaultUpstream, silent
from tests.fakes.vendor import connect

if TYPE_CHECKING:
    from pathlib import Path

    import httpx
    from playwright.async_api import Browser

pytestmark = pytest.mark.anyio
_CASE = {
    "name": "greets <b>",
    "input": {"messages": [{"role": "user", "content": "Hello"}]},
    "expected": {"strategy": "contains", "value": "no such words"},
}
_RUN = {"target": "model:demo/demo", "trials": "1", "concurrency": "4", "timeoutSeconds": "60"}
_LIMITS = {"depth": "quick", "maxModels": "5", "maxCost": "1", "callsPerMinute": "600", "concurrency": "2"}


async def shown(client: httpx.AsyncClient, at: str) -> str:
    """A page that must be there."""
    page = await client.get(at)
    assert page.status_code == 200, page.text
    return page.text


async def over(client: httpx.AsyncClient, at: str) -> str:
    """A page that renews itself, once it does so no more."""
    for _ in range(200):
        page = await shown(client, at)
        if "hx-trigger" not in page:
            return page
        assert f'href="{at}">See how far it is' in page
        await asyncio.sleep(0.02)
    raise AssertionError(f"{at} never ends")


async def test_a_suite_is_written_run_compared_changed_and_deleted(dashboard: Dashboard) -> None:
    async with dashboard.client() as client:
        new = "/dashboard/evals/new"
        assert "no JSON" in (await sent(client, new, "create", status=400, name="mine", cases="[{")).text
        wrong = [_CASE, {**_CASE, "expected": {"strategy": "numeric", "value": "many"}}]
        refused = (await sent(client, new, "create", status=400, name="mine", cases=json.dumps(wrong))).text
        assert "cases.1.expected" in refused
        assert "numeric needs a number" in refused
        made = await sent(client, new, "create", name="mine", id="mine", cases=json.dumps([_CASE]))
        place = made.headers["location"]
        assert place == "/dashboard/evals/suites/mine"
        assert "greets &lt;b&gt;" in await shown(client, place)
        await sent(client, place, "replace", status=400, name="mine", cases="[]")
        two = [_CASE, {**_CASE, "name": "answers", "expected": {"strategy": "regex", "value": "."}}]
        await sent(client, place, "replace", name="ours", cases=json.dumps(two))
        assert "2 cases" in await shown(client, place)

        url = "/dashboard/evals"
        assert 'value="model:demo/demo"' in await shown(client, f"{url}?suite=mine")
        assert 'role="alert"' in (await sent(client, url, "run", status=400, suiteId="mine", **{**_RUN, "trials": "0"})).text
        await sent(client, url, "run", status=404, suiteId="no-such", **_RUN)
        begun = await sent(client, url, "run", suiteId="mine", compareTarget="suite-default", **_RUN)
        run = begun.headers["location"]
        await over(client, run)
        page = await shown(client, run)
        assert "no such words" in page
        assert "Compared with" in page
        for _ in range(200):  # the other side may be a moment later
            if "alike" in (page := await shown(client, run)):
                break
            await asyncio.sleep(0.02)
        assert "no difference that these cases could show" in page
        assert "answers" in await shown(client, f"{run}?outcome=passed")
        assert "No case has this outcome" in await shown(client, f"{run}?outcome=ungraded")
        for link in re.findall(r'href="(/api/evals/runs/[^"]+)" download', page):
            assert (await client.get(link)).status_code == 200
        assert run in await shown(client, place)
        assert "last runs" in await shown(client, url)
        await sent(client, run, "cancel", status=409)
        await sent(client, run, "delete")
        assert (await client.get(run)).status_code == 404
        await sent(client, place, "delete")
        assert (await client.get(place)).status_code == 404


async def test_work_that_goes_on_shows_how_far_it_is_and_can_be_ended(dashboard: Dashboard, browser: Browser) -> None:
    """By a link without scripts, by itself with them."""
    async with dashboard.client() as client, FaultUpstream() as upstream:
        upstream.script(lambda request: silent())
        connection = await connect(dashboard.running, upstream)
        run = {**_RUN, "target": "model:openai/gpt-4o-mini"}
        await dashboard.ask("evals-suite-create", id="slow", name="slow", cases=[_CASE])
        place = (await sent(client, "/dashboard/evals", "run", suiteId="slow", **run)).headers["location"]
        page = await shown(client, place)
        assert f'href="{place}">See how far it is' in page
        assert "0 of 1 answers" in page
        async with opened(browser, dashboard) as watched:
            await watched.page.goto(place)
            await sent(client, place, "cancel")
            await watched.page.get_by_text("cancelled").first.wait_for()
            assert await watched.page.get_by_role("progressbar").count() == 0
        assert "hx-trigger" not in await shown(client, place)
        begun = await sent(client, "/dashboard/evals/assess", "begin", kind="model", of="openai/gpt-4o-mini", **_LIMITS)
        place = begun.headers["location"]
        assert "0 of 1 models" in await shown(client, place)
        await sent(client, place, "cancel")
        page = await over(client, place)
        assert "cancelled" in page
        await dashboard.ask("connections-delete", id=connection)


async def test_a_built_in_suite_is_copied_and_stays(dashboard: Dashboard) -> None:
    async with dashboard.client() as client:
        built_in = next(one for one in (await dashboard.ask("evals-board")).suites if one.source == "built-in")
        place = f"/dashboard/evals/suites/{built_in.id}"
        assert "stays as it is" in await shown(client, place)
        await sent(client, place, "delete", status=409)
        page = await shown(client, f"/dashboard/evals/new?from={built_in.id}")
        assert f"{built_in.name}, ours" in page
        assert (await client.get("/dashboard/evals/new?from=no-such")).status_code == 404


async def test_models_are_assessed_and_combos_suggested(dashboard: Dashboard) -> None:
    async with dashboard.client() as client:
        url = "/dashboard/evals/assess"
        assert "tells which work" in await shown(client, url)
        await dashboard.ask("combos-create", name="pair", models=[{"model": "demo/demo"}])
        wrong = (await sent(client, url, "begin", status=404, kind="provider", of="nobody", **_LIMITS)).text
        assert 'class="fault"' in wrong
        assert 'value="nobody"' in wrong
        await sent(client, url, "begin", status=400, kind="model", of="", **_LIMITS)
        begun = await sent(client, url, "begin", kind="model", of="demo/demo", **_LIMITS)
        page = await over(client, begun.headers["location"])
        assert "demo/demo" in page
        assert "working" in page
        await sent(client, begun.headers["location"], "cancel", status=409)
        page = await shown(client, url)
        assert "healthy" in page
        assert "demo/demo" in await shown(client, f"{url}?status=working")
        assert "No assessed model fits" in await shown(client, f"{url}?status=broken")
        offered = next((one for one in (await dashboard.ask("assess-suggestions")).suggestions if one.body), None)
        if offered is not None:
            made = await sent(client, url, "make", template=offered.template)
            assert (await client.get(made.headers["location"])).status_code == 200
        await sent(client, url, "make", status=404, template="no-such")


async def test_an_agent_is_added_allowed_asked_and_removed(dashboard: Dashboard) -> None:
    """SEC-60, SEC-62: its card waits for the owner; what it says is shown as text."""
    dashboard.running.hub.remote_agents.pace = Pace(idle=5, first_look=0.01, longest_look=0.05, failures=3, leave=5)
    async with dashboard.client() as client, sdk_agent("JSONRPC", "1.0") as remote:
        url = "/dashboard/agents"
        refused = await sent(client, url, "add", status=400, name="No Name", url=remote.url, credential="typed-secret")
        assert 'class="field wrong"' in refused.text
        assert "typed-secret" not in refused.text
        made = await sent(client, url, "add", name="far", url=remote.url, allowPrivate="on", timeoutSeconds="60")
        place = made.headers["location"]
        page = await shown(client, place)
        assert "What it states" in page
        assert "Send a message" not in page
        await sent(client, place, "send", status=503, message="echo hello")
        await sent(client, place, "approve")
        page = await shown(client, place)
        assert "Send a message" in page
        said = await sent(client, place, "send", status=200, message="echo <i>hello</i>", waitSeconds="20")
        assert "you said &lt;i&gt;hello&lt;/i&gt;" in said.text
        await sent(client, place, "send", status=400, message="")
        asked = await sent(client, place, "send", status=200, message="ask")
        assert "input-required" in asked.text
        task = re.search(r'name="taskId" value="([^"]+)"', asked.text)
        assert task is not None
        await sent(client, place, "cancel", taskId=task[1])
        await sent(client, place, "refresh")
        remote.card["description"] = "Knows <i>your secrets</i>."
        await sent(client, place, "refresh")
        page = await shown(client, place)
        assert "What has changed since it was allowed" in page
        assert "<ins>Knows &lt;i&gt;your secrets&lt;/i&gt;.</ins>" in page
        assert "Send a message" not in page
        await sent(client, place, "approve")
        await sent(client, place, "change", enabled="on", timeoutSeconds="9")
        await sent(client, place, "change", status=400, enabled="on", timeoutSeconds="0")
        agent = await dashboard.ask("agents-get", id="far")
        assert (agent.timeout_seconds, agent.enabled) == (9, True)
        await sent(client, place, "forget")
        assert "far" in await shown(client, url)
        await sent(client, place, "remove")
        assert (await client.get(place)).status_code == 404


async def test_tasks_of_this_hub_are_listed_shown_and_cancelled(dashboard: Dashboard) -> None:
    async with dashboard.client() as client:
        url = "/dashboard/agents/tasks"
        await dashboard.ask("settings-update", patch={"a2aEnabled": True})
        assert "agent-card.json" in await shown(client, url)
        skill = (await dashboard.ask("a2a-status")).skills[0].id
        message = {"messageId": "1", "role": "ROLE_USER", "parts": [{"text": "<b>hello</b>"}], "metadata": {"skill": skill}}
        headers = {"a2a-version": "1.0", **await dashboard.running.headers("*")}
        body = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": message}}
        answer = (await client.post("/a2a", json=body, headers=headers)).json()
        task = answer["result"]["task"]["id"]
        assert task in await shown(client, url)
        page = await shown(client, f"{url}/{task}")
        assert "&lt;b&gt;hello&lt;/b&gt;" in page
        assert "How it went" in page
        assert (await client.get(f"{url}?state=working&skill={skill}")).status_code == 200
        await sent(client, f"{url}/{task}", "cancel", status=400)
        assert (await client.get(f"{url}/no-such")).status_code == 404


async def test_a_task_is_given_to_an_agent_and_followed(dashboard: Dashboard) -> None:
    async with dashboard.client() as client, sdk_agent("JSONRPC", "1.0") as remote:
        url = "/dashboard/agents/cloud"
        refused = await sent(client, url, "store", status=400, providerId="a2a", name="ours")
        assert "where the agent is" in refused.text
        await sent(
            client, url, "store", providerId="a2a", name="ours", baseUrl=remote.url, allowPrivate="on", isActive="on", apiKey="s3cret-typed"
        )
        page = await shown(client, url)
        assert "s3cret-typed" not in page
        refused = await sent(client, url, "begin", status=400, providerId="acp", prompt="do it")
        assert "source.agent must name" in refused.text
        begun = await sent(client, url, "begin", providerId="a2a", prompt="ask <b>", **{"source.agentUrl": remote.url})
        place = begun.headers["location"]
        page = await shown(client, place)
        assert "ask &lt;b&gt;" in page
        assert "See how far it is" in page
        await sent(client, place, "message", status=400, message="")
        await sent(client, place, "message", message="echo Paris")
        assert "echo Paris" in await shown(client, place)
        assert "ask &lt;b&gt;" in await shown(client, f"{url}?status=running") + await shown(client, url)
        again = await sent(client, url, "begin", providerId="a2a", prompt="ask", **{"source.agentUrl": remote.url})
        await sent(client, again.headers["location"], "cancel")
        assert "cancelled" in await shown(client, again.headers["location"])
        await sent(client, again.headers["location"], "approve", status=409)
        await sent(client, place, "delete")
        assert (await client.get(place)).status_code == 404
        credential = (await dashboard.ask("agent-credentials-list")).data[0].id
        await sent(client, url, "forget", id=credential)
        await sent(client, url, "forget", status=404, id=credential)


async def test_agents_of_this_machine_are_added_only_where_the_start_allows_it(dashboard: Dashboard, tmp_path: Path) -> None:
    """SEC-30."""
    program = tmp_path / "mine"
    program.write_text("#!/bin/sh\necho 1.2.3\n")
    program.chmod(0o755)
    fields = {"id": "mine", "name": "Mine", "binary": str(program), "versionCommand": f"{program} --version", "protocol": "stdio"}
    url = "/dashboard/agents/local"
    async with dashboard.client() as client:
        assert "HUBROUTE_ACP_CUSTOM_AGENTS" in await shown(client, url)
        await sent(client, url, "look")
        await sent(client, url, "add", status=403, **fields)
    async with running_hub(tmp_path, acp_custom_agents=True, acp_enabled=True) as running:
        _, token = await running.hub.login.sessions.begin(address="127.0.0.1", agent="tests")
        async with Dashboard(running, token).client() as client:
            assert 'role="alert"' in (await sent(client, url, "add", status=400, **{**fields, "binary": "/no/such"})).text
            await sent(client, url, "add", **fields)
            page = await shown(client, url)
            assert str(program) in page
            await sent(client, url, "remove", id="mine")
            assert str(program) not in await shown(client, url)


async def test_compression_is_tried_set_and_reported(dashboard: Dashboard) -> None:
    async with dashboard.client() as client:
        url = "/dashboard/compression"
        assert "Prompts are sent as they are" in await shown(client, url)
        text = "Hello, I would really like you to please just basically explain the following thing to me, if you would be so kind. " * 3
        tried = (await sent(client, f"{url}/try", "preview", status=200, content=text + "<b>", role="user", mode="standard")).text
        assert "<del>" in tried
        assert "&lt;b&gt;" in tried
        assert "caveman" in tried
        log = "\n".join(["same line of a log"] * 50)
        assert "rtk" in (await sent(client, f"{url}/try", "preview", status=200, content=log, role="tool", mode="rtk")).text
        refused = await sent(client, f"{url}/try", "preview", status=400, content=text, role="user", mode="none")
        assert 'class="field wrong"' in refused.text
        left = (await sent(client, f"{url}/try", "filter", status=200, text=log, command="make")).text
        assert "What is left of it" in left
        assert 'value="make"' in left
        await sent(client, f"{url}/try", "filter", status=400, text="")

        place = f"{url}/settings"
        stored = (await dashboard.ask("compression-settings-get")).model_dump(mode="json", by_alias=True)
        plain = {name: str(value) for name, value in stored.items() if isinstance(value, int | str) and not isinstance(value, bool)}
        plain |= {"preserveSystemPrompt": "on", "preserveCachedPrefix": "on", "stackedPipeline": json.dumps(stored["stackedPipeline"])}
        await sent(client, place, "save", group="general", **{**plain, "enabled": "on", "defaultMode": "standard"})
        after = await dashboard.ask("compression-settings-get")
        assert (after.enabled, after.default_mode, after.stacked_pipeline[0].engine) == (True, "standard", "rtk")
        await sent(client, place, "save", group="general", **{**plain, "enabled": "on", "defaultMode": "standard"})
        assert "Nothing was changed" in await shown(client, place)
        refused = (await sent(client, place, "save", status=400, group="general", **{**plain, "cacheMinutes": "900"})).text
        assert 'class="field wrong"' in refused

        headers = await dashboard.running.headers("chat")
        body = {"model": "demo", "messages": [{"role": "user", "content": text}]}
        assert (await client.post("/v1/chat/completions", json=body, headers=headers)).status_code == 200
        await dashboard.running.hub.store.flush()
        page = await shown(client, f"{url}?since=7d")
        assert "Tokens saved a day" in page
        assert "standard" in page
        assert "Tokens saved an hour" in await shown(client, url)
        assert "Filters of command output" in await shown(client, f"{url}/rules?language=en")


async def test_a_pipeline_is_made_given_to_a_combo_and_deleted(dashboard: Dashboard) -> None:
    async with dashboard.client() as client:
        url = "/dashboard/compression/combos"
        steps: list[dict[str, Any]] = [{"engine": "rtk", "intensity": "nonsense"}]
        refused = (await sent(client, url, "create", status=400, name="short", pipeline=json.dumps(steps))).text
        assert 'role="alert"' in refused
        steps[0]["intensity"] = "aggressive"
        made = await sent(client, url, "create", name="short", pipeline=json.dumps(steps), languagePacks="en", outputModeIntensity="full")
        place = made.headers["location"]
        combo = await dashboard.ask("combos-create", name="cheap", models=[{"model": "demo/demo"}])
        await sent(client, place, "assign", **{f"combo.{combo.id}": "on"})
        assert f'name="combo.{combo.id}" value="on" checked' in await shown(client, place)
        await sent(client, place, "assign", status=400, **{"combo.no-such": "on"})
        await sent(
            client,
            place,
            "change",
            name="shorter",
            pipeline=json.dumps(steps),
            languagePacks="en",
            outputMode="on",
            outputModeIntensity="lite",
        )
        after = await dashboard.ask("compression-combos-get", id=place.rsplit("/", 1)[1])
        assert (after.name, after.output_mode, after.output_mode_intensity) == ("shorter", True, "lite")
        assert "shorter" in await shown(client, url)
        await sent(client, place, "delete")
        assert (await client.get(place)).status_code == 404


async def test_a_policy_is_tried_made_changed_tested_and_deleted(dashboard: Dashboard) -> None:
    async with dashboard.client() as client:
        url = "/dashboard/policies"
        rule = {
            "name": "no <dear> models",
            "enabled": "on",
            "priority": "50",
            "when.models": "demo*",
            "then.action": "deny",
            "then.message": "no",
        }
        rule |= {"when.time.zone": "UTC", "then.maxTokens": "5"}
        call = {"skill": "chat", "door": "openai", "model": "demo"}
        tried = (await sent(client, url, "try", status=200, **rule, **call)).text
        assert "not stored" in tried
        assert 'value="no &lt;dear&gt; models"' in tried
        assert "refused" in tried
        assert not (await dashboard.ask("policies-list")).policies
        refused = (await sent(client, url, "create", status=400, **{**rule, "when.time.from": "25:99", "then.message": "x" * 600})).text
        assert len(re.findall('class="field wrong"', refused)) == 2
        assert "no &lt;dear&gt; models" in refused
        made = await sent(client, url, "create", **rule)
        place = made.headers["location"]
        stored = (await dashboard.ask("policies-list")).policies[0]
        assert stored.when.time is None
        assert stored.then.model_dump() == {"action": "deny", "message": "no"}
        tested = (await sent(client, url, "test", status=200, **call, moment="2026-03-01T12:00")).text
        assert "no &lt;dear&gt; models" in tested
        assert "refused" in tested
        await sent(client, url, "test", status=400, **call, moment="noon")
        await sent(client, url, "test", status=404, **{**call, "skill": "no-such"})
        await sent(client, url, "switch", id=stored.id, to="off")
        assert "allowed" in (await sent(client, place, "test", status=200, **call)).text
        changed = {**rule, "name": "ours", "then.action": "cap_tokens", "when.stream": "no", "when.time.weekdays": "1\n2"}
        await sent(client, place, "change", **changed)
        after = (await dashboard.ask("policies-list")).policies[0]
        assert (after.name, after.then.max_tokens, after.when.stream, after.when.time.weekdays) == ("ours", 5, False, (1, 2))
        page = await shown(client, place)
        assert "<option selected>no</option>" in page
        await sent(client, place, "change", status=400, **{**changed, "then.maxTokens": ""})
        assert "weekdays 1, 2" in await shown(client, url)
        await sent(client, place, "delete")
        assert (await client.get(place)).status_code == 404
