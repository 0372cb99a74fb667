"""The one refusal of an access token."""

from __future__ import annotations

from hub.errors import Unauthenticated


class TokenRefused(Unauthenticated):
    """A token that does not count. The caller is not told why; ``why`` is for the log, ``trusted`` says that the issuer did sign it."""

    def __init__(self, why: str, *, trusted: bool = False) -> None:
        super().__init__("the access token is not valid for this hub: get a new one from its authorization server")
        self.why = why
        self.trusted = trusted
