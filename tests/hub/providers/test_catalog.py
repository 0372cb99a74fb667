"""The catalogue's rows are whole and safe: every provider is swept, so that a bad row fails here and not in a request."""

from __future__ import annotations

import importlib.resources
import json
import re
import time
from urllib.parse import urlsplit

import msgspec
import pytest

from hub.acp.rows import AgentList
from hub.errors import BadRequest, NotFound
from hub.provider_login.accounts import Held
from hub.provider_login.model import places, second_header
from hub.providers.base import Adapter, Target
from hub.providers.catalog import Auth, Catalog, ModelRow, Price, ProviderRow, fill_template
from hub.registry import load
from hub.secret import Secret

CATALOG = Catalog.load()
ROWS = list(CATALOG.providers.values())
TEXT = importlib.resources.files("hub.providers").joinpath("catalog.json").read_text("utf-8")
FORMATS = {
    "openai", "claude", "gemini", "ollama", "demo", "search", "gitlab-code-suggestions", "nlpcloud", "petals", "runwayml", "nanobanana",
    "fal-ai", "stability-ai", "black-forest-labs", "recraft", "topaz", "sdwebui", "comfyui", "deepgram", "assemblyai", "elevenlabs",
    "acp", "cartesia", "playht", "inworld", "aws-polly", "coqui", "tortoise",
}  # fmt: skip
AGENTS = {row.id: row for row in AgentList.load().agents}
AUTH_TYPES = {"bearer", "header", "query", "optional_bearer", "optional_header", "none", "aws-sigv4", "service-account"}
KINDS = {"chat", "tts", "stt", "image", "embedding", "moderation", "rerank", "video", "music", "search", "realtime"}
CAPS = {
    "adaptive_thinking",
    "thinking_level",
    "tools", "reasoning", "vision", "prompt_cache", "json_schema", "pdf", "audio_in", "audio_out", "web_search", "computer_use",
    "xhigh_effort", "timestamps", "speakers", "translation", "streaming",
}  # fmt: skip

each = pytest.mark.parametrize("row", ROWS, ids=[row.id for row in ROWS])


def made(**more: object) -> ProviderRow:
    return msgspec.convert(
        {"id": "a", "alias": "a", "name": "A", "category": "api_key", "format": "openai", "auth": {"type": "bearer"}, **more}, ProviderRow
    )


def strict_url(url: str) -> None:
    parts = urlsplit(re.sub(r"{\w+}", "x", url))
    assert parts.scheme in ("http", "https"), url
    assert parts.hostname, url
    assert re.fullmatch(r"[a-z0-9.-]+", parts.hostname), url
    assert parts.username is None, url
    assert not parts.fragment, url
    assert url == url.strip(), url
    assert "{" not in parts.netloc
    if parts.scheme == "http":
        assert parts.hostname in ("localhost", "127.0.0.1"), f"{url}: a key would travel in the clear"


@each
def test_a_row_says_where_it_is(row: ProviderRow) -> None:
    """routing.md 8.19: a row without a base URL fails closed, it never falls back on somebody else's."""
    if row.category == "builtin":
        assert row.base_url == f"{row.id}://"
        return
    if row.category == "agent":
        assert (row.format, row.base_url, row.auth.type) == ("acp", f"acp://{row.id}", "none")
        assert AGENTS[row.id].acp is not None
        return
    assert not (row.base_url and row.base_url_template)
    assert "{" not in row.base_url
    assert "://" not in row.chat_path + row.stream_path + row.models_path
    for url in filter(None, (row.base_url, row.base_url_template, row.models_url, *row.fallback_base_urls)):
        strict_url(url)
    for name, url in row.endpoints.items():
        if not (name.endswith("_format") or url.startswith("/")):
            strict_url(url)
    if row.base_url_template:
        fields = re.findall(r"{(\w+)}", row.base_url_template)
        assert fields
        strict_url(fill_template(row.base_url_template, dict.fromkeys(fields, "eu-1")))
    if row.needs_base_url:
        assert "connection" in row.note
    if "localhost" in row.base_url or "127.0.0.1" in row.base_url:
        assert row.category in ("local", "search", "upstream_proxy")


@each
def test_a_row_says_how_it_takes_its_key(row: ProviderRow) -> None:
    auth = row.auth
    assert auth.type in AUTH_TYPES
    if auth.type in ("bearer", "header", "optional_bearer", "optional_header"):
        assert re.fullmatch(r"[A-Za-z-]+", auth.header)
        assert auth.value.count("{key}") == 1
        assert re.findall(r"{(\w+)}", auth.value) == ["key"]
    if auth.type == "query":
        assert auth.param
    if auth.extra:
        assert re.fullmatch(r"[A-Za-z-]+: {\w+}", auth.extra)
    for name in row.extra_headers:
        assert re.fullmatch(r"[A-Za-z-]+", name)
        assert name.lower() not in ("authorization", "cookie", "user-agent", "host")


