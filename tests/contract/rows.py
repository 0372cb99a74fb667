"""How each operation of the contract succeeds: what must exist first, and a right request. ``$name`` is what was made by that name."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from tests.contract.world import HI, MODEL, PASSWORD
from tests.fakes.listeners import SOUND
from tests.fakes.pictures import PNG
from tests.fakes.signin import CODE

CHAT = {"model": MODEL, "messages": HI}
LOCAL = MODEL.partition("/")[2]
SOURCE = {"repoName": "acme/shop", "repoUrl": "https://github.com/acme/shop", "branch": "main"}
CASE = {"name": "one", "input": {"messages": HI}, "expected": {"strategy": "contains", "value": "a"}}
TURN = {"messages": [{"role": "user", "content": "Please kindly explain what this does in order to understand it, thank you very much"}]}


@dataclass(frozen=True)
class Row:
    """A right request. ``path`` fills the address, ``sends`` is the whole of httpx's options where the body is no JSON.

    ``fields`` are fields of the answer that the contract leaves open but this request must get. ``more`` are further right requests.
    ``absent`` is an id that nothing has, ``found_by`` the query field that holds one; ``ends`` says that the process does not
    go on as it was.
    """

    needs: tuple[str, ...] = ()
    body: Any = None
    query: dict[str, str] = field(default_factory=dict[str, str])
    path: dict[str, str] = field(default_factory=dict[str, str])
    sends: dict[str, Any] = field(default_factory=dict[str, Any])
    fields: tuple[str, ...] = ()
    more: tuple[Row, ...] = ()
    absent: str = "no-such-thing"
    found_by: str = ""
    ends: bool = False


def row(*needs: str, **more: Any) -> Row:
    """A row; ``id`` is short for the path's."""
    if "id" in more:
        more["path"] = {"id": more.pop("id"), **more.get("path", {})}
    return Row(needs, **more)


def form(name: str, content: bytes, kind: str, file: str = "file", **fields: str) -> dict[str, Any]:
    """A form with one file."""
    return {"data": fields, "files": {file: (name, content, kind)}}


_KEPT = {**CHAT, "temperature": 0}
_SESSION = {"headers": {"x-session-id": "s-1", "x-omniroute-progress": "true"}}
_COMBO = {"name": "made $n", "models": [MODEL], "strategy": "priority"}
_PROXY = {"name": "proxy $n", "host": "127.0.0.1", "port": 9, "username": "u", "password": "p"}
_NODE = {"name": "N", "prefix": "own$n", "apiType": "chat", "baseUrl": "$upstream/v1", "type": "openai-compatible"}
_RPC = {"jsonrpc": "2.0", "id": 1, "method": "message/send"}
_TALK = {**_RPC, "params": {"skill": "quota-management", "messages": HI, "metadata": {"model": MODEL}}}
_MCP = {"accept": "application/json, text/event-stream"}
_MCP_HELLO = {
    "jsonrpc": "2.0", "id": 1, "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
}  # fmt: skip
_PICTURE = form("a.png", PNG, "image/png", "image", prompt="a fox", model="openai/gpt-image-1")

