"""Stock a2a-sdk clients of a running hub, each with a key of its own, in every binding and version the hub speaks."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import httpx

with warnings.catch_warnings():
    # The SDK's imports are its own affair; our warnings stay errors.
    warnings.simplefilter("ignore")
    from a2a.client import A2ACardResolver, ClientConfig, ClientFactory

if TYPE_CHECKING:
    from tests.fakes.hub import Running

CARDS = {"JSONRPC": "/.well-known/agent-card.json", "HTTP+JSON": "/.well-known/agent-card.json", "0.3": "/.well-known/agent.json"}


class Agents:
    """Makes clients of one binding (a key of :data:`CARDS`). ``secrets`` are the signing secrets that answers named."""

    def __init__(self, running: Running, binding: str) -> None:
        self.running, self.binding = running, binding
        self.secrets: list[str] = []
        self._opened: list[httpx.AsyncClient] = []

    async def make(self, *scopes: str, streaming: bool = False) -> Any:
        """A client with a new key."""

        async def note(answer: httpx.Response) -> None:
            if "x-hubroute-signing-secret" in answer.headers:
                self.secrets.append(answer.headers["x-hubroute-signing-secret"])

        http = httpx.AsyncClient(headers=await self.running.headers(*scopes), timeout=10, event_hooks={"response": [note]})
        self._opened.append(http)
        card = await A2ACardResolver(http, self.running.url).get_agent_card(CARDS[self.binding])
        protocol = "JSONRPC" if self.binding == "0.3" else self.binding
        config = ClientConfig(httpx_client=http, streaming=streaming, supported_protocol_bindings=[protocol])
        return ClientFactory(config).create(card)

    async def close(self) -> None:
        """Close every client."""
        for http in self._opened:
            await http.aclose()
