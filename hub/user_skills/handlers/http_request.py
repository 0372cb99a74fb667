"""An HTTP request that the caller chooses: to public addresses only, without credentials and without redirects."""

from __future__ import annotations

from typing import Any

from hub.errors import BadRequest
from hub.user_skills.handler import Handler, Work, object_of, text_of, texts_of, whole_of
from hub.user_skills.model import Schemas
from hub.user_skills.web import METHODS

#: What would carry somebody's authority to an address that a model chose.
_CREDENTIALS = ("authorization", "cookie", "x-api-key", "api-key", "token", "secret", "password", "x-auth", "x-csrf", "session")
_MOST_SECONDS = 60_000
_MOST_BODY = 256_000


class HttpRequest(Handler):
    """Sends what the input says, and shows what comes back."""

    kind = "http_request"
    words = "an HTTP request to a public address"
    schemas = Schemas(
        input=object_of(
            {
                "url": {"type": "string", "maxLength": 2000},
                "method": {"type": "string", "enum": list(METHODS)},
                "headers": {"type": "object", "additionalProperties": {"type": "string"}, "maxProperties": 30},
                "body": {"type": "string", "maxLength": _MOST_BODY},
                "timeoutMs": {"type": "integer", "minimum": 1, "maximum": _MOST_SECONDS},
                "maxBytes": {"type": "integer", "minimum": 1},
            },
            "url",
        ),
        output={"type": "object", "properties": {"status": {"type": "integer"}, "headers": {"type": "object"}, "body": {"type": "string"}}},
    )

    async def run(self, work: Work) -> Any:
        method = text_of(work, "method", "GET").upper()
        if method not in METHODS:
            raise BadRequest(f"input.method: must be one of {', '.join(METHODS)}", field="input.method")
        most = work.kit.settings.skills_max_http_response_bytes
        seconds = min(work.seconds, whole_of(work, "timeoutMs", _MOST_SECONDS, most=_MOST_SECONDS) / 1000)
        headers = {name: value for name, value in texts_of(work, "headers").items() if not _credential(name)}
        body = text_of(work, "body").encode()
        limit = min(most, whole_of(work, "maxBytes", most, most=2**31))
        status, answered, data = await work.kit.web.send(
            method, text_of(work, "url"), headers, body, seconds=seconds, most=limit, field="input.url"
        )
        shown = {name.decode("latin-1"): value.decode("latin-1") for name, value in answered if not _credential(name.decode("latin-1"))}
        return {"status": status, "headers": shown, "body": data.decode("utf-8", "replace")}


def _credential(name: str) -> bool:
    return any(word in name.lower() for word in _CREDENTIALS)


HANDLER = HttpRequest()
