"""A provider whose users sign in by OAuth, on loopback: authorization server, device codes and models at one address.

It is laid out as two rows of the catalogue have it that follow the connection's base URL, so that nothing of the hub is replaced.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from tests.fakes.protected import Grant, Issuer, served

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp

#: Rows whose addresses follow the base URL: one with codes and OpenAI's format, one with device codes.
CODE, DEVICE = "databricks", "gitlab-duo"
CLIENT = "client-of-the-owner"


@dataclass
class SignIn(Issuer):
    """``devices`` are the device codes that were given, and who agreed; ``steps`` are answers to polls before that.

    ``tokens`` are those that chats came with, ``stolen`` pauses after a rotation, before it is answered; ``refuses`` refuses every token.
    """

    resources: bool = False
    devices: dict[str, Grant | str | None] = field(default_factory=dict[str, "Grant | str | None"])
    steps: list[str] = field(default_factory=list[str])
    interval: float = 0.0
    device_life: int = 600
    verification: str = "/device"
    tokens: list[str] = field(default_factory=list[str])
    keys: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    stolen: float = 0.0
    refuses: bool = False

    def app(self) -> ASGIApp:
        return Starlette(
            routes=[
                Route("/oidc/v1/authorize", self._authorize),
                Route("/oidc/v1/token", self._token, methods=["POST"]),
                Route("/oauth/authorize", self._authorize),
                Route("/oauth/token", self._token, methods=["POST"]),
                Route("/oauth/authorize_device", self._device, methods=["POST"]),
                Route("/oauth/revoke", self._revoke, methods=["POST"]),
                Route("/auth", self._auth),
                Route("/auth/keys", self._key, methods=["POST"]),
                Route("/serving-endpoints/chat/completions", self._chat, methods=["POST"]),
                Route("/serving-endpoints/models", self._models),
            ]
        )

    @property
    def base_url(self) -> str:
        """The base URL of connections with OpenAI's format."""
        return f"{self.url}/serving-endpoints"

    def agree(self, answer: str | None = None) -> None:
        """Somebody types the last code and agrees, or not: ``answer`` is the error then."""
        code = list(self.devices)[-1]
        self.devices[code] = answer or Grant(self.user, CLIENT, "", ())

    async def _authorize(self, request: Request) -> Response:
        asked = request.query_params
        client, back = self.clients.get(asked["client_id"]), asked["redirect_uri"]
        # As RFC 8252 asks: any port of this machine.
        if client is not None and back.startswith("http://") and back.endswith("/callback") and "/api/" not in back:
            client["redirect_uris"].append(back)
        return await super()._authorize(request)

    async def _token(self, request: Request) -> Response:
        form = await request.form()
        if not str(form.get("grant_type", "")).endswith("device_code"):
            answer = await super()._token(request)
            await asyncio.sleep(self.stolen)
            return answer
        self.requests.append(("token", {name: str(value) for name, value in form.items()}))
        if self.steps:
            # One answer of those servers that say errors with status 200.
            return JSONResponse({"error": self.steps.pop(0)}, status_code=200 if len(self.steps) % 2 else 400)
        found = self.devices.get(str(form["device_code"]), "expired_token")
        if found is None:
            return JSONResponse({"error": "authorization_pending"}, status_code=400)
        if isinstance(found, str):
            return JSONResponse({"error": found, "error_description": f"about {form['device_code']}"}, status_code=400)
        del self.devices[str(form["device_code"])]
        return JSONResponse(self._issued(found))

    async def _device(self, request: Request) -> Response:
        form = await request.form()
        self.requests.append(("device", {name: str(value) for name, value in form.items()}))
        if form.get("client_id") not in self.clients:
            return JSONResponse({"error": "invalid_client"}, status_code=401)
        code = f"canary-device-{secrets.token_hex(8)}"
        self.devices[code] = None
        where = self.verification if ":" in self.verification else f"{self.url}{self.verification}"
        return JSONResponse(
            {
                "device_code": code,
                "user_code": "WDJB-MJHT",
                "verification_uri": where,
                "expires_in": self.device_life,
                "interval": self.interval,
            }
        )

    async def _auth(self, request: Request) -> Response:
        """The page of servers that give keys: no client, no state of ours."""
        asked = dict(request.query_params)
        self.asked.append(asked)
        self.keys.append({"code": f"canary-code-{secrets.token_hex(8)}", "challenge": asked["code_challenge"]})
        joint = "&" if "?" in asked["callback_url"] else "?"
        return JSONResponse({"location": f"{asked['callback_url']}{joint}code={self.keys[-1]['code']}"})

    async def _key(self, request: Request) -> Response:
        given = await request.json()
        form = {"code_verifier": given["code_verifier"], "code": given["code"]}
        known = next((one for one in self.keys if one["code"] == given["code"]), None)
        made = challenge(form["code_verifier"])
        if known is None or known["challenge"] != made or given["code_challenge_method"] != "S256":
            return JSONResponse({"error": {"message": "Invalid code"}}, status_code=403)
        self.keys.remove(known)
        token = f"canary-key-{secrets.token_hex(16)}"
        self.access[token] = (Grant(self.user, "", "", ()), time.time() + 1e6)
        return JSONResponse({"key": token, "user_id": "u"})

    async def _models(self, request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [{"id": "m", "object": "model"}]}, status_code=200 if self._known(request) else 401)

    async def _chat(self, request: Request) -> Response:
        if not self._known(request):
            return JSONResponse({"error": {"message": f"bad token {self.tokens[-1]}", "code": "unauthorized"}}, status_code=401)
        message = {"role": "assistant", "content": f"hello {self.tokens[-1]}"}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return JSONResponse({"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage})

    def _known(self, request: Request) -> bool:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        self.tokens.append(token)
        grant, until = self.access.get(token, (None, 0.0))
        return not self.refuses and grant is not None and not grant.over and until > time.time()


def challenge(verifier: str) -> str:
    """The S256 challenge of a verifier."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")


@asynccontextmanager
async def signing_in() -> AsyncGenerator[SignIn]:
    """Such a provider, which knows the owner's client."""
    vendor = SignIn()
    async with served(vendor.app()) as vendor.url:
        vendor.name = f"{vendor.url}/oidc"
        vendor.known(CLIENT, "")
        yield vendor
