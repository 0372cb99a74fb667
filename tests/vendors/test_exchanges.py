"""Every vendor's documented exchanges through every door: what the vendor said is what the client's own SDK understands.

``exchanges/*.json`` holds the answers in the forms that the vendors document, with values of our own. A member ``means`` says what
an answer is: text, thinking, signature, calls, why it ended, tokens. ``own`` are words that its own dialect carries and others need
not; ``carried`` are words that every dialect with a place for sources carries; ``foreign`` says that the own dialect passes something on
as it is that others are told in their words; ``broken`` is an error inside a stream, ``error`` the status that a client sees of an
error; ``unread`` are dialects whose SDK cannot read such an answer even of its own server (ollama-python 0.6 and pictures).
"""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hub.chat import Finish
from tests.fakes.hub import Running, impatient, running_hub
from tests.fakes.upstream import Behaviour, FaultUpstream, json_answer, sse
from tests.vendors.doors import DOORS, ERRORS, FINISH, Ask, Said, status_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator

    from tests.fakes.upstream import Exchange

pytestmark = pytest.mark.anyio

FILES = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted((Path(__file__).parent / "exchanges").glob("*.json"))}
OWN = {name: name if name in DOORS else "openai" for name in FILES}
KEY = "sk-of-the-vendor-0001"


def answer_of(vendor: str, exchange: dict[str, Any], *, stream: bool) -> Behaviour:
    """The vendor's answer as it comes over the wire."""
    if "status" in exchange:
        return json_answer(exchange["answer"], status=exchange["status"])
    if not stream:
        return json_answer(exchange["answer"])
    frames = exchange["frames"]
    if vendor == "ollama":
        return _lines(frames)
    if vendor == "anthropic":
        return sse([f"event: {one['type']}\ndata: {json.dumps(one)}\n\n".encode() for one in frames], end=b"")
    pieces = [one.encode() if isinstance(one, str) else f"data: {json.dumps(one)}\n\n".encode() for one in frames]
    return sse(pieces, end=b"") if vendor == "gemini" else sse(pieces)


def _lines(frames: list[Any]) -> Behaviour:
    async def run(exchange: Exchange) -> None:
        await exchange.head(headers=[("content-type", "application/x-ndjson")])
        for one in frames:
            await exchange.chunk(json.dumps(one).encode() + b"\n")
        await exchange.chunk(b"")

    return Behaviour(run)


def wrong_in(said: Said, means: dict[str, Any], door: str, *, own: bool) -> list[str]:
    """What the client did not understand."""
    if own and means.get("foreign"):
        return []
    found: list[str] = []

    def want(what: str, got: Any, wanted: Any) -> None:
        if got != wanted:
            found.append(f"{what}: {got!r}, not {wanted!r}")

    if "refusal" in means:
        want("refusal", means["refusal"] in (said.refusal, said.text), True)
    elif "text" not in means.get("optional", ()) or said.text:
        want("text", said.text, means.get("text", ""))
    want("thinking", said.thinking, means.get("thinking", ""))
    want("calls", said.calls, means.get("calls", []))
    want("used", said.used, means["used"])
    if "finish" in means:
        want("finish", said.finish, FINISH[door][Finish(means["finish"])])
    for words in (*(means.get("own", ()) if own else ()), *(means.get("carried", ()) if door != "ollama" else ())):
        want(words, words in said.dump, True)
    return found


@dataclass
class Vendors:
    """A hub with a connection to the vendor of every file, each behind an upstream of its own."""

    running: Running
    key: str
    upstreams: dict[str, FaultUpstream]

    def exchanges(self, member: str) -> Iterator[tuple[str, dict[str, Any], FaultUpstream]]:
        """The exchanges whose meaning has a member, with the file they are in and who answers."""
        for name, file in FILES.items():
            for exchange in file["exchanges"]:
                if member in exchange["means"]:
                    yield name, exchange, self.upstreams[name]

    def ask(self, name: str, exchange: dict[str, Any], *, stream: bool, history: Iterable[Any] = ()) -> Ask:
        """The question that an exchange answers."""
        model = f"{FILES[name]['vendor']}/{FILES[name]['model']}"
        return Ask(self.running.url, self.key, model, stream, exchange.get("picture", False), tuple(history))


@pytest.fixture
async def vendors(tmp_path: Path) -> AsyncIterator[Vendors]:
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(running_hub(tmp_path))
        await impatient(running)
        made = Vendors(running, await running.key("chat"), {})
        for name, file in FILES.items():
            upstream = made.upstreams[name] = await stack.enter_async_context(FaultUpstream())
            await running.hub.store.connections.create(
                provider=file["vendor"],
                name=name,
                base_url=upstream.url + file["path"],
                secret="" if name == "ollama" else KEY,
                allow_private=True,
                # The exchanges are of its usual format, also where it takes another dialect beside that.
                data={"format": running.hub.catalog.get(file["vendor"]).format},
            )
        yield made


