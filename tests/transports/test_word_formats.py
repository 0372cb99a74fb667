"""Formats that know only words, over real sockets: GitLab, NLP Cloud and Petals, each as its own server reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import anthropic
import openai
import pytest
from openai import AsyncOpenAI

from tests.fakes.doors import rows_of
from tests.fakes.hub import impatient, running_hub
from tests.fakes.upstream import FaultUpstream, html, json_answer
from tests.fakes.vendors import PIXEL, expect, only

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.fakes.hub import Running
    from tests.fakes.upstream import Behaviour, Received

pytestmark = pytest.mark.anyio

KEY = "glpat-or-token-0001"
MODELS = {"gitlab": "gitlab/code-suggestions", "nlpcloud": "nlpcloud/chatdolphin", "petals": "petals/stabilityai/StableBeluga2"}
TALK: list[Any] = [
    {"role": "system", "content": "be brief"},
    {"role": "user", "content": "one"},
    {"role": "assistant", "content": "first"},
    {"role": "user", "content": "zwei & drei=€"},
]
SCRIPT = "be brief\n\nUser: one\n\nAssistant: first\n\nUser: zwei & drei=€\n\nAssistant:"


def gitlab(request: Received) -> Behaviour:
    expect(request.headers["authorization"] == f"Bearer {KEY}", "401 Unauthorized")
    expect(request.target == "/gitlab/code_suggestions/completions", request.target)
    body = request.json()
    only(body, "current_file", "intent", "stream", "user_instruction", "project_path")
    assert body["current_file"] == {"file_name": "car.py", "content_above_cursor": SCRIPT, "content_below_cursor": ""}
    assert (body["intent"], body["stream"], body["user_instruction"]) == ("generation", False, "zwei & drei=€")
    assert body["project_path"] == "group/project"
    choice = {"text": "def go(): …", "index": 0, "finish_reason": "length"}
    return json_answer(
        {"id": "id", "model": {"engine": "e", "name": "code-gecko", "lang": "python"}, "object": "text_completion", "choices": [choice]}
    )


def nlpcloud(request: Received) -> Behaviour:
    expect(request.headers["authorization"] == f"Token {KEY}", "Invalid token")
    expect(request.target == "/nlpcloud/chatdolphin/chatbot", request.target)
    assert request.json() == {"input": "zwei & drei=€", "context": "be brief", "history": [{"input": "one", "response": "first"}]}
    return json_answer({"response": "def go(): …", "history": []})


def petals(request: Received) -> Behaviour:
    expect("authorization" not in request.headers, "no key is known here")
    expect(request.headers["content-type"] == "application/x-www-form-urlencoded", "only forms are read")
    assert request.target == "/petals/generate"
    form = {name: values[0] for name, values in parse_qs(request.body.decode(), strict_parsing=True).items()}
    assert form == {
        "model": "stabilityai/StableBeluga2", "inputs": SCRIPT, "max_new_tokens": "64", "do_sample": "1", "temperature": "0.5",
    }  # fmt: skip
    return json_answer({"ok": True, "outputs": " def go(): …\n\nUser: thanks</s>"})


SERVERS = {"gitlab": gitlab, "nlpcloud": nlpcloud, "petals": petals}
each = pytest.mark.parametrize("provider", list(SERVERS))
whole_and_stream = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


@pytest.fixture
async def upstream() -> AsyncIterator[FaultUpstream]:
    async with FaultUpstream() as made:
        made.script(lambda request: SERVERS[request.target.split("/")[1]](request))
        yield made


@pytest.fixture
async def running(tmp_path: Path, upstream: FaultUpstream) -> AsyncIterator[Running]:
    async with running_hub(tmp_path) as made:
        for provider in SERVERS:
            await made.hub.store.connections.create(
                provider=provider,
                name=provider,
                base_url=f"{upstream.url}/{provider}",
                secret="" if provider == "petals" else KEY,
                allow_private=True,
                data={"file_name": "car.py", "project_path": "group/project"} if provider == "gitlab" else {},
            )
        await impatient(made)
        yield made


@pytest.fixture
async def client(running: Running) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{running.url}/v1", api_key=await running.key("chat"), max_retries=0, timeout=20) as made:
        yield made


@each
@whole_and_stream
async def test_words_go_out_and_come_back(running: Running, client: AsyncOpenAI, provider: str, stream: bool) -> None:
    ask: Any = {"model": MODELS[provider], "messages": TALK, "max_tokens": 64, "temperature": 0.5}
    raw = await client.chat.completions.with_raw_response.create(stream=stream, **ask)
    dropped = set(filter(None, raw.headers.get("x-hubroute-dropped", "").split(", ")))
    assert dropped == (set() if provider == "petals" else {"max_tokens", "temperature"})
    if stream:
        chunks = [chunk async for chunk in raw.parse()]
        words, finish = "".join(chunk.choices[0].delta.content or "" for chunk in chunks), chunks[-1].choices[0].finish_reason
    else:
        said = raw.parse().choices[0]
        words, finish = said.message.content, said.finish_reason
    assert (words, finish) == ("def go(): …", "length" if provider == "gitlab" else "stop")
    (row,) = await rows_of(running)
    assert (row.outcome, row.provider, row.usage.estimated) == ("ok", provider, True)


@each
async def test_other_dialects_reach_them(running: Running, upstream: FaultUpstream, provider: str) -> None:
    answers = {"gitlab": {"choices": [{"text": "x"}]}, "nlpcloud": {"response": "x"}, "petals": {"ok": True, "outputs": "x"}}
    upstream.script(lambda _: json_answer(answers[provider]))
    async with anthropic.AsyncAnthropic(base_url=running.url, api_key=await running.key("chat"), max_retries=0) as client:
        parts: Any = [
            {"type": "text", "text": "look"},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
        ]
        tool: Any = {"name": "f", "input_schema": {"type": "object"}}
        raw = await client.messages.with_raw_response.create(
            model=MODELS[provider], max_tokens=64, messages=[{"role": "user", "content": parts}], tools=[tool]
        )
        assert {"user.image", "tools"} <= set(raw.headers["x-hubroute-dropped"].split(", "))
        async with client.messages.stream(model=MODELS[provider], max_tokens=64, messages=[{"role": "user", "content": "a"}]) as events:
            assert (await events.get_final_message()).content[0].to_dict()["text"] == "x"


@each
@whole_and_stream
async def test_what_is_no_answer_is_an_error(client: AsyncOpenAI, upstream: FaultUpstream, provider: str, stream: bool) -> None:
    """REL-03: a page, a failure with status 200, an error of the provider's own."""
    failure = {
        "gitlab": {"choices": []},
        "nlpcloud": {"detail": "no"},
        "petals": {"ok": False, "traceback": "Traceback\n  x\nKeyError: 'm'"},
    }
    for behaviour in (html(), json_answer(failure[provider]), json_answer({"detail": "as you wish"}, status=500)):
        upstream.answer(behaviour)
        with pytest.raises(openai.InternalServerError) as caught:
            await client.chat.completions.create(model=MODELS[provider], messages=TALK, stream=stream)
    assert "as you wish" in str(caught.value)
    if provider == "petals":
        upstream.answer(json_answer(failure[provider]))
        with pytest.raises(openai.InternalServerError, match="KeyError: 'm'"):
            await client.chat.completions.create(model=MODELS[provider], messages=TALK, stream=stream)


@pytest.mark.parametrize("provider", ["gitlab", "nlpcloud"])
async def test_nothing_to_answer_is_the_caller_s_mistake(client: AsyncOpenAI, provider: str) -> None:
    for messages in ([{"role": "assistant", "content": "I spoke last"}], [{"role": "system", "content": "be brief"}]):
        with pytest.raises(openai.BadRequestError) as caught:
            await client.chat.completions.create(model=MODELS[provider], messages=messages)  # type: ignore[arg-type]
        assert caught.value.param == "messages"
