"""A declared HTTP request: the manifest holds the address, the input fills its blanks and the body. Header values are kept sealed."""

from __future__ import annotations

import re
from typing import Any, Literal
from urllib.parse import quote, urlsplit

import orjson
from pydantic import Field

from hub.errors import BadRequest, UpstreamFailed
from hub.outbound.address import parse_url
from hub.user_skills.handler import Handler, Work
from hub.user_skills.model import Schemas
from hub.user_skills.web import value_of
from hub.wire import Body

_BLANK = re.compile(r"{([A-Za-z_][A-Za-z0-9_]{0,63})}")
_SHOWN = 200


class Declared(Body):
    """Where it goes. ``{name}`` in the path or the query is filled with that field of the input, percent-encoded."""

    url: str = Field(max_length=2000, description="https://host/path?query with {blanks} after the host.")
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = Field(default="GET", description="What is sent.")
    headers: dict[str, str] = Field(default_factory=dict[str, str], max_length=30, description="Request headers; their values are secrets.")


class Http(Handler):
    """Sends the declared request; the input's other fields are its JSON body, where its method has one."""

    kind = "http"
    words = "a declared HTTP request"
    spec = Declared
    sealed = "headers"

    def check(self, spec: Declared, schemas: Schemas) -> None:
        host = urlsplit(spec.url).netloc
        if "{" in host:
            raise BadRequest("handler.url: the host cannot be a blank; blanks stand in the path and the query", field="handler.url")
        parse_url(_BLANK.sub("x", spec.url), field="handler.url")
        known: dict[str, Any] = schemas.input.get("properties") or {}
        if missing := [name for name in _BLANK.findall(spec.url) if name not in known]:
            raise BadRequest(f"handler.url: the input schema has no {', '.join(missing)}", field="handler.url")

    async def run(self, work: Work) -> Any:
        spec: Declared = work.spec
        used: set[str] = set()

        def filled(blank: re.Match[str]) -> str:
            used.add(blank[1])
            value = work.input.get(blank[1], "")
            plain = str(value).lower() if isinstance(value, bool) else value if isinstance(value, str) else str(value)
            # Dots alone would be a way up in a path, however they are encoded.
            if plain in (".", ".."):
                raise BadRequest(f"input.{blank[1]}: cannot be dots alone", field=f"input.{blank[1]}")
            return quote(plain, safe="")

        url = _BLANK.sub(filled, spec.url)
        body, headers = b"", dict(spec.headers)
        if spec.method in ("POST", "PUT", "PATCH"):
            body = orjson.dumps({name: value for name, value in work.input.items() if name not in used})
            headers.setdefault("content-type", "application/json")
        most = work.kit.settings.skills_max_http_response_bytes
        status, answered, data = await work.kit.web.send(
            spec.method, url, headers, body, seconds=work.seconds, most=most, field="handler.url"
        )
        if not 200 <= status < 300:
            raise UpstreamFailed(f"the address answered {status}: {data.decode('utf-8', 'replace')[:_SHOWN]}", upstream_status=status)
        return value_of(answered, data)


HANDLER = Http()
