"""What is stored: one row a subject under any concurrency, sealed or not, on both databases; and the index that is made of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hub.errors import Conflict
from hub.memory.index import Index, searched
from hub.memory.record import Draft, Memory, Vector, Wanted
from hub.memory.words import asked, ranked, terms
from hub.store import Store
from tests.fakes.clock import Still
from tests.fakes.database import make_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.anyio

ANY = Wanted()


def draft(key: str = "editor", content: str = "vim", key_id: str = "key_a", **fields: Any) -> Draft:
    return Draft(key_id=key_id, key=key, content=content, kind=fields.pop("kind", "factual"), **fields)


@pytest.fixture
async def clock() -> Still:
    return Still()


@pytest.fixture
async def store(tmp_path: Path, database_url: str, clock: Still) -> AsyncIterator[Store]:
    made = Store(make_settings(tmp_path, database_url), clock)
    await made.open()
    yield made
    await made.close()


async def put(store: Store, given: Draft, *, sealed: bool = False, most: int = 100) -> tuple[Memory, str]:
    return await store.memories.put(given, most=most, sealed=sealed)


async def test_a_subject_is_one_memory_however_many_say_it_at_once(store: Store) -> None:
    """Of a key as well when two stores, as two processes have them, write on PostgreSQL."""
    stores = [store]
    if store.postgres:
        stores.append(Store(store.settings, Still()))
        await stores[1].open()
    try:
        sent = [put(stores[n % len(stores)], draft(content=f"vim {n}", metadata={f"m{n}": n})) for n in range(20)]
        outcomes = [how for _, how in await asyncio.gather(*sent)]
        assert sorted(outcomes) == ["added", *["changed"] * 19]
        [memory] = await store.memories.page(ANY, limit=10)
        assert memory.version == 20
        assert memory.metadata == {f"m{n}": n for n in range(20)}
        assert len({memory.content, *(one.content for one in memory.past)}) == 6
    finally:
        for other in stores[1:]:
            await other.close()


async def test_no_key_has_more_than_it_may_and_what_is_there_can_still_be_changed(store: Store) -> None:
    sent = [put(store, draft(key=f"k{n}"), most=5) for n in range(12)]
    outcomes = await asyncio.gather(*sent, return_exceptions=True)
    refused = [one for one in outcomes if isinstance(one, Conflict)]
    assert len(refused) == 7
    assert refused[0].code == "memory_full"
    [kept, *_] = await store.memories.page(ANY, limit=1)
    assert (await put(store, draft(key=kept.key, content="emacs"), most=5))[1] == "changed"
    assert (await put(store, draft(key_id="key_b"), most=5))[1] == "added"


async def test_what_was_said_before_is_kept_with_its_end(store: Store, clock: Still) -> None:
    first, _ = await put(store, draft(metadata={"a": 1}, session_id="s1"))
    clock.advance(5)
    same, how = await put(store, draft(metadata={"b": 2}))
    assert (how, same.version, same.updated_at - first.updated_at) == ("same", 1, 5000)
    clock.advance(5)
    changed, how = await put(store, draft(content="emacs", kind="episodic", request="req_2"))
    assert (how, changed.id, changed.version, changed.kind) == ("changed", first.id, 2, "episodic")
    assert (changed.metadata, changed.session_id) == ({"a": 1, "b": 2}, "s1")
    assert [(one.content, one.request) for one in changed.past] == [("vim", "req_2")]
    assert await store.memories.get(first.id, "key_a") == changed
    assert await store.memories.get(first.id, "key_b") is None


@pytest.mark.parametrize("text", ["a\x00b", "half \ud800 of a pair", "'; DROP TABLE memories; --", "%s ? $1 {}"])
async def test_text_that_databases_dislike_is_kept(store: Store, text: str) -> None:
    """SEC-21."""
    await put(store, draft(key=f"k {text}", content=text, key_id="key_x", metadata={text: text}, session_id=text))
    again, how = await put(store, draft(key=f"k {text}", content=text, key_id="key_x"))
    assert (how, again.version) == ("same", 1)
    assert len(await store.memories.page(Wanted(key_id="key_x", session_id=text), limit=5)) == 1


async def test_sealed_contents_cannot_be_read_in_the_database(store: Store) -> None:
    """SEC-23: neither what is remembered nor what it is about; and sealing later seals what is there."""
    await put(store, draft(key="illness:asthma", content="has asthma"), sealed=True)
    await put(store, draft(key="pet:name", content="the dog is Rex"))
    await put(store, draft(key="pet:name", content="the dog is Max"))
    rows = store.memories
    await rows.put_vectors([Vector(memory_id="m", key_id="key_a", model="x/y", version=1, vector="c2VjcmV0", sealed=True)])

    async def raw() -> str:
        sql = "SELECT name, body FROM memories"
        found = await store._database.read(lambda link: [*link.run(sql), *link.run("SELECT vector FROM memory_vectors")])
        return str(found)

    seen = await raw()
    assert "asthma" not in seen
    assert "c2VjcmV0" not in seen
    assert "Rex" in seen
    assert [one.vector for one in await rows.vectors("key_a", "x/y")] == ["c2VjcmV0"]
    after = ""
    while after := await rows.rewrite(sealed=True, after=after):
        pass
    seen = await raw()
    assert not any(word in seen for word in ("Rex", "Max", "pet"))
    memory, how = await put(store, draft(key="pet:name", content="the dog is Rex"), sealed=True)
    assert (how, [one.content for one in memory.past]) == ("changed", ["the dog is Max", "the dog is Rex"])
    assert await rows.plain() == {}
    after = ""
    while after := await rows.rewrite(sealed=False, after=after):
        pass
    assert len(await rows.plain()) == 2
    assert "has asthma" in await raw()


async def test_a_seal_that_does_not_open_hides_one_memory_and_no_other(store: Store) -> None:
    broken, _ = await put(store, draft(key="a"), sealed=True)
    await put(store, draft(key="b", content="fine"), sealed=True)
    await store._database.write(lambda link: link.run("UPDATE memories SET body = 'xx' || body WHERE id = ?", broken.id))
    found = {one.id: one for one in await store.memories.page(ANY, limit=10)}
    assert (found.pop(broken.id).readable, [one.content for one in found.values()]) == (False, ["fine"])
    mended, how = await put(store, draft(key="a", content="anew"), sealed=True)
    assert (how, mended.readable, mended.past) == ("changed", True, [])


async def test_what_is_past_its_time_or_whose_key_is_gone_goes(store: Store, clock: Still) -> None:
    alive, _ = await store.keys.create("alive", grants=["chat"])
    await put(store, draft(key="old", key_id=alive.id))
    clock.advance(86_400)
    await put(store, draft(key="short", key_id=alive.id, expires_at=clock.now_ms() + 1000))
    await put(store, draft(key="orphan", key_id="key_gone"))
    await put(store, draft(key="hers", key_id="oauth_1"))
    await put(store, draft(key="new", key_id=alive.id))
    clock.advance(1)
    oldest = clock.now_ms() - 80_000_000
    assert {one.key for one in await store.memories.page(Wanted(oldest=oldest), limit=10)} == {"orphan", "hers", "new"}
    gone = [*await store.memories.expire(oldest), *await store.memories.expire(oldest)]
    assert len(gone) == 3
    assert await store.memories.expire(oldest) == []
    assert {one.key for one in await store.memories.page(ANY, limit=10)} == {"hers", "new"}


async def test_everything_of_a_key_goes_not_the_first_page_of_it(store: Store) -> None:
    for n in range(620):
        await put(store, draft(key=f"k{n}"), most=1000)
    await put(store, draft(key_id="key_b"))
    gone: list[str] = []
    while ids := await store.memories.clear("key_a"):
        gone += ids
    assert len(gone) == 620
    assert [one.key_id for one in await store.memories.page(ANY, limit=10)] == ["key_b"]


# -- the index


TEXTS = {
    "editor": "I prefer Vim with a dark theme",
    "store": "We decided to use PostgreSQL 15, not MySQL",
    "café": "Meine Lieblingsfarbe ist grün; le café est à côté",
    "tokyo": "東京に住んでいます",
    "mail": "Write to ada.lovelace@example.com (never by phone)",
    "code": "snake_case_names and C++ and 3.14",
}


async def _filled(store: Store) -> Index:
    index = Index(store.memories, store.memory_text, Still())
    for key, content in TEXTS.items():
        await index.put((await put(store, draft(key=key, content=content)))[0])
    await index.put((await put(store, draft(key="editor", content="I prefer Emacs", key_id="key_b")))[0])
    return index


async def _keys(index: Index, store: Store, text: str, key_id: str = "key_a") -> list[str]:
    found = await index.find(asked(text) or terms(text), key_id, 50)
    assert found is not None
    return [one.key for one in await store.memories.several(found)]


async def test_words_are_found_by_any_of_them_within_a_key(store: Store) -> None:
    index = await _filled(store)
    cases = {
        "which VIM theme?": "editor",
        "postgresql": "store",
        "GRUN": "café",
        "Cafe": "café",
        "東京": "tokyo",
        "ada.lovelace": "mail",
        "snake": "code",
        "3.14": "code",
    }
    for text, key in cases.items():
        assert (await _keys(index, store, text))[0] == key, text
    assert await _keys(index, store, "emacs") == []
    assert await _keys(index, store, "emacs", "key_b") == ["editor"]
    assert len(await _keys(index, store, "prefer", "")) == 2
    await index.close()


SYNTAX = [
    "OR",
    "AND",
    "NOT",
    "NEAR(",
    '"',
    "'",
    "*",
    "^",
    ":",
    "-",
    "words",
    "vim",
    "|",
    "&",
    "!",
    "<->",
    "\\",
    "(",
    ")",
    "{",
    "%",
    "?",
    "\x00",
    "é",
]


@given(text=st.text(min_size=1, max_size=60) | st.lists(st.sampled_from(SYNTAX), min_size=1, max_size=12).map(" ".join))
@example(text='words : "')
@example(text="'vim' | 'x")
@example(text="vim\\' & emacs")
@example(text="NEAR(vim theme, 5)")
@example(text="vim:*")
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_no_question_is_taken_for_syntax_and_both_ways_of_looking_agree(searching: tuple[Store, Index], text: str) -> None:
    """SEC-21, #12231: what the index finds is what a look at one text after the other finds."""
    store, index = searching
    words = asked(text) or terms(text)
    if not words:
        return
    found = await index.find(words, "key_a", 50)
    assert found is not None
    assert index.fault == ""
    there = {one.id: searched(one) for one in await store.memories.page(Wanted(key_id="key_a"), limit=50)}
    assert set(found) == {name for name, _ in ranked(words, there, worst=0.0)}


