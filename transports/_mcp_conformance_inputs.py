"""The conformance suite's tools that need input on the way: multi round-trip requests of 2026-07-28.

A result may ask for input (`inputRequests`) with a sealed state; the client repeats the call with
both. Test profile only, see :mod:`transports._mcp_conformance`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from transports._mcp_conformance_tools import Fixture, answer, text

if TYPE_CHECKING:
    from mcp.server.context import ServerRequestContext

    Ctx = ServerRequestContext[Any, Any]

_ROOTS: dict[str, Any] = {"method": "roots/list", "params": {}}


def fixtures() -> dict[str, Fixture]:
    """The tools by name."""
    prefix = "test_input_required_result_"
    runs = {
        "capabilities": _capabilities,
        "elicitation": _elicitation,
        "list_roots": _list_roots,
        "multi_round": _multi_round,
        "multiple_inputs": _multiple_inputs,
        "request_state": _request_state,
        "sampling": _sampling,
        "tampered_state": _tampered_state,
    }
    return {prefix + name: Fixture(f"Asks for input on the way: {name}", run) for name, run in runs.items()}


def context_prompt(ctx: Ctx) -> dict[str, Any]:
    """The prompt that asks for its context first."""
    given = _responses(ctx).get("user_context")
    if given is None:
        return _ask({"user_context": _form("What context should the prompt use?", "context")})
    words = f"Use the following context: {_content(given).get('context')}"
    return {"messages": [{"role": "user", "content": text(words)}], "resultType": "complete"}


async def _elicitation(ctx: Ctx, arguments: dict[str, Any]) -> dict[str, Any]:
    given = _responses(ctx).get("user_name")
    if given is None:
        return _ask({"user_name": _form("What is your name?", "name")})
    return answer(text(f"Hello, {_content(given).get('name', 'stranger')}!"))


async def _sampling(ctx: Ctx, arguments: dict[str, Any]) -> dict[str, Any]:
    given = _responses(ctx).get("capital_question")
    if given is None:
        return _ask({"capital_question": _model("What is the capital of France?", 100)})
    return answer(text(f"Model said: {_content(given).get('text')}"))


async def _list_roots(ctx: Ctx, arguments: dict[str, Any]) -> dict[str, Any]:
    given = _responses(ctx).get("client_roots")
    if given is None:
        return _ask({"client_roots": _ROOTS})
    return answer(text(f"Client exposed {len(given.get('roots', []))} root(s)."))


async def _request_state(ctx: Ctx, arguments: dict[str, Any]) -> dict[str, Any]:
    if "confirm" in _responses(ctx) and _state(ctx) == "nonce":
        return answer(text("state-ok: confirmation received"))
    return _ask({"confirm": _form("Please confirm", "ok", kind="boolean")}, "nonce")


async def _tampered_state(ctx: Ctx, arguments: dict[str, Any]) -> dict[str, Any]:
    """A changed state never comes here: the server's middleware refuses it."""
    state = _state(ctx)
    if state is None:
        return _ask({"confirm": _form("Please confirm", "ok", kind="boolean")}, "round-1")
    return answer(text(f"state-ok: {state}"))


async def _multiple_inputs(ctx: Ctx, arguments: dict[str, Any]) -> dict[str, Any]:
    wanted = {
        "user_name": _form("What is your name?", "name"),
        "greeting": _model("Generate a greeting", 50),
        "client_roots": _ROOTS,
    }
    return answer(text("All inputs received.")) if wanted.keys() <= _responses(ctx).keys() else _ask(wanted, "multiple-inputs")


async def _multi_round(ctx: Ctx, arguments: dict[str, Any]) -> dict[str, Any]:
    state = orjson.loads(_state(ctx) or '{"round":0}')
    given = _responses(ctx)
    if state["round"] == 1 and "step1" in given:
        kept = orjson.dumps({"round": 2, "name": _content(given["step1"]).get("name")}).decode()
        return _ask({"step2": _form("Step 2: What is your favorite color?", "color")}, kept)
    if state["round"] == 2 and "step2" in given:
        return answer(text(f"{state['name']} likes {_content(given['step2']).get('color')}."))
    return _ask({"step1": _form("Step 1: What is your name?", "name")}, '{"round":1}')


async def _capabilities(ctx: Ctx, arguments: dict[str, Any]) -> dict[str, Any]:
    """Asks only for what the client declared."""
    declared = ctx.session.client_capabilities
    wanted: dict[str, Any] = {}
    if declared is not None and declared.sampling is not None:
        wanted["sample"] = _model("Say hello", 50)
    if declared is not None and declared.elicitation is not None:
        wanted["ask"] = _form("What is your name?", "name")
    return _ask(wanted, "capability-gated")


def _ask(requests: dict[str, Any], state: str | None = None) -> dict[str, Any]:
    """An interim result; the server's middleware seals the state."""
    result: dict[str, Any] = {"resultType": "input_required", "inputRequests": requests}
    return result if state is None else {**result, "requestState": state}


def _form(message: str, name: str, *, kind: str = "string") -> dict[str, Any]:
    schema = {"type": "object", "properties": {name: {"type": kind}}, "required": [name]}
    return {"method": "elicitation/create", "params": {"mode": "form", "message": message, "requestedSchema": schema}}


def _model(words: str, limit: int) -> dict[str, Any]:
    message = {"role": "user", "content": text(words)}
    return {"method": "sampling/createMessage", "params": {"messages": [message], "maxTokens": limit}}


def _responses(ctx: Ctx) -> dict[str, Any]:
    return (ctx.params or {}).get("inputResponses") or {}


def _state(ctx: Ctx) -> str | None:
    return (ctx.params or {}).get("requestState")


def _content(given: dict[str, Any]) -> dict[str, Any]:
    return given.get("content") or {}
