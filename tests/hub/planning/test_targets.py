"""From a connection to a target: whose address, whose key, and what is missing."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from hub.errors import BadRequest, NotFound
from hub.outbound.base import Proxy
from hub.planning.targets import Targets, builtin_connection
from hub.providers.catalog import Catalog
from hub.records import Connection
from hub.secret import Secret

CATALOG = Catalog.load()


def connection(provider: str = "openai", secret: str = "sk-x", **more: Any) -> Connection:
    return Connection(id="con_1", provider=provider, name="mine", secret=Secret(secret), **more)


@pytest.fixture
def targets() -> Targets:
    return Targets(CATALOG)


def test_a_target_has_all_of_its_connection(targets: Targets) -> None:
    one = connection(allow_private=True, proxy=Secret("http://p:1"), data={"a": "b"})
    target = targets.get(one, "gpt-4o")
    assert (target.provider.id, target.model, target.connection_id, target.private) == ("openai", "gpt-4o", "con_1", True)
    assert (target.base_url, target.proxy, target.data) == (CATALOG.get("openai").base_url, Proxy("http://p:1", private=True), {"a": "b"})
    assert target.model_row is not None
    assert target.secret.reveal() == "sk-x"
    assert targets.get(connection(), "not-listed").model_row is None


def test_the_same_target_until_its_connection_changes(targets: Targets) -> None:
    one = connection()
    first = targets.get(one, "gpt-4o")
    assert targets.get(one, "gpt-4o") is first
    assert targets.get(one, "gpt-4o-mini") is not first
    changed = msgspec.structs.replace(one, secret=Secret("sk-new"))
    assert targets.get(changed, "gpt-4o").secret.reveal() == "sk-new"


def test_what_is_kept_is_bounded(targets: Targets) -> None:
    """SEC B8: model names come from callers."""
    one = connection()
    for number in range(5000):
        targets.get(one, f"m{number}")
    assert len(targets._made) <= 4097


@pytest.mark.parametrize(
    ("one", "base"),
    [
        (connection(base_url="https://own.example/v1"), "https://own.example/v1"),
        (connection("azure-openai", data={"resource": "mine"}), "https://mine.openai.azure.com"),
        (connection("azure-openai", data={"resource": "mine"}, base_url="https://own.example"), "https://own.example"),
        (connection("ollama", "", base_url="http://127.0.0.1:1"), "http://127.0.0.1:1"),
    ],
)
def test_whose_address(targets: Targets, one: Connection, base: str) -> None:
    assert targets.get(one, "m").base_url == base
    targets.check(one)


@pytest.mark.parametrize(
    ("one", "error", "field"),
    [
        (connection(secret=""), BadRequest, "apiKey"),
        (connection("azure-openai"), BadRequest, "data.resource"),
        (connection("azure-openai", data={"resource": "x.evil.com/"}), BadRequest, "data.resource"),
        (connection("nobody"), NotFound, "provider"),
        (connection(next(row.id for row in CATALOG.providers.values() if row.needs_base_url and not row.builtin)), BadRequest, "baseUrl"),
    ],
)
def test_what_is_missing_is_named(targets: Targets, one: Connection, error: type[Exception], field: str) -> None:
    """SEC-13; a row that misses something fails closed."""
    for attempt in (lambda: targets.get(one, "m"), lambda: targets.check(one)):
        with pytest.raises(error) as caught:
            attempt()
        assert caught.value.field == field  # type: ignore[attr-defined]


@pytest.mark.parametrize("base", ["ftp://x.example", "https://", "https://a@b.example/", "nonsense"])
def test_an_address_that_is_none_is_refused_before_it_is_stored(targets: Targets, base: str) -> None:
    with pytest.raises(BadRequest):
        targets.check(connection(base_url=base))


def test_the_built_in_provider_needs_no_account(targets: Targets) -> None:
    row = CATALOG.get("demo")
    one = builtin_connection(row)
    assert (one.id, one.priority, bool(one.secret)) == ("demo", 999, False)
    assert targets.get(msgspec.structs.replace(one, base_url="demo:"), "demo").provider is row
    targets.check(msgspec.structs.replace(one, base_url="demo:"))


def test_several_keys_take_turns_and_a_refused_one_is_rested(targets: Targets) -> None:
    one = connection(extra_secrets=(Secret("sk-y"), Secret("sk-z")), updated_at=1)

    def keys(of: Connection) -> list[str]:
        return [targets.get(of, "m", turn).secret.reveal() for turn in range(3)]

    assert keys(one) == ["sk-x", "sk-y", "sk-z"]
    assert targets.get(one, "m", 4) is targets.get(one, "m", 1)
    assert not targets.refused(one, Secret("sk-x"))
    assert keys(one) == ["sk-y", "sk-z", "sk-y"]
    marked = msgspec.structs.replace(one, backoff_level=1)
    assert keys(marked) == ["sk-y", "sk-z", "sk-y"]
    assert not targets.refused(marked, Secret("sk-z"))
    assert keys(marked) == ["sk-y"] * 3
    targets.forgive(one.id)
    assert keys(one) == ["sk-x", "sk-y", "sk-z"]
    assert not targets.refused(one, Secret("sk-x"))
    assert keys(msgspec.structs.replace(one, updated_at=2)) == ["sk-x", "sk-y", "sk-z"]
    assert not targets.refused(one, Secret("sk-y"))
    assert targets.refused(one, Secret("sk-z"))
    assert keys(one) == ["sk-x", "sk-y", "sk-z"]


def test_one_key_that_is_refused_is_the_end(targets: Targets) -> None:
    assert targets.refused(connection(), Secret("sk-x"))
    assert targets.get(connection(), "m", 7).secret.reveal() == "sk-x"
    only_extra = connection(secret="", extra_secrets=(Secret("sk-y"),))
    assert targets.get(only_extra, "m", 3).secret.reveal() == "sk-y"
    targets.check(only_extra)