@each
def test_a_row_is_of_a_known_kind_and_allowed(row: ProviderRow) -> None:
    """D5: no cookie providers and nothing whose only purpose is to pass for a vendor's own client."""
    assert row.format in FORMATS
    assert row.category != "web_cookie"
    assert re.fullmatch(r"[a-z0-9-]+", row.id)
    assert re.fullmatch(r"[a-z0-9-]+", row.alias)
    assert row.name
    assert row.services
    assert row.verified in ("registry", "docs", "partial", "inferred")
    if row.format in ("openai", "claude", "ollama", "gemini") and "chat" in row.services:
        assert row.chat_path.startswith("/")
        assert row.models or row.passthrough_models or row.note, "nothing says which models it has"
    assert all(prefix == prefix.lower() for prefix in row.family_prefixes)


@each
def test_somebody_speaks_every_chat_s_format(row: ProviderRow) -> None:
    """No row or model promises chats that this version cannot have."""
    if "chat" not in row.services:
        return
    spoken = {adapter.name for adapter in load("hub.providers", Adapter, lambda one: one.name).values()} | {"acp"}
    assert {row.format, *(model.wire or row.format for model in row.models if model.kind == "chat"), *row.also, *row.paths} <= spoken
    assert all(path.startswith("/") for path in (*row.also.values(), *row.paths.values()))
    assert set(row.refuses) <= {"store", "previous_response_id"}


@each
def test_a_rows_models_are_consistent(row: ProviderRow) -> None:
    names = [name for model in row.models for name in (model.id, *model.aliases)]
    assert len(names) == len(set(names)), "a model is listed twice"
    for model in row.models:
        assert re.fullmatch(r"[!-~]+", model.id), model.id
        assert "../" not in model.id
        assert len(model.id) <= 128
        assert model.kind in KINDS, model.id
        assert set(model.caps) <= CAPS, model.id
        assert model.wire in ({"", "openai-responses", "claude"} if model.kind == "chat" else {"", "predict"}), model.id
        assert model.context is None or 64 <= model.context <= 20_000_000, model.id
        assert model.max_output is None or model.max_output > 0, model.id
        assert bool(model.price) == bool(model.price_src), model.id
        if model.price:
            plausible(model, model.price)


def plausible(model: ModelRow, price: Price) -> None:
    rates = {name: value for name in price.__struct_fields__ if name != "tiers" and (value := getattr(price, name)) is not None}
    assert rates, model.id
    assert all(value >= 0 for value in rates.values()), model.id
    assert model.price_src in ("P", "V", "O")
    if model.kind != "chat":
        return
    assert price.input is not None, model.id
    assert price.output is not None, model.id
    assert price.input <= 200, model.id
    assert price.output <= 800, model.id
    assert price.cache_read is None or price.cache_read <= price.input, model.id
    # A write rate of 0 would make tokens free that other providers report as plain input.
    assert price.cache_write is None or price.input == 0 or 0 < price.cache_write <= 2 * price.input, model.id
    assert price.cache_write_1h is None or price.cache_write is not None, model.id
    above = 0
    for tier in price.tiers:
        assert tier.above > above, model.id
        assert tier.input is not None, model.id
        assert tier.input >= price.input, model.id
        assert (tier.cache_write is None) >= (price.cache_write is None), model.id
        assert (tier.cache_write_1h is None) == (price.cache_write_1h is None), model.id
        above = tier.above


def test_names_are_unique_and_found() -> None:
    names = [name for row in ROWS for name in {row.id, row.alias}]
    assert len(names) == len(set(names))
    for row in ROWS:
        assert CATALOG.find(row.id) is row
        assert CATALOG.find(row.alias) is row
    assert CATALOG.get("pplx").id == "perplexity"
    assert CATALOG.find("nobody") is None
    assert CATALOG.find("") is None
    with pytest.raises(NotFound, match="nobody"):
        CATALOG.get("nobody")


def test_rows_that_claim_the_same_name_stop_the_start() -> None:
    with pytest.raises(ValueError, match="both called 'a'"):
        Catalog([made(), made(id="b")])
    with pytest.raises(ValueError, match="both called 'a'"):
        Catalog([made(), made(alias="z")])


def test_a_misspelt_fact_stops_the_start() -> None:
    with pytest.raises(msgspec.ValidationError, match="chat_pth"):
        made(chat_pth="/x")
    with pytest.raises(msgspec.ValidationError, match="contxt"):
        made(models=[{"id": "m", "contxt": 1}])


def test_the_serving_index_has_ids_and_aliases() -> None:
    assert CATALOG.serving["claude-opus-4.7"][0] == "anthropic"
    assert "openai" in CATALOG.serving["gpt-4o"]
    assert "nobody-makes-this" not in CATALOG.serving


def test_the_demo_needs_nothing() -> None:
    """D3"""
    row = CATALOG.get("demo")
    assert row.auth == Auth("none")
    assert [model.id for model in row.models] == ["demo", "demo-echo", "demo-embed", "demo-slow"]
    assert all(model.price == Price(input=0, output=0) and model.context == 128000 for model in row.models)