@pytest.fixture
async def searching(store: Store) -> AsyncIterator[tuple[Store, Index]]:
    index = await _filled(store)
    yield store, index
    await index.close()


async def test_an_entry_is_written_only_when_its_content_is_new(store: Store) -> None:
    """#13326: an index that was written with each touch grew without end."""
    index = await _filled(store)
    memory, _ = await put(store, draft(key="editor", content=TEXTS["editor"], metadata={"seen": 2}))
    assert memory.version == 1
    written: list[int] = []
    text = store.memory_text
    whole = text.put

    async def counted(entries: Any) -> None:
        written.append(len(entries))
        await whole(entries)

    text.put = counted  # type: ignore[method-assign]
    assert await index.renew()
    assert written == []
    changed, _ = await put(store, draft(key="editor", content="I prefer Helix"))
    assert await index.renew()
    assert written == [1]
    assert await _keys(index, store, "helix") == ["editor"]
    assert await _keys(index, store, "dark theme") == []
    assert (await text.held())[changed.id] == 2
    await index.close()


async def test_the_index_follows_what_changed_without_it(store: Store) -> None:
    """A restored backup, another process, a kill between the two writes."""
    index = await _filled(store)
    [first, *_] = await store.memories.page(Wanted(key_id="key_b"), limit=1)
    await store.memories.delete(first.id, "key_b")
    await put(store, draft(key="late", content="a late comer"))
    index.stale()
    assert await _keys(index, store, "late") == ["late"]
    assert first.id not in await store.memory_text.held()
    await index.close()
    again = Index(store.memories, store.memory_text, Still())
    assert await _keys(again, store, "late") == ["late"]
    await again.close()