both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
every = pytest.mark.parametrize("door", DOORS)


@both
@every
async def test_what_a_vendor_says_is_what_a_client_understands(vendors: Vendors, door: str, stream: bool) -> None:
    wrong: dict[str, list[str]] = {}
    for name, exchange, upstream in vendors.exchanges("used"):
        if ("frames" if stream else "answer") not in exchange or door in exchange["means"].get("unread", ()):
            continue
        upstream.answer(answer_of(name, exchange, stream=stream))
        try:
            said = await DOORS[door](vendors.ask(name, exchange, stream=stream))
            found = wrong_in(said, exchange["means"], door, own=OWN[name] == door)
        except ERRORS as error:
            found = [repr(error)]
        if found:
            wrong[f"{name}: {exchange['name']}"] = found
    assert not wrong


@every
async def test_an_error_inside_a_stream_is_one_for_the_client(vendors: Vendors, door: str) -> None:
    """REL-01"""
    for name, exchange, upstream in vendors.exchanges("broken"):
        upstream.answer(answer_of(name, exchange, stream=True))
        with pytest.raises(ERRORS, match=exchange["means"]["broken"]):
            await DOORS[door](vendors.ask(name, exchange, stream=True))


@both
@every
async def test_a_refused_request_is_the_clients_and_spares_the_account(vendors: Vendors, door: str, stream: bool) -> None:
    """Too long, or unwanted: status 400 in the client's own dialect; the next request goes to the same account at once."""
    for name, exchange, upstream in vendors.exchanges("error"):
        upstream.answer(answer_of(name, exchange, stream=stream))
        if exchange["means"]["error"] != 400:
            continue
        seen = len(upstream.requests)
        for tries in (1, 2):
            with pytest.raises(ERRORS) as raised:
                await DOORS[door](vendors.ask(name, exchange, stream=stream))
            assert (exchange["name"], status_of(raised.value)) == (exchange["name"], 400)
            assert (exchange["name"], len(upstream.requests)) == (exchange["name"], seen + tries)


#: Dialects whose answers have a place for what a vendor signed.
SIGNED = [door for door in DOORS if door != "ollama"]


@both
@pytest.mark.parametrize("door", SIGNED)
async def test_a_signature_comes_back_with_the_next_turn(vendors: Vendors, door: str, stream: bool) -> None:
    """What a vendor signed reaches it again as it was, when the client sends its answer back in its own dialect."""
    lost: list[str] = []
    for name, exchange, upstream in vendors.exchanges("signature"):
        upstream.answer(answer_of(name, exchange, stream=stream))
        said = await DOORS[door](vendors.ask(name, exchange, stream=stream))
        await DOORS[door](vendors.ask(name, exchange, stream=stream, history=said.turn))
        if exchange["means"]["signature"].encode() not in upstream.requests[-1].body:
            lost.append(f"{name}: {exchange['name']}")
    assert not lost


@both
@pytest.mark.parametrize("door", SIGNED)
async def test_a_source_that_comes_back_breaks_no_turn(vendors: Vendors, door: str, stream: bool) -> None:
    """A talk goes on at any vendor with what the client's SDK made of an answer with sources; none gets an index it never gave."""
    said = [
        (await _said_by(vendors, door, name, exchange, upstream, stream=stream)).turn
        for name, exchange, upstream in vendors.exchanges("carried")
        if ("frames" if stream else "answer") in exchange
    ]
    assert len(said) > 3
    for name, exchange, upstream in list(vendors.exchanges("carried")):
        if ("frames" if stream else "answer") not in exchange:
            continue
        upstream.answer(answer_of(name, exchange, stream=stream))
        for turn in said:
            again = await DOORS[door](vendors.ask(name, exchange, stream=stream, history=turn))
            assert again.text == exchange["means"]["text"]
            sent = upstream.requests[-1].body
            assert b'"encrypted_index":""' not in sent.replace(b" ", b"")
            assert b"oslo" not in sent or OWN[name] == door, "a note of a dialect in a request of another"


async def _said_by(vendors: Vendors, door: str, name: str, exchange: dict[str, Any], upstream: FaultUpstream, *, stream: bool) -> Said:
    upstream.answer(answer_of(name, exchange, stream=stream))
    return await DOORS[door](vendors.ask(name, exchange, stream=stream))


def test_every_answer_has_its_meaning() -> None:
    """A new file needs no code; one without a meaning would test nothing."""
    for name, file in FILES.items():
        assert file["source"], name
        for exchange in file["exchanges"]:
            means = exchange["means"]
            assert {"answer", "frames"} & exchange.keys(), exchange["name"]
            assert "used" in means or "broken" in means or "error" in means, exchange["name"]
