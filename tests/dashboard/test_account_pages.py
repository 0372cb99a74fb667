"""Accounts by sign-in, endpoints of the owner's own, and models of an account; a real authorization server at the other end."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.dashboard.conftest import Dashboard, axe, looked_at, opened, serious
from tests.dashboard.test_pages import PLAIN, csrf
from tests.dashboard.test_routing_pages import sent
from tests.dashboard.test_security_page import found
from tests.fakes.hub import running_hub
from tests.fakes.signin import CLIENT, CODE, DEVICE, SignIn, signing_in
from tests.fakes.upstream import FaultUpstream, json_answer
from tests.fakes.vendor import good
from tests.upstream.browser import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser

pytestmark = pytest.mark.anyio
SIGN_IN = "/dashboard/providers/sign-in"
NODES = "/dashboard/providers/nodes"
SECRET = "canary-client-secret"


@pytest.fixture(scope="module")
async def vendor() -> AsyncIterator[SignIn]:
    async with signing_in() as one:
        yield one


@pytest.fixture(scope="module")
async def dashboard(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Dashboard]:
    """A hub that logins can come back to."""
    port = free_port()
    async with running_hub(tmp_path_factory.mktemp("accounts"), port=port, public_url=f"http://127.0.0.1:{port}") as running:
        _, token = await running.hub.login.sessions.begin(address="127.0.0.1", agent="tests")
        yield Dashboard(running, token)


def carried(page: str) -> dict[str, str]:
    """The login that a page carries on."""
    pairs = re.findall(r'name="(begun\.\w+)" value="([^"]*)"', page)
    return {name: html.unescape(value) for name, value in pairs}


async def store_client(client: httpx.AsyncClient, provider: str, vendor: SignIn) -> None:
    """The owner's client at a provider, by its form."""
    base_url = vendor.base_url if provider == CODE else f"{vendor.url}/api/v4"
    fields = {"clientId": CLIENT, "clientSecret": "", "scopes": "", "baseUrl": base_url, "allowPrivate": "on"}
    await sent(client, f"{SIGN_IN}/{provider}", "client", **fields)


async def agree(page: str, vendor: SignIn) -> str:
    """The user agrees at the provider; the address that the browser is sent back to."""
    begun = carried(page)
    vendor.clients[CLIENT]["redirect_uris"].append(begun["begun.redirect"])
    assert f'href="{html.escape(begun["begun.url"])}" target="_blank" rel="noreferrer noopener"' in page
    async with httpx.AsyncClient() as browser:
        return (await browser.get(begun["begun.url"])).headers["location"]


async def test_a_client_is_stored_without_being_shown(dashboard: Dashboard) -> None:
    url = f"{SIGN_IN}/gemini"
    async with dashboard.client() as client:
        assert f'href="{url}"' in (await client.get("/dashboard/providers/new")).text
        assert "Sign in at Gemini" in (await client.get("/dashboard/providers/new?provider=gemini")).text
        page = (await client.get(url)).text
        assert "/api/oauth/gemini/callback" in page
        assert "Sign in with the browser" not in page
        refused = await sent(client, url, "client", status=400, clientId="", clientSecret=SECRET)
        assert 'role="alert"' in refused.text
        refused = await sent(client, url, "client", status=400, clientId="mine", clientSecret=SECRET, scopes="a b\nc")
        assert SECRET not in refused.text
        await sent(client, url, "client", clientId="mine", clientSecret=SECRET)
        page = (await client.get(url)).text
        assert "Sign in with the browser" in page
        assert SECRET not in page
        await sent(client, url, "forget")
        assert "Sign in with the browser" not in (await client.get(url)).text
        assert (await client.get(f"{SIGN_IN}/openai")).status_code == 404


async def test_an_account_is_asked_for_the_facts_of_its_address(dashboard: Dashboard) -> None:
    url = "/dashboard/providers/new"
    async with dashboard.client() as client:
        assert 'name="fact.account"' in (await client.get(f"{url}?provider=snowflake")).text
        fields = {"provider": "snowflake", "name": "cold", "apiKey": "sk-x"}
        refused = await sent(client, url, "add", status=400, **fields)
        assert 'name="fact.account"' in refused.text
        made = await sent(client, url, "add", **fields, **{"fact.account": "nobody-1", "baseUrl": "http://127.0.0.1:9"})
        kept = await dashboard.ask("connections-get", id=made.headers["location"].rsplit("/", 1)[1])
        assert kept.provider_specific_data["account"] == "nobody-1"


