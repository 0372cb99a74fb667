"""The playground: one question to one or more models, in the dialect of any door, answered side by side."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, cast

import orjson

from hub.errors import BadRequest
from transports._dash import offered
from transports._dash.page import Page, Shown
from transports._inside import Inside

if TYPE_CHECKING:
    from collections.abc import Mapping

    from transports._dash.forms import Form
    from transports._dash.page import Outcome
    from transports._dash.view import View


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a question is asked in a dialect, and where its answer has the text.

    In ``path`` and ``body`` ``$name`` stands for what was typed; what was left empty goes with what holds it. ``piece`` is the place of the
    text in an event of a stream, ``whole`` in an answer: names and numbers with dots, ``*`` for every item. ``stream`` is what a body has
    besides to be streamed, and ``streamed`` the path where that is another.
    """

    title: str
    path: str
    body: dict[str, Any]
    piece: str
    whole: str
    stream: dict[str, Any]
    streamed: str = ""


_CHAT = [{"role": "system", "content": "$system"}, {"role": "user", "content": "$prompt"}]
DIALECTS = {
    "openai": Dialect(
        "OpenAI chat",
        "/v1/chat/completions",
        {"model": "$model", "messages": _CHAT, "temperature": "$temperature", "max_tokens": "$most"},
        "choices.0.delta.content",
        "choices.0.message.content",
        {"stream": True},
    ),
    "anthropic": Dialect(
        "Anthropic messages",
        "/v1/messages",
        {
            "model": "$model",
            "system": "$system",
            "messages": [{"role": "user", "content": "$prompt"}],
            "temperature": "$temperature",
            "max_tokens": "$most",
        },
        "delta.text",
        "content.*.text",
        {"stream": True},
    ),
    "responses": Dialect(
        "OpenAI responses",
        "/v1/responses",
        {
            "model": "$model",
            "instructions": "$system",
            "input": "$prompt",
            "temperature": "$temperature",
            "max_output_tokens": "$most",
            "store": False,
        },
        "delta",
        "output.*.content.*.text",
        {"stream": True},
    ),
    "gemini": Dialect(
        "Gemini",
        "/v1beta/models/$model:generateContent",
        {
            "systemInstruction": {"parts": [{"text": "$system"}]},
            "contents": [{"role": "user", "parts": [{"text": "$prompt"}]}],
            "generationConfig": {"temperature": "$temperature", "maxOutputTokens": "$most"},
        },
        "candidates.0.content.parts.*.text",
        "candidates.0.content.parts.*.text",
        {},
        "/v1beta/models/$model:streamGenerateContent?alt=sse",
    ),
    "ollama": Dialect(
        "Ollama",
        "/api/chat",
        {"model": "$model", "messages": _CHAT, "options": {"temperature": "$temperature", "num_predict": "$most"}, "stream": False},
        "message.content",
        "message.content",
        {"stream": True},
    ),
}
_MOST_MODELS = 4
_USUAL_MOST = 1024
_SLOT = re.compile(r"\$(model|system|prompt|temperature|most)")


#: Largest body that the form takes; what is larger is asked again by the command on the page of its request.
_MOST_BODY = 400_000
#: Names of dialects here, by those that requests are stored with.
_NAMES = {"openai-responses": "responses"}


async def _typed(view: View) -> dict[str, str]:
    """What the form begins with: of a stored request where one is named (a look that the audit log has), else of the address."""
    asked = view.query.get("from", "")
    if not asked or view.values:
        return {"models": view.query.get("model") or "auto"}
    stored = await view.ask("request-content-get", requestId=asked)
    dialect = _NAMES.get(stored.dialect, stored.dialect)
    tree = _tree(stored.request.text)
    if dialect not in DIALECTS or stored.request.truncated or tree is None or len(stored.request.text) > _MOST_BODY:
        raise BadRequest("this request cannot be opened here: it was stored in part, is too large, or came in a dialect of another kind")
    body = {name: value for name, value in tree.items() if name not in ("model", *DIALECTS[dialect].stream)}
    model = tree.get("model") or (await view.ask("explain-route", requestId=asked)).decision.requested_model
    return {"models": str(model), "dialect": dialect, "body": orjson.dumps(body, option=orjson.OPT_INDENT_2).decode()}


def _tree(text: str) -> dict[str, Any] | None:
    """A JSON object; None for anything else."""
    try:
        tree: Any = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return cast("dict[str, Any]", tree) if isinstance(tree, dict) else None


async def _load(view: View) -> dict[str, Any]:
    return {
        "names": ["auto", *await offered.combos(view), *await offered.models(view)],
        "typed": {"dialect": "openai", "most": str(_USUAL_MOST)} | await _typed(view) | view.values,
        "dialects": DIALECTS,
        "table": {"dialects": {name: asdict(one) for name, one in DIALECTS.items()}, "optional": sorted(_OPTIONAL)},
        "most_models": _MOST_MODELS,
        "answers": [],
    }


