"""A hub that has been lived in: something of everything that the dashboard shows, with names and texts as long as people make them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hub.chat import Usage
from tests.hub.store.rows import usage_row

if TYPE_CHECKING:
    from tests.dashboard.conftest import Dashboard

_HOUR = 3_600_000
_MODELS = (
    ("openai", "gpt-5.2"),
    ("anthropic", "claude-opus-4-6"),
    ("gemini", "gemini-3-pro-preview"),
    ("groq", "llama-4-maverick-17b-128e"),
)
_SKILL = """---
name: commit-messages
description: How commits are written here.
---
Write the message in the imperative, and say why.
"""


async def furnish(dashboard: Dashboard, *, tools: str, agent: str) -> None:
    """Fill it: accounts, keys and what they may, routing, 30 days of calls, and what is beside them.

    ``tools`` is the address of an MCP server, ``agent`` that of an A2A agent.
    """
    await _routes(dashboard)
    await _beside(dashboard)
    await _calls(dashboard)
    await _agents(dashboard, tools, agent)
    await _quality(dashboard)


async def _routes(dashboard: Dashboard) -> None:
    ask = dashboard.ask
    accounts = (("openai", "work account of the platform team"), ("anthropic", "main"), ("gemini", "free tier"), ("groq", "spare"))
    for provider, name in accounts:
        await ask("connections-create", provider=provider, name=name, apiKey="sk-0123456789abcdef", isActive=name != "spare")
    await ask("nodes-create", name="the rack in the cellar", prefix="cellar", apiType="chat", baseUrl="https://llm.cellar.example/v1")
    names = [f"{provider}/{model}" for provider, model in _MODELS]
    combo = (await ask("combos-create", name="careful-and-cheap", models=names, strategy="cost-optimized")).id
    await ask("combos-create", name="fast", models=names[:2], strategy="round-robin")
    await ask("mappings-create", pattern="gpt-4*", comboId=combo, description="old names go to what is good now")
    await ask("aliases-set", alias="best", model=names[0])
    for number, name in enumerate(("laptop", "continuous-integration-of-the-monorepo", "phone")):
        key = await ask("keys-create", name=name, scopes=["chat"], tags=["team-a"])
        await ask("budgets-set", apiKeyId=key.id, dailyLimitUsd=number + 1, monthlyLimitUsd=50)
    await ask("keys-create", name="for everything", scopes=["manage"])


async def _beside(dashboard: Dashboard) -> None:
    ask = dashboard.ask
    hook = await ask(
        "webhooks-create", url="http://127.0.0.1:9/hub", events=["budget.exceeded", "key.*"], description="the on-call channel"
    )
    await ask("webhooks-test", id=hook.webhook.id)
    await ask("sync-tokens-create", name="laptop")
    proxy = await ask(
        "proxies-create", name="Frankfurt", host="proxy.example", port=8080, region="eu-central-1", notes="for accounts of the EU"
    )
    await ask("proxies-assign", scope="provider", scopeId="groq", proxyId=proxy.id)
    asked = {"messages": [{"role": "user", "content": "2 + 2?"}]}
    cases = [{"id": "sum", "name": "adds", "input": asked, "expected": {"strategy": "numeric", "value": "4"}}]
    await ask("evals-suite-create", name="arithmetic", description="What every model should know.", cases=cases)
    for key, content in (("preference:editor", "Writes Python in Vim, with tabs of four blanks."), ("fact:city", "Lives in Göttingen.")):
        await ask("memory-add", key=key, content=content)
    await ask("user-skills-install", skillMdContent=_SKILL)
    await ask("policies-create", policy={"name": "no exports", "when": {"skills": ["memory-export"]}, "then": {"action": "deny"}})
    await ask("backup-create")


async def _calls(dashboard: Dashboard) -> None:
    hub = dashboard.running.hub
    now = hub.clock.now_ms()
    for number in range(1500):
        provider, model = _MODELS[number * 7 % 13 % 4]
        failed = number % 41 == 0
        hub.store.usage.add(
            usage_row(
                number,
                at=now - number * _HOUR * 24 * 30 // 1500,
                provider=provider,
                model=model,
                usage=Usage(input=900 + number % 700, cache_read=number % 400, output=120 + number % 300),
                cost=None if number % 50 == 0 else 0.002 * (1 + number % 9),
                outcome="error" if failed else "ok",
                status=429 if failed else 200,
                error_code="rate_limit_error" if failed else "",
                fallbacks=int(number % 17 == 0),
            )
        )
    await hub.store.flush()
    async with dashboard.client(signed_in=False) as client:
        key = await dashboard.ask("keys-create", name="caller", scopes=["chat"])
        for words in ("Hello", "What is a monad?"):
            body = {"model": "demo", "messages": [{"role": "user", "content": words}]}
            answer = await client.post("/v1/chat/completions", json=body, headers={"authorization": f"Bearer {key.key}"})
            assert answer.status_code == 200, answer.text
    await hub.store.flush()


async def _agents(dashboard: Dashboard, tools: str, agent: str) -> None:
    ask = dashboard.ask
    await ask("mcp-servers-add", name="toolbox", transport="http", url=tools, allowPrivate=True)
    await ask("agents-add", name="far", url=agent, allowPrivate=True)
    await ask("agent-credentials-set", providerId="a2a", name="ours", baseUrl=agent, allowPrivate=True, apiKey="secret-of-the-agent")
    await ask("agent-tasks-create", providerId="a2a", prompt="echo what is done", source={"agentUrl": agent})
    await ask("settings-update", patch={"a2aEnabled": True})
    skill = (await ask("a2a-status")).skills[0].id
    message = {"messageId": "1", "role": "ROLE_USER", "parts": [{"text": "hello"}], "metadata": {"skill": skill}}
    body = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": message}}
    async with dashboard.client(signed_in=False) as client:
        answer = await client.post("/a2a", json=body, headers={"a2a-version": "1.0", **await dashboard.running.headers("*")})
        assert "task" in answer.json()["result"], answer.text


async def _quality(dashboard: Dashboard) -> None:
    ask = dashboard.ask
    suite = next(one for one in (await ask("evals-board")).suites if one.name == "arithmetic")
    await ask("evals-run", suiteId=suite.id, target={"type": "model", "id": "demo/demo"})
    await ask("assess", scope={"type": "model", "modelId": "demo/demo"}, depth="quick", waitSeconds=20)