async def test_a_login_with_the_browser_ends_with_an_account_and_renews_it(dashboard: Dashboard, vendor: SignIn) -> None:
    """SEC-52, SEC-53: the code comes back to the hub; only the page that began the login can end it."""
    url = f"{SIGN_IN}/{CODE}"
    async with dashboard.client() as client:
        await store_client(client, CODE, vendor)
        begun = await sent(client, url, "begin", status=200, way="hub", name="<mine>")
        fields = carried(begun.text)
        waiting = await sent(client, url, "finish", status=200, **fields)
        assert "not finished at the provider yet" in waiting.text
        assert carried(waiting.text) == fields
        back = await agree(waiting.text, vendor)
        async with httpx.AsyncClient() as browser:
            assert (await browser.get(back)).status_code == 200
        done = await sent(client, url, "finish", **fields)
        place = done.headers["location"]
        page = (await client.get(place)).text
        assert "&lt;mine&gt;" in page
        assert '<span class="badge ok">connected</span>' in page
        assert "Its token ends" in page
        again = f"{url}?connection={place.rsplit('/', 1)[1]}"
        assert f'href="{again}"' in page
        begun = await sent(client, again, "begin", status=200, way="port")
        assert carried(begun.text)["begun.redirect"].startswith("http://localhost:")
        back = await agree(begun.text, vendor)
        refused = await sent(client, again, "paste", status=400, code=f"{back}&code=twice", **carried(begun.text))
        assert 'role="alert"' in refused.text
        done = await sent(client, again, "paste", code=back, **carried(refused.text))
        assert done.headers["location"] == place
        gone = await sent(client, again, "finish", status=404, **fields)
        assert "begin it anew" in gone.text


async def test_a_device_code_is_shown_and_asked_about(dashboard: Dashboard, vendor: SignIn) -> None:
    url = f"{SIGN_IN}/{DEVICE}"
    async with dashboard.client() as client:
        await store_client(client, DEVICE, vendor)
        begun = await sent(client, url, "begin", status=200, way="device", name="duo")
        assert "WDJB-MJHT" in begun.text
        assert f'href="{vendor.url}/device"' in begun.text
        waiting = await sent(client, url, "finish", status=200, **carried(begun.text))
        assert "WDJB-MJHT" in waiting.text
        vendor.agree()
        done = await sent(client, url, "finish", **carried(waiting.text))
        assert "duo is signed in" in (await client.get(done.headers["location"])).text
        begun = await sent(client, url, "begin", status=200, way="device")
        vendor.agree("access_denied")
        refused = await sent(client, url, "finish", status=200, **carried(begun.text))
        assert "did not sign you in" in refused.text
        assert not carried(refused.text)


async def test_only_addresses_of_the_web_can_be_opened(dashboard: Dashboard) -> None:
    """SEC-27: what a form, or a provider, says to be an address is no script."""
    forged = {"begun.kind": "code", "begun.name": "a.b", "begun.url": "javascript:alert(1)", "begun.redirect": "", "begun.warning": ""}
    async with dashboard.client() as client:
        page = await sent(client, f"{SIGN_IN}/openrouter", "finish", status=404, **forged)
        assert 'href="javascript' not in page.text


async def test_a_node_is_tried_added_changed_and_deleted(dashboard: Dashboard) -> None:
    async with dashboard.client() as client, FaultUpstream() as upstream:
        upstream.answer(json_answer({"object": "list", "data": [{"id": "model-of-mine", "object": "model"}]}))
        fields = {"speaks": "openai-compatible/chat", "baseUrl": f"{upstream.url}/v1", "name": "<mine>", "prefix": "mine"}
        page = (await client.get(NODES)).text
        tried = await client.post(NODES, data={"csrf": csrf(page), "do": "try", **fields, "apiKey": SECRET, "allowPrivate": "on"})
        assert "model-of-mine" in tried.text
        assert 'value="&lt;mine&gt;"' in tried.text
        assert SECRET not in tried.text
        tried = await sent(client, NODES, "try", status=200, **fields)
        assert "It does not work" in tried.text
        refused = await sent(client, NODES, "add", status=409, **{**fields, "prefix": "openai"})
        assert 'class="field wrong"' in refused.text
        made = await sent(client, NODES, "add", **fields)
        identity = found(r"provider=(.+)", made.headers["location"])
        place = f"{NODES}/{identity}"
        page = (await client.get(made.headers["location"])).text
        assert f"<option selected>{identity}</option>" in page
        new = {"provider": identity, "name": "its account", "apiKey": "sk-x", "allowPrivate": "on"}
        account = await sent(client, "/dashboard/providers/new", "add", **new)
        assert "its account" in (await client.get(place)).text
        tried = await sent(client, place, "try", status=200, apiKey="sk-x", allowPrivate="on")
        assert "It answers" in tried.text
        shape = {"name": "ours", "prefix": "mine", "baseUrl": f"{upstream.url}/v1", "apiType": "chat"}
        await sent(client, place, "change", **shape, modelsPath="/list")
        node = (await dashboard.ask("nodes-list")).nodes[0]
        assert (node.name, node.models_path) == ("ours", "/list")
        await sent(client, place, "change", **shape, modelsPath="")
        assert (await dashboard.ask("nodes-list")).nodes[0].models_path is None
        assert (await sent(client, place, "change", status=400, **{**shape, "baseUrl": "nowhere"})).status_code == 400
        await dashboard.ask("combos-create", name="uses it", models=["mine/model-of-mine"])
        refused = await sent(client, place, "delete", status=409)
        assert "uses it" in refused.text
        assert "Delete it all the same" in refused.text
        await sent(client, place, "delete", force="on")
        assert (await client.get(place)).status_code == 404
        assert (await client.get(account.headers["location"])).status_code == 404


