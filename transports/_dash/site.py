"""The dashboard as a whole: which page is meant, who may see it, what a form does, and what an error looks like."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

from starlette.routing import compile_path

from hub.errors import BadRequest, HubError, InvalidInput, NotFound
from hub.login import check_csrf
from hub.registry import modules
from hub.uploads import Upload
from transports import _pages, _session
from transports._dash import view as views
from transports._dash.forms import Form
from transports._dash.page import Done, Page
from transports._dash.render import Renderer
from transports._dash.static import Assets

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

    from hub.call import Hub
    from transports._dash.view import View
    from transports._http import Exchange

#: Browsers load nothing but what this hub serves, run no script that stands in a page, and send forms nowhere else (SEC-08).
_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; "
    b"base-uri 'none'; frame-ancestors 'none'"
)
_MULTIPART = "multipart/form-data"
_HEADERS = (
    (b"content-type", b"text/html; charset=utf-8"),
    (b"content-security-policy", _POLICY),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)


class Site:
    """Every page, found in the folder; made with the first request."""

    def __init__(self) -> None:
        self.assets = Assets()
        found: list[Page] = [page for module in modules("transports._dash.pages") for page in module.PAGES]
        self.pages = sorted(found, key=lambda page: (page.group, page.order, page.path))
        self._renderer = Renderer(self.assets, self.pages)
        self._exact = {page.path: page for page in self.pages if "{" not in page.path}
        self._named = [(compile_path("/" + page.path)[0], page) for page in self.pages if "{" in page.path]

    def find(self, path: str) -> tuple[Page, dict[str, str]]:
        """The page at what stands behind ``/dashboard/``, and the names in its address. Raises NotFound."""
        page = self._exact.get(path)
        if page is not None:
            return page, {}
        for pattern, named in self._named:
            if (match := pattern.match("/" + path)) is not None:
                return named, match.groupdict()
        raise NotFound("there is no such page")

    async def answer(self, exchange: Exchange, path: str) -> None:
        """Show a page, or do what a form of it says; the exchange has a session, and a form of its own proven to be its own."""
        view = views.View(exchange, {})
        try:
            page, view.params = self.find(path)
            if exchange.method == "POST":
                await self._do(view, page)
            else:
                await self._show(view, page, 200, {})
        except HubError as error:
            await self._fail(view, error)

    async def _do(self, view: View, page: Page) -> None:
        async with AsyncExitStack() as files:
            try:
                form = await files.enter_async_context(_sent(view.exchange, page))
            except HubError as error:
                if not page.upload or error.status == 403:
                    raise
                await self._show(view, page, error.status, {"failed": error.message})
                return
            run = page.actions.get(form.do)
            if run is None:
                raise BadRequest("this form is not known here; load its page anew", field="do")
            view.did = form.do
            try:
                outcome = await run(view, form)
            except HubError as error:
                view.values, view.faults = form.values(), _faults(error)
                await self._show(view, page, error.status, {"failed": error.message})
                return
        if isinstance(outcome, Done):
            said = [views.flash("error" if outcome.failed else "done", outcome.words)] if outcome.words else []
            await _go(view.exchange, _pages.local(outcome.to) or view.path, [*said, *view.headers])
        else:
            await self._show(view, page, 200, outcome.more)

    async def _show(self, view: View, page: Page, status: int, more: dict[str, Any]) -> None:
        names = {"failed": "", **await page.load(view), **more}
        body = self._renderer.page(view, page, names, view.hub.clock.now_ms())
        seen = [views.flash_seen()] if view.flash is not None else []
        await view.exchange.answer(status, body, [*_HEADERS, *view.headers, *seen])

    async def _fail(self, view: View, error: HubError) -> None:
        error.request_id = view.exchange.request_id
        body, headers = self.failure(view, error)
        await view.exchange.answer(error.status, body, headers)

    def failure(self, view: View, error: HubError) -> tuple[bytes, Iterable[tuple[bytes, bytes]]]:
        """An error as a page, with the navigation to go on from it. Raises jinja2.TemplateError where even that is broken."""
        page = Page(path=view.path.lstrip("/"), title=_title(error), template="error.html", load=_nothing)
        return self._renderer.page(view, page, {"failed": "", "error": error}, view.hub.clock.now_ms()), _HEADERS


def site_of(hub: Hub) -> Site:
    """The dashboard of a hub."""
    made: Site | None = hub.kept.get("dashboard")
    if made is None:
        made = hub.kept["dashboard"] = Site()
    return made


@asynccontextmanager
async def _sent(exchange: Exchange, page: Page) -> AsyncGenerator[Form]:
    """What a form of a page sent. Raises BadRequest for what cannot be read, TooLarge, Full, Forbidden without its token.

    A form with files was let in by the browser's word that a page of this hub sends it (:mod:`transports._session`); its token is looked
    at as well, as soon as it is read.
    """
    if not page.upload or not exchange.head.content_type.lower().startswith(_MULTIPART):
        yield Form(await _session.form(exchange))
        return
    # The parser is needed for these forms only.
    from transports import _forms  # noqa: PLC0415 - see above

    async with _forms.form(exchange, page.upload) as sent:
        fields = {name: value for name, value in sent.items() if isinstance(value, str)}
        if exchange.session is not None:
            check_csrf(exchange.session, fields.get("csrf", ""))
        yield Form(fields, {name: value for name, value in sent.items() if isinstance(value, Upload)})


async def _go(exchange: Exchange, to: str, cookies: list[tuple[bytes, bytes]]) -> None:
    await exchange.answer(303, b"", [(b"location", to.encode("latin-1", "replace")), (b"cache-control", b"no-store"), *cookies])


async def _nothing(view: View) -> dict[str, Any]:
    return {}


def _faults(error: HubError) -> dict[str, str]:
    """What is wrong with which field."""
    if isinstance(error, InvalidInput):
        return {str(one["field"]): str(one["message"]) for one in error.details}
    return {error.field: error.message} if error.field else {}


def _title(error: HubError) -> str:
    known = {403: "You may not see this", 404: "There is no such page", 500: "Something broke in the hub"}
    return known.get(error.status, "This did not work")