def _wanted(form: Form) -> tuple[Dialect, list[str], dict[str, Any]]:
    """The dialect, the models, and the whole request where one was typed. Raises BadRequest."""
    dialect = DIALECTS.get(form.text("dialect"))
    if dialect is None:
        raise BadRequest("choose one of the dialects", field="dialect")
    whole = _tree(form.text("body")) if form.text("body") else {}
    if whole is None:
        raise BadRequest("the whole request must be a JSON object, or empty", field="body")
    models = list(dict.fromkeys(form.text("models").split()))[:_MOST_MODELS]
    if not models or not (whole or form.text("prompt")):
        raise BadRequest("name a model, and write something to it", field="prompt" if models else "models")
    return dialect, models, whole


async def _ask(view: View, form: Form) -> Outcome:
    """Without scripts: each model in turn, and whole answers."""
    dialect, models, whole = _wanted(form)
    view.keep(form)
    inside = Inside(view.hub, "dashboard")
    answers: list[dict[str, Any]] = []
    for model in models:
        slots = _slots(form, model)
        path, body = _filled(dialect.path, slots), _whole(dialect, whole, model) if whole else _filled(dialect.body, slots)
        began = view.hub.clock.monotonic()
        reply = await inside.answer(view.exchange.caller, path, orjson.dumps(body))
        raw = orjson.loads(reply.body)
        answers.append(
            {
                "model": model,
                "request": reply.request_id,
                "status": reply.status,
                "text": picked(raw, dialect.whole) if reply.status == 200 else "",
                "raw": orjson.dumps(raw, option=orjson.OPT_INDENT_2).decode(),
                "sent": orjson.dumps(body, option=orjson.OPT_INDENT_2).decode(),
                "ms": 1000 * (view.hub.clock.monotonic() - began),
            }
        )
    return Shown({"answers": answers})


def _whole(dialect: Dialect, body: dict[str, Any], model: str) -> dict[str, Any]:
    """A body that was typed as a whole, with the model in its place where the dialect has one, and not streamed."""
    named = {"model": model} if "model" in dialect.body else {}
    unstreamed = {"stream": False} if dialect.body.get("stream") is False else {}
    return {**{name: value for name, value in body.items() if name != "stream"}, **named, **unstreamed}


def _slots(form: Form, model: str) -> dict[str, Any]:
    """What stands in a dialect's places; None for what was left empty."""
    slots: dict[str, Any] = {"model": model, "system": form.text("system") or None, "prompt": form.text("prompt")}
    try:
        slots["temperature"] = float(form.text("temperature")) if form.text("temperature") else None
        slots["most"] = int(form.text("most") or _USUAL_MOST)
    except ValueError:
        raise BadRequest("temperature and the most tokens are numbers", field="temperature") from None
    return slots


def _filled(shape: Any, slots: Mapping[str, Any]) -> Any:
    """A shape with its places filled; what holds an empty one only is left out."""
    if isinstance(shape, str):
        whole = _SLOT.fullmatch(shape)
        return slots[whole[1]] if whole is not None else _SLOT.sub(lambda found: str(slots[found[1]]), shape)
    if isinstance(shape, list):
        return [value for inner in cast("list[Any]", shape) if (value := _filled(inner, slots)) is not None] or None
    return _object(cast("dict[str, Any]", shape), slots) if isinstance(shape, dict) else shape


def _object(shape: dict[str, Any], slots: Mapping[str, Any]) -> dict[str, Any] | None:
    found = {name: _filled(inner, slots) for name, inner in shape.items()}
    kept = {name: value for name, value in found.items() if value is not None}
    return kept if kept and found.keys() - kept.keys() <= _OPTIONAL else None


#: Names in bodies that may be left out; a thing that lacks another of its names is left out itself.
_OPTIONAL = {"system", "instructions", "temperature", "max_tokens", "systemInstruction", "generationConfig", "maxOutputTokens", "options"}


def picked(tree: Any, place: str) -> str:
    """The text at a place of an answer; empty where there is none."""
    here = [tree]
    for part in place.split("."):
        here = [inner for one in here for inner in _inner(one, part)]
    return "".join(one for one in here if isinstance(one, str))


def _inner(tree: Any, part: str) -> list[Any]:
    if isinstance(tree, list):
        items = cast("list[Any]", tree)
        return items if part == "*" else items[int(part) : int(part) + 1] if part.isdigit() else []
    return [cast("dict[str, Any]", tree)[part]] if isinstance(tree, dict) and part in tree else []


PAGES = (
    Page(
        "playground",
        "Playground",
        "playground.html",
        _load,
        actions={"ask": _ask},
        group="Route",
        order=4,
        keys="y",
        words="chat try compare models dialects",
    ),
)