ROWS: dict[str, Row] = {
    # the model API
    "POST /v1/chat/completions": row(body=_KEPT, sends=_SESSION),
    "POST /v1/embeddings": row(body={"model": "openai/text-embedding-3-small", "input": "a"}),
    "GET /v1/embeddings": row(),
    "POST /v1/images/generations": row(body={"model": "openai/gpt-image-1", "prompt": "a fox"}),
    "GET /v1/images/generations": row(),
    "GET /v1/models": row("combo"),
    "POST /v1/messages": row(body={**_KEPT, "max_tokens": 100}, sends=_SESSION),
    "POST /v1/responses": row(body={"model": MODEL, "input": "Hi", "temperature": 0}, sends=_SESSION),
    "POST /v1/images/edits": row(sends=_PICTURE),
    "POST /v1/videos/generations": row(body={"model": "runwayml/gen4.5", "prompt": "waves"}),
    "POST /v1/music/generations": row(body={"model": "comfyui/stable-audio-open", "prompt": "waves", "response_format": "b64_json"}),
    "POST /v1/audio/transcriptions": row(sends=form("a.wav", SOUND, "audio/wav", model="openai/gpt-4o-mini-transcribe")),
    "POST /v1/audio/speech": row(body={"model": "openai/gpt-4o-mini-tts", "input": "Hi", "voice": "alloy"}),
    "POST /v1/rerank": row(body={"model": "cohere/rerank-v3.5", "query": "q", "documents": ["a", "b"]}),
    "POST /v1/moderations": row(body={"model": "openai/omni-moderation-latest", "input": "a"}),
    "POST /v1/messages/count_tokens": row(body={"messages": HI, "model": MODEL}),
    "GET /v1beta/models": row(),
    "POST /v1beta/models/{path}": row(
        body={"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}, path={"path": f"{MODEL}:generateContent"}
    ),
    "POST /v1/api/chat": row(body={**CHAT, "stream": False}, more=(row(body=CHAT),)),
    "POST /v1/providers/{provider}/chat/completions": row(body={**CHAT, "model": LOCAL, "stream": True}, path={"provider": "openai"}),
    "POST /v1/providers/{provider}/embeddings": row(body={"model": "text-embedding-3-small", "input": "a"}, path={"provider": "openai"}),
    "POST /v1/providers/{provider}/images/generations": row(body={"model": "gpt-image-1", "prompt": "a fox"}, path={"provider": "openai"}),
    "POST /v1/files": row(sends=form("a.jsonl", b"{}\n", "application/jsonl", purpose="batch")),
    "GET /v1/files": row("file"),
    "GET /v1/files/{id}": row("file", id="$file"),
    "DELETE /v1/files/{id}": row("file", id="$file"),
    "GET /v1/files/{id}/content": row("file", id="$file"),
    "POST /v1/batches": row(
        "file",
        body={"input_file_id": "$file", "endpoint": "/v1/chat/completions", "completion_window": "24h", "metadata": {"a": "b"}},
    ),
    "GET /v1/batches": row("file", "batch"),
    "GET /v1/batches/{id}": row("file", "batch", id="$batch"),
    "DELETE /v1/batches/{id}": row("file", "batch", "over", id="$batch"),
    "POST /v1/batches/{id}/cancel": row("file", "batch", id="$batch"),
    "GET /v1/search": row(),
    "POST /v1/search": row(body={"query": "why $n", "provider": "serper-search"}),
    "GET /v1/search/analytics": row(),
    "GET /v1/ws": row(query={"handshake": "1"}),
    "GET /v1/quotas/check": row(query={"provider": "openai", "accountId": "a"}, more=(row(),)),
    "POST /v1/issues/report": row(body={"title": "no key", "provider": "openai", "labels": ["quota"]}),
    # login, providers
    "GET /api/cache/stats": row(),
    "DELETE /api/cache/stats": row(),
    "POST /api/auth/login": row(body={"password": PASSWORD}),
    "POST /api/auth/logout": row(),
    "GET /api/settings/require-login": row(),
    "PUT /api/settings/require-login": row(body={"requireLogin": True}),
    "POST /api/settings/require-login": row(body={"requireLogin": True}),
    "GET /api/providers": row("connection", "node", "member"),
    "POST /api/providers": row(
        body={"provider": "openai", "name": "P $n", "apiKey": "sk-x", "priority": 99, "providerSpecificData": {"baseUrl": "$upstream/v1"}}
    ),
    "GET /api/providers/{id}": row("node", "member", id="$member"),
    "PUT /api/providers/{id}": row("node", "member", id="$member", body={"name": "Q $n", "priority": 98, "maxConcurrent": None}),
    "DELETE /api/providers/{id}": row("connection", id="$connection"),
    "POST /api/providers/{id}/test": row("connection", id="$connection", body={}),
    "GET /api/providers/{id}/models": row("connection", id="$connection"),
    "POST /api/providers/validate": row(body={"provider": "openai", "apiKey": "sk-vendor-secret-0001", "baseUrl": "$upstream/v1"}),
    "GET /api/provider-nodes": row("node"),
    "POST /api/provider-nodes": row(body=_NODE),
    "PUT /api/provider-nodes/{id}": row(
        "node", id="$node", body={"name": "M", "prefix": "other$n", "baseUrl": "$upstream/v1", "apiType": "chat"}
    ),
    "DELETE /api/provider-nodes/{id}": row("node", id="$node"),
    "POST /api/provider-nodes/validate": row(
        body={"baseUrl": "$upstream/v1", "apiKey": "sk-vendor-secret-0001", "type": "openai-compatible"}
    ),
    "GET /api/provider-models": row("model", more=(row(query={"provider": "openai"}),)),
    "POST /api/provider-models": row(body={"provider": "openai", "modelId": "mine-$n"}),
    "PUT /api/provider-models": row("model", body={"provider": "openai", "modelId": "$model", "modelName": "Mine"}),
    "PATCH /api/provider-models": row("model", query={"provider": "openai", "modelId": "$model"}, body={"isHidden": True}),
    "DELETE /api/provider-models": row("model", query={"provider": "openai", "model": "$model"}, found_by="model"),
    "GET /api/oauth/{provider}/{action}": row(path={"provider": CODE, "action": "authorize"}),
    "POST /api/oauth/{provider}/{action}": row(
        "begun", path={"provider": CODE, "action": "exchange"}, body={"code": "$begun", "redirectUri": "$redirect", "state": "$state"}
    ),
    # routing
    "GET /api/models/alias": row(
        "alias", fields=("aliases",), more=(row("alias", query={"alias": "$alias"}, fields=("alias", "resolved")),), found_by="alias"
    ),
    "PUT /api/models/alias": row(body={"model": MODEL, "alias": "mine-$n"}),
    "POST /api/models/alias": row(body={"model": MODEL, "alias": "mine-$n"}),
    "DELETE /api/models/alias": row("alias", query={"alias": "$alias"}),
    "GET /api/models/catalog": row(),
    "GET /api/combos": row("combo"),
    "POST /api/combos": row(body=_COMBO, more=(row(body={**_COMBO, "config": {"maxRetries": 2}}),)),
    "GET /api/combos/{id}": row("combo", id="$combo"),
    "PUT /api/combos/{id}": row("combo", id="$combo", body={"strategy": "round-robin", "config": {"maxRetries": 2}}),
    "DELETE /api/combos/{id}": row("combo", id="$combo"),
    "POST /api/combos/test": row("combo", body={"comboName": "$comboName"}, found_by="comboName"),
    "GET /api/combos/metrics": row("combo", "used", query={"combo": "$comboName"}, more=(row("combo", "used"),)),
    "DELETE /api/combos/metrics": row("combo", "used", query={"combo": "$comboName"}),
    "POST /api/combos/reorder": row("combo", body={"comboIds": ["$combo"]}),
    "GET /api/keys": row("key"),
    "POST /api/keys": row(body={"name": "K $n"}),
    "GET /api/keys/{id}": row("key", id="$key"),
    "PATCH /api/keys/{id}": row("key", id="$key", body={"name": "L $n", "allowedModels": [MODEL], "maxSessions": 2}),
    "DELETE /api/keys/{id}": row("key", id="$key"),
    "GET /api/keys/{id}/reveal": row("key", id="$key"),
    "GET /api/pricing": row(),
    "PATCH /api/pricing": row(body={"openai": {"gpt-5.4-mini": {"input": 1, "output": 2.5}}}),
    "DELETE /api/pricing": row(query={"provider": "openai", "model": "gpt-5.4-mini"}),
    "GET /api/usage/history": row("combo", "used"),
    "GET /api/usage/logs": row("combo", "used"),
    "GET /api/usage/request-logs": row("combo", "used"),
    "GET /api/usage/{connectionId}": row("connection", "stated", path={"connectionId": "$connection"}),
    # settings, context
    "GET /api/settings": row(),
    "PATCH /api/settings": row(body={"instanceName": "mine", "theme": "dark"}),
    "PUT /api/settings": row(body={"instanceName": "mine", "theme": "dark"}),
    "GET /api/settings/proxy": row(),
    "PUT /api/settings/proxy": row(
        body={"level": "provider", "id": "serper-search", "proxy": {"type": "http", "host": "127.0.0.1", "port": 9}}
    ),
    "DELETE /api/settings/proxy": row(query={"level": "provider", "id": "serper-search"}),
    "POST /api/settings/proxy/test": row(body={"proxy": {"type": "http", "host": "127.0.0.1", "port": 9}}),
    "GET /api/settings/ip-filter": row(),
    "PUT /api/settings/ip-filter": row(body={"enabled": False, "blacklist": ["10.1.2.3"]}),
    "GET /api/settings/thinking-budget": row(),
    "PUT /api/settings/thinking-budget": row(body={"mode": "custom", "customBudget": 1000, "effortLevel": "low"}),
    "GET /api/settings/system-prompt": row(),
    "PUT /api/settings/system-prompt": row(body={"prompt": "p", "enabled": False}),
    "GET /api/settings/compression": row(),
    "PUT /api/settings/compression": row(body={"enabled": False, "defaultMode": "lite"}),
    "POST /api/compression/preview": row(body={**TURN, "mode": "standard"}),
    "GET /api/compression/language-packs": row(),
    "GET /api/compression/rules": row(),
    "GET /api/context/caveman/config": row(),
    "PUT /api/context/caveman/config": row(body={"enabled": False}),
    "GET /api/context/rtk/config": row(),
    "PUT /api/context/rtk/config": row(body={"intensity": "standard"}),
    "GET /api/context/rtk/filters": row(),
    "POST /api/context/rtk/test": row(body={"text": "a\n" * 300, "command": "ls -la"}),
    "GET /api/context/rtk/raw-output/{id}": row("raw", id="$raw", absent="0" * 24),
    "GET /api/context/combos": row("pipeline"),
    "POST /api/context/combos": row(body={"name": "C $n", "pipeline": [{"engine": "rtk", "intensity": "standard"}]}),
    "GET /api/context/combos/{id}": row("pipeline", id="$pipeline"),
    "PUT /api/context/combos/{id}": row("pipeline", id="$pipeline", body={"description": "d"}),
    "DELETE /api/context/combos/{id}": row("pipeline", id="$pipeline"),
    "GET /api/context/combos/{id}/assignments": row("pipeline", id="$pipeline"),
    "PUT /api/context/combos/{id}/assignments": row("pipeline", "combo", id="$pipeline", body={"routingComboIds": ["$combo"]}),
    "GET /api/context/analytics": row("raw"),
    # operation
    "GET /api/sessions": row("combo", "used"),
    "GET /api/rate-limits": row("connection", "cooling"),
    "GET /api/monitoring/health": row("combo", "used"),
    "GET /api/db-backups": row("backup"),
    "PUT /api/db-backups": row(),
    "POST /api/db-backups": row("backup", body={"backupId": "$backup"}, found_by="backupId"),
    "GET /api/db-backups/export": row(),
    "POST /api/db-backups/import": row("copy", sends={"content": "$copy"}, query={"filename": "x.sqlite"}),
    "GET /api/db-backups/exportAll": row(),
    "GET /api/sync/cloud": row(),
    "POST /api/sync/cloud": row(body={"action": "disable"}),
    "POST /api/sync/initialize": row(body={}),
    "GET /api/tunnels/cloudflared": row(),
    "POST /api/tunnels/cloudflared": row(body={"action": "enable"}, more=(row(body={"action": "disable"}),)),
    "GET /api/tunnels/ngrok": row(),
    "POST /api/tunnels/ngrok": row(body={"action": "enable", "authToken": "t" * 20}, more=(row(body={"action": "disable"}),)),
    "GET /api/cli-tools/claude-settings": row(),
    "GET /api/cli-tools/codex-settings": row(),
    "GET /api/cli-tools/droid-settings": row(),
    "GET /api/cli-tools/openclaw-settings": row(),
    "GET /api/cli-tools/runtime/{toolId}": row(path={"toolId": "claude"}),
    "GET /api/acp/agents": row("agent"),
    "POST /api/acp/agents": row(
        body={"id": "own-$n", "name": "Own", "binary": "mine", "versionCommand": "mine --version"},
        fields=("added",),
        more=(row(body={"action": "refresh"}, fields=("refreshed",)),),
    ),
    "DELETE /api/acp/agents": row("agent", query={"id": "$agent"}, found_by="id"),
    "GET /api/resilience": row(),
    "PATCH /api/resilience": row(body={"requestQueue": {"requestsPerMinute": 100}}),
    "POST /api/resilience/reset": row(body={}),
    "GET /api/resilience/model-cooldowns": row("connection", "cooling"),
    "DELETE /api/resilience/model-cooldowns": row("connection", "cooling", body={"provider": "openai", "model": "gone-model"}),
    "GET /api/rate-limit": row(),
    "GET /api/evals": row("suite", "run"),
    "POST /api/evals": row(
        "suite",
        body={"suiteId": "$suite", "target": {"type": "model", "id": MODEL}},
        fields=("runs", "scorecard", "recentRuns", "historyScorecard"),
        more=(row("suite", body={"suiteId": "$suite", "outputs": {}}, fields=("suiteName", "results", "summary")),),
    ),
    "GET /api/policies": row(),
    "POST /api/policies": row("key", body={"action": "unlock", "identifier": "$key"}),
    "DELETE /api/policies": row("key", query={"identifier": "$key"}),
    "GET /api/compliance/audit-log": row("connection"),
    "GET /api/init": row(),
    "GET /api/tags": row(),
    "POST /api/restart": row(ends=True),
    "POST /api/shutdown": row(ends=True),
    "POST /api/system/env/repair": row(body={}),
    "GET /api/system-info": row(),
    "GET /api/telemetry/summary": row("combo", "used"),
    "GET /api/usage/budget": row("key", "budget", query={"apiKeyId": "$key"}, found_by="apiKeyId"),
    "POST /api/usage/budget": row("key", body={"apiKeyId": "$key", "dailyLimitUsd": 1, "monthlyLimitUsd": 9.5}, found_by="apiKeyId"),
    "GET /api/model-combo-mappings": row("combo", "mapping"),
    "POST /api/model-combo-mappings": row("combo", body={"pattern": "own-$n-*", "comboId": "$combo"}),
    "GET /api/model-combo-mappings/{id}": row("combo", "mapping", id="$mapping"),
    "PUT /api/model-combo-mappings/{id}": row("combo", "mapping", id="$mapping", body={"priority": 3}),
    "DELETE /api/model-combo-mappings/{id}": row("combo", "mapping", id="$mapping"),
    "GET /api/webhooks": row("hook"),
    "POST /api/webhooks": row(body={"url": "$hook", "events": ["*"], "secret": "s" * 32}),
    "GET /api/webhooks/{id}": row("hook", id="$hook"),
    "PUT /api/webhooks/{id}": row("hook", id="$hook", body={"description": "d"}),
    "DELETE /api/webhooks/{id}": row("hook", id="$hook"),
    "POST /api/webhooks/{id}/test": row("hook", id="$hook"),
    # keys, agents, proxies
    "GET /api/v1/registered-keys": row("registered"),
    "POST /api/v1/registered-keys": row(body={"name": "r", "provider": "openai", "accountId": "a"}),
    "GET /api/v1/registered-keys/{id}": row("registered", id="$registered"),
    "DELETE /api/v1/registered-keys/{id}": row("registered", id="$registered"),
    "POST /api/v1/registered-keys/{id}/revoke": row("registered", id="$registered"),
    "GET /api/v1/agents/tasks": row("task"),
    "POST /api/v1/agents/tasks": row(body={"providerId": "codex-cloud", "prompt": "Fix it", "source": SOURCE}),
    "DELETE /api/v1/agents/tasks": row("task", query={"id": "$task"}, found_by="id"),
    "GET /api/v1/agents/tasks/{id}": row("task", id="$task"),
    "POST /api/v1/agents/tasks/{id}": row("task", id="$task", body={"action": "cancel"}),
    "DELETE /api/v1/agents/tasks/{id}": row("task", id="$task"),
    "GET /api/v1/management/proxies": row(
        "combo",
        "proxy",
        "assigned",
        fields=("items", "page"),
        found_by="id",
        more=(
            row(
                "proxy",
                query={"id": "$proxy"},
                fields=("id", "name", "type", "host", "port", "username", "password", "region", "notes", "status"),
            ),
            row("combo", "proxy", "assigned", query={"id": "$proxy", "where_used": "1"}, fields=("count", "assignments")),
        ),
    ),
    "POST /api/v1/management/proxies": row(body=_PROXY),
    "PATCH /api/v1/management/proxies": row("proxy", body={"id": "$proxy", "notes": "n"}),
    "DELETE /api/v1/management/proxies": row("proxy", query={"id": "$proxy"}),
    "GET /api/v1/management/proxies/assignments": row(
        "combo",
        "proxy",
        "assigned",
        fields=("items", "page"),
        more=(row("connection", query={"resolve_connection_id": "$connection"}, fields=("proxy", "level", "levelId")),),
    ),
    "PUT /api/v1/management/proxies/assignments": row("combo", "proxy", body={"scope": "combo", "scopeId": "$combo", "proxyId": "$proxy"}),
    "PUT /api/v1/management/proxies/bulk-assign": row(
        "combo", "proxy", body={"scope": "combo", "scopeIds": ["$combo"], "proxyId": "$proxy"}
    ),
    "GET /api/v1/management/proxies/health": row("proxy"),
    # user skills, memory
    "GET /api/skills": row("skill"),
    "GET /api/skills/{id}": row("skill", id="$skill"),
    "PUT /api/skills/{id}": row("skill", id="$skill", body={"enabled": True, "mode": "auto"}),
    "DELETE /api/skills/{id}": row("skill", id="$skill"),
    "POST /api/skills/install": row(
        body={"name": "own-$n", "description": "d", "schema": {"input": {}, "output": {}}, "handlerCode": "return 1", "version": "1.0.0"}
    ),
    "GET /api/skills/executions": row("skillsmp", "skill", "skill_run"),
    "GET /api/skills/marketplace": row("skillsmp", query={"q": "a"}),
    "POST /api/skills/marketplace/install": row(
        "skillsmp", body={"name": "own-$n", "description": "d", "skillMdContent": "---\nname: own-$n\ndescription: d\n---\nDo it.\n"}
    ),
    "GET /api/skills/skillssh": row(query={"q": "a"}),
    "POST /api/skills/skillssh/install": row(
        "skillssh", body={"name": "own-$n", "description": "d", "source": "acme/tools", "skillId": "pdf"}
    ),
    "GET /api/memory": row("memory"),
    "POST /api/memory": row(body={"content": "c $n", "key": "k", "type": "factual"}),
    "GET /api/memory/{id}": row("memory", id="$memory"),
    "DELETE /api/memory/{id}": row("memory", id="$memory"),
    "GET /api/memory/health": row(),
    # MCP and A2A
    "GET /api/mcp/status": row(),
    "GET /api/mcp/tools": row(),
    "GET /api/mcp/sse": row(sends={"stream": True}),
    "POST /api/mcp/sse": row("pipe", body={"jsonrpc": "2.0", "id": 1, "method": "ping"}, query={"session_id": "$pipe"}),
    "GET /api/mcp/stream": row("session", sends={"stream": True, "headers": {**_MCP, "mcp-session-id": "$session"}}),
    "POST /api/mcp/stream": row(body=_MCP_HELLO, sends={"headers": _MCP}),
    "DELETE /api/mcp/stream": row("session", sends={"headers": {"mcp-session-id": "$session"}}),
    "GET /api/mcp/audit": row(),
    "GET /api/mcp/audit/stats": row(),
    "POST /a2a": row(body=_TALK),
    "GET /.well-known/agent.json": row(),
    "GET /api/a2a/status": row("talk"),
    "GET /api/a2a/tasks": row("talk"),
    "POST /api/a2a/tasks": row(),
    "GET /api/a2a/tasks/{id}": row("talk", id="$talk"),
    "POST /api/a2a/tasks/{id}/cancel": row("open_talk", id="$open_talk"),
    # sync clients, quality
    "POST /api/cloud/auth": row("alias", body={}),
    "POST /api/cloud/credentials/update": row(
        "account", body={"provider": "groq", "credentials": {"accessToken": "a"}}, found_by="provider"
    ),
    "PUT /api/cloud/credentials/update": row(
        "account", body={"provider": "groq", "credentials": {"accessToken": "a"}}, found_by="provider"
    ),
    "POST /api/cloud/model/resolve": row("alias", body={"alias": "$alias"}, found_by="alias"),
    "GET /api/cloud/models/alias": row("alias"),
    "PUT /api/cloud/models/alias": row(body={"model": MODEL, "alias": "mine-$n"}),
    "GET /api/assess": row(),
    "POST /api/assess": row(body={"scope": {"type": "model", "modelId": MODEL}, "trigger": "manual"}),
    "POST /api/evals/suites": row(body={"name": "S $n", "cases": [CASE]}),
    "GET /api/evals/suites/{id}": row("suite", id="$suite"),
}


def filled(value: Any, made: dict[str, str]) -> Any:
    """A value with what was made in the places of ``$names``."""
    if isinstance(value, dict):
        return {name: filled(one, made) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(filled(one, made) for one in value)
    if isinstance(value, str) and "$" in value:
        # In one pass: what is put in may hold anything, a whole file too.
        names = "|".join(map(re.escape, sorted(made, key=len, reverse=True)))
        return re.sub(rf"\$({names})", lambda found: made[found[1]], value)
    return value
