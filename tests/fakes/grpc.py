"""A gRPC channel that sends a key with every call, as a stock client's would."""

from __future__ import annotations

from typing import Any

from grpc import aio


class _Keyed:
    def __init__(self, authorization: str) -> None:
        self._authorization = authorization

    def with_key(self, details: Any) -> Any:
        return details._replace(metadata=aio.Metadata(*(details.metadata or ()), ("authorization", self._authorization)))


class _One(_Keyed, aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await continuation(self.with_key(client_call_details), request)


class _Many(_Keyed, aio.UnaryStreamClientInterceptor):
    async def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await continuation(self.with_key(client_call_details), request)


def channel(address: str, authorization: str) -> Any:
    """Unencrypted, to ``host:port``; ``authorization`` is the whole value."""
    return aio.insecure_channel(address, interceptors=[_One(authorization), _Many(authorization)])