def test_ollama_is_native_and_local() -> None:
    row = CATALOG.get("ollama")
    assert (row.format, row.base_url, row.chat_path, row.models_path) == ("ollama", "http://127.0.0.1:11434", "/api/chat", "/api/tags")
    assert row.local
    assert row.passthrough_models
    assert row.auth.type == "optional_bearer"


@pytest.mark.parametrize("name", ["openai-compatible", "anthropic-compatible", "gemini-compatible", "ollama-compatible"])
def test_compatible_nodes_take_the_base_url_from_the_connection(name: str) -> None:
    row = CATALOG.get(name)
    assert row.needs_base_url
    assert row.passthrough_models
    assert "https://" not in str(row.node)


def test_vendors_are_rows() -> None:
    """D25: which provider makes a family of models is a fact of the catalogue."""
    assert "claude-" in CATALOG.get("anthropic").family_prefixes
    assert {"gemini-", "gemma-"} <= set(CATALOG.get("gemini").family_prefixes)
    for family in ("gpt-", "deepseek-", "qwen", "kimi-", "glm-", "minimax-", "mimo-"):
        assert any(family in row.family_prefixes for row in ROWS), family


@pytest.mark.parametrize("bad", ["", "a.b", "a/b", "evil.example#", "a@b", "a:80", "-a", "a-", "a b", "a\n", "x" * 65, "ü", "{region}"])
def test_a_template_field_cannot_change_the_host(bad: str) -> None:
    """SEC-13"""
    with pytest.raises(BadRequest) as caught:
        fill_template("https://{region}.example.com/v1", {"region": bad})
    assert caught.value.field == "data.region"


def test_a_template_is_filled() -> None:
    assert fill_template("https://{a}--{b}.modal.run/v1", {"a": "team-1", "b": "app"}) == "https://team-1--app.modal.run/v1"
    with pytest.raises(BadRequest, match="'b'"):
        fill_template("https://{a}--{b}.modal.run/v1", {"a": "team"})


def test_the_file_keeps_one_model_a_line() -> None:
    models = sum(len(row.models) for row in ROWS)
    assert len(re.findall(r'^  {"id":', TEXT, re.MULTILINE)) == models
    assert len(re.findall(r'^ "id": ', TEXT, re.MULTILINE)) == len(ROWS)
    assert len(TEXT.encode()) < 400_000


def test_what_takes_the_place_of_a_model_is_there() -> None:
    """No model leads to one that is gone, or to itself."""
    for row in ROWS:
        served = {model.id for model in row.models}
        assert served.isdisjoint(row.retired), row.id
        assert set(row.retired.values()) <= served, row.id
        named = {model.id: model.successor for model in row.models if model.successor}
        assert set(named.values()) <= served - named.keys(), row.id


def test_loading_is_quick() -> None:
    """Part of the cold start; the aim is under 10 ms. The bound here only catches a change of kind."""
    spent = min(_load_seconds() for _ in range(3))
    assert spent < 0.05


def _load_seconds() -> float:
    began = time.process_time()
    assert Catalog.load().serving
    return time.process_time() - began


@pytest.mark.parametrize("row", [row for row in ROWS if row.oauth], ids=[row.id for row in ROWS if row.oauth])
def test_a_login_is_whole_safe_and_the_owner_s_own(row: ProviderRow) -> None:
    """D5: by the vendor's documents, with the owner's own client; https everywhere, least scopes (SEC-54), and nothing that is a secret."""
    login = row.oauth
    assert login is not None
    assert login.ways
    data = dict.fromkeys([*login.fields, *re.findall(r"{(\w+)}", row.base_url_template)], "x-1")
    base_url = fill_template(row.base_url_template, data) if row.base_url_template else row.base_url or "https://host.example/v1"
    at = places(login, base_url, data)
    for url in (at.authorize, at.token, at.device, at.revoke, at.issuer, login.register, login.docs):
        if url:
            assert url.startswith("https://"), url
            strict_url(url)
    assert at.token
    assert login.docs
    assert (login.client == "none") == (not login.register)
    assert login.method == "client_secret_post" or login.client == "secret"
    assert len(set(login.scopes)) == len(login.scopes) <= 2
    assert not {"openid", "profile", "email", "read_user", "admin"} & set(login.scopes)
    assert re.fullmatch(r"[A-Za-z-]+", login.header)
    assert login.value.count("{token}") == 1
    assert not {"client_id", "client_secret", "state", "redirect_uri", "code_challenge", "scope"} & set(login.params)
    assert row.id not in AGENTS, "a plan's own client is not impersonated"
    assert "secret" not in json.dumps(msgspec.to_builtins(login)).replace("client_secret_", "").replace('"client": "secret"', "")
    # It is used: a request of such a connection carries the token, and no key.
    target = Target(
        provider=row, model="m", model_row=None, connection_id="c", base_url=base_url, secret=Secret("sk-other-key-1234"), data=data,
        access=Held(None, "a", "n", login.header, login.value, second_header(login, data)),  # type: ignore[arg-type] - nothing is sent
    )  # fmt: skip
    made = load("hub.providers", Adapter, lambda one: one.name)[row.format].models_request(target)
    assert made is None or (made.access is target.access and "sk-other" not in f"{made.headers} {made.target}")