async def test_a_damaged_index_is_made_anew(tmp_path: Path) -> None:
    store = Store(make_settings(tmp_path), Still())
    await store.open()
    path = tmp_path / "data" / "memory-words.db"
    index = await _filled(store)
    await index.close()
    assert path.stat().st_mode & 0o077 == 0
    for damage in (b"no database at all", b"SQLite format 3\x00" + b"\x01" * 5000, b""):
        path.write_bytes(damage)
        again = Index(store.memories, store.memory_text, Still())
        assert await _keys(again, store, "vim") == ["editor"], again.fault
        await again.close()
    await store.close()


async def test_without_an_index_the_words_are_looked_at_one_by_one(tmp_path: Path) -> None:
    """Its file cannot be made: nothing raises, and it is tried again later."""
    store = Store(make_settings(tmp_path), Still())
    await store.open()
    clock = Still()
    index = Index(store.memories, store.memory_text, clock)
    path = tmp_path / "data" / "memory-words.db"
    path.mkdir()
    memory, _ = await put(store, draft())
    await index.put(memory)
    assert await index.find(["vim"], "key_a", 5) is None
    assert index.fault
    path.rmdir()
    assert await index.find(["vim"], "key_a", 5) is None
    clock.advance(60)
    assert await index.find(["vim"], "key_a", 5) == [memory.id]
    assert index.fault == ""
    await index.close()
    await store.close()