async def test_models_of_an_account_are_written_down_hidden_and_removed(dashboard: Dashboard) -> None:
    async with FaultUpstream() as upstream:
        upstream.answer(good())
        account = await dashboard.ask("connections-create", provider="openai", name="mine", apiKey="sk-x")
    url = f"/dashboard/providers/{account.id}/models"
    async with dashboard.client() as client:
        assert f'href="{url}"' in (await client.get(f"/dashboard/providers/{account.id}")).text
        refused = await sent(client, url, "add", status=400, modelId="new-one", contextLength="0")
        assert 'class="field wrong"' in refused.text
        refused = await sent(client, url, "add", status=400, modelId="new-one", capabilities="flying")
        assert "flying" in refused.text
        fields = {"modelId": "new-one", "apiFormat": "chat-completions", "contextLength": "32000", "only": "on"}
        await sent(client, url, "add", **fields, **{"pricing.input": "1.5", "capabilities": "tools\nvision"})
        [model] = (await dashboard.ask("provider-models-list", provider="openai")).models
        assert (model.context_length, model.connection_id, model.pricing) == (32000, account.id, {"input": 1.5})
        assert model.capabilities == ["tools", "vision"]
        page = (await client.get(url)).text
        assert "$1.50" in page
        assert "this account" in page
        assert (await sent(client, url, "add", status=409, modelId="new-one")).status_code == 409
        await sent(client, url, "hide", model="gpt-4o-mini", to="hidden")
        assert "openai/gpt-4o-mini" not in [one.id for one in (await dashboard.ask("models-list", provider="openai")).models]
        page = (await client.get(url)).text
        assert "Hidden models" in page
        await sent(client, url, "hide", model="gpt-4o-mini", to="shown")
        assert "Hidden models" not in (await client.get(url)).text
        assert "gpt-4o-mini" in (await client.get(url, params={"q": "4o-MINI"})).text
        await sent(client, url, "remove", model="new-one")
        assert not (await dashboard.ask("provider-models-list", provider="openai")).models
        await sent(client, url, "remove", status=404, model="new-one")
        assert (await client.get("/dashboard/providers/nobody/models")).status_code == 404


async def test_no_form_says_twice_what_it_does(dashboard: Dashboard) -> None:
    """A field that is there twice is refused, so a form has either buttons that say what they do or a field that does."""
    async with dashboard.client() as client:
        for url in PLAIN:
            for form in re.findall(r"<form.*?</form>", (await client.get(url)).text, re.DOTALL):
                assert not ('type="hidden" name="do"' in form and '<button name="do"' in form), form


async def test_pages_of_sign_ins_are_accessible_and_fit(browser: Browser, dashboard: Dashboard, vendor: SignIn) -> None:
    account = await dashboard.ask("connections-create", provider="anthropic", name="of a picture", apiKey="sk-x")
    await dashboard.ask("provider-models-add", provider="anthropic", modelId="a-model-with-a-long-name-of-its-own")
    await dashboard.ask("provider-models-hide", provider="anthropic", modelId="claude-opus-4-5", isHidden=True)
    async with opened(browser, dashboard) as watched:
        for url in (f"{SIGN_IN}/{DEVICE}", f"{SIGN_IN}/{CODE}?connection=", f"/dashboard/providers/{account.id}/models"):
            await looked_at(watched.page, url)


async def test_a_device_login_in_a_browser_ends_by_itself(browser: Browser, dashboard: Dashboard, vendor: SignIn) -> None:
    """Coming back from the provider's tab asks whether the login came to its end."""
    base = f"{vendor.url}/api/v4"
    await dashboard.ask("provider-clients-set", provider=DEVICE, clientId=CLIENT, baseUrl=base, allowPrivate=True)
    async with opened(browser, dashboard, viewport={"width": 360, "height": 800}) as watched:
        page = watched.page
        await page.goto(f"{SIGN_IN}/{DEVICE}")
        await page.get_by_label("Name").fill("in a browser")
        await page.get_by_role("button", name="Get a code to type").click()
        assert await page.locator("#user-code").text_content() == "WDJB-MJHT"
        assert await serious(page, axe()) == []
        vendor.agree()
        await page.evaluate("document.activeElement.blur(); document.dispatchEvent(new Event('visibilitychange'))")
        await page.get_by_text("in a browser is signed in").wait_for()
