"""Where ours differs from the recorded contract on purpose, and why. A row that does not hold any more fails the test, too.

Each row is the start of the lines that a :class:`~tests.contract.trial.Trial` finds; ``D`` numbers are those of the project's decisions.
"""

from __future__ import annotations

from typing import TypeAlias

Rows: TypeAlias = dict[str, str]

_UNKNOWN = "D17: what nobody knows is null, never a made-up number"
_ENVELOPE = "every management address refuses in one envelope, whatever the original's single routes do"
_VENDOR = "D20: fields of the dialect go to the provider as they are, and it says what it does not take"
_MODEL = "a model that nobody has is 404, however long its name"
_OTHER_PAGES = "a setting of the original's own pages or of a vendor's client that ours does not imitate (D5)"
_CREATED = "a creation is 201"
_LARGER = "there may be more than a hundred connections: up to 999"
_CASE = "the answers of JSON-RPC are 200 in both versions of the protocol; the error is in the body"
_NULLABLE_LIMITS: Rows = {"success: .catalog.*.models[].max_output_tokens: integer": _UNKNOWN}
_CHAT: Rows = {
    f"wrong {name}:": _VENDOR for name in ("max_tokens", "response_format", "stream_options", "temperature", "tools", "top_p", "user")
}
_SETTINGS: Rows = {
    f"success: .{name}: missing": _OTHER_PAGES
    for name in (
        "antigravitySignatureCacheMode", "hiddenSidebarItems", "hideEndpointCloudflaredTunnel", "hideEndpointTailscaleFunnel",
        "hideEndpointNgrokTunnel", "comboConfigMode", "call_log_pipeline_enabled", "codexConnectionDefaultsMigrationV1",
        "provider_limits_auto_sync_last_run",
    )
}  # fmt: skip
_TASKS: Rows = {"401: error body is not managed": _ENVELOPE}

DIFFERENCES: dict[str, Rows] = {
    "POST /v1/chat/completions": {
        **_CHAT,
        "wrong model: status 404": _MODEL,
        "success: no header x-omniroute-idempotent": "only a repeated request has it",
        "success: no header x-omniroute-progress": "progress is told in streams; this answer is none",
    },
    "POST /v1/messages": {"wrong model: status 404": _MODEL, "wrong max_tokens:": _VENDOR},
    "POST /v1/responses": {"wrong model: status 404": _MODEL},
    "POST /v1/providers/{provider}/chat/completions": {
        **_CHAT,
        "wrong model: status 200": "which models there are is the provider's to say",
    },
    "GET /v1/embeddings": {"success: .data[].dimensions: integer": _UNKNOWN},
    "GET /v1/models": {"success: .data[].max_output_tokens: integer": _UNKNOWN},
    "GET /v1beta/models": {
        "success: .models[].inputTokenLimit: integer": _UNKNOWN,
        "success: .models[].outputTokenLimit: integer": _UNKNOWN,
    },
    "POST /v1/search": {
        "wrong provider: status 404": "which providers there are is the owner's to choose; one that is not there is 404",
        "success: .metrics.total_results_available: integer": _UNKNOWN,
    },
    "GET /v1/ws": {"wrong ?handshake: status 426": "whatever is no handshake is answered as the socket's address answers"},
    "POST /api/providers": {"wrong priority: status 201": _LARGER, "wrong globalPriority: status 201": _LARGER},
    "PUT /api/providers/{id}": {"wrong priority: status 200": _LARGER, "wrong globalPriority: status 200": _LARGER},
    "POST /api/provider-models": {"success: status 201": _CREATED},
    "GET /api/oauth/{provider}/{action}": {
        "401: error body is not text": _ENVELOPE,
        "success: .codeVerifier: missing": "it stays in the hub: with it a stolen code could be redeemed",
    },
    "GET /api/models/alias": {"success: .resolved.metadata.limits.defaultThinkingBudget: integer": _UNKNOWN},
    "GET /api/models/catalog": _NULLABLE_LIMITS,
    "GET /api/keys/{id}/reveal": {
        "403: error body is not text": _ENVELOPE,
        "success: status 403": "only the digest of a key is stored: nobody can see it again",
    },
    "GET /api/pricing": {"success: .*.*.input: number": _UNKNOWN, "success: .*.*.output: number": _UNKNOWN},
    "GET /api/settings": _SETTINGS,
    "PATCH /api/settings": {
        **_SETTINGS,
        "success: .resilienceSettings.waitForCooldown.maxRetryWaitMs: missing": "as maxRetryWaitSec; what is shown can be sent back",
    },
    "PUT /api/settings": {
        **_SETTINGS,
        "success: .instanceName: missing": "names nothing here; the answer says so in `ignored`",
        "success: .theme: missing": "each browser chooses its own; the answer says so in `ignored`",
    },
    "GET /api/compliance/audit-log": {
        f"success: [].{name}.provider: missing": "the recording holds changes of connections only; ours has every call, with its own input"
        for name in ("details", "metadata")
    },
    "GET /api/usage/budget": {"wrong ?apiKeyId: status 200": "without a key all are shown, as the reference documents"},
    "GET /api/v1/agents/tasks": {**_TASKS, "wrong ?provider: status 200": "agents may be added, so that none is known to be wrong"},
    "POST /api/v1/agents/tasks": _TASKS,
    "DELETE /api/v1/agents/tasks": _TASKS,
    "GET /api/v1/agents/tasks/{id}": _TASKS,
    "POST /api/v1/agents/tasks/{id}": _TASKS,
    "DELETE /api/v1/agents/tasks/{id}": _TASKS,
    "POST /api/mcp/sse": {
        "success: no JSON": "the protocol's 202 has no body of its own",
        "wrong method: the field is not named": "the protocol reads frames as a whole",
        "wrong params: the field is not named": "the protocol reads frames as a whole",
    },
    "POST /a2a": {f"wrong {name}: status 200": _CASE for name in ("jsonrpc", "method", "params")},
    "POST /api/a2a/tasks": {"403: status 405": "nobody may create tasks here, whatever the key; the answer says what is offered"},
    "POST /api/skills/install": {
        "wrong description: status 200": "it may be left out, as a SKILL.md has its own",
        "wrong schema: status 200": "what has no schema takes and gives anything",
    },
    "POST /api/memory": {"success: status 201": _CREATED},
    "POST /api/cloud/auth": {"401: error body is not text": _ENVELOPE},
}
