"""The second factor: enrolled with a secret, confirmed with a code, and ten recovery codes for the day the phone is gone."""

from __future__ import annotations

import asyncio
import base64
import hmac
import importlib
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec.structs import replace

from hub.errors import BadRequest, Conflict
from hub.login.owner import Totp

if TYPE_CHECKING:
    from types import ModuleType

    from hub.clock import Clock
    from hub.login.owner import Owner, OwnerRecord
    from hub.store.store import Store

_PLACE = "login/totp"
_PURPOSE = "login-recovery"
_RECOVERY_CODES = 10


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What an authenticator app is given, this once."""

    secret: str
    uri: str
    picture: str


class SecondFactor:
    """The owner's one-time codes. All methods read and change the row as it is in the database."""

    def __init__(self, record: OwnerRecord, store: Store, clock: Clock) -> None:
        self._record = record
        self._store = store
        self._clock = clock

    async def enrol(self, account: str) -> Enrolment:
        """A new secret, which counts once it is confirmed. Raises Conflict while another counts or there is no password."""
        codes = await _codes()
        secret = codes.secret()
        sealed = self._store.seal(secret, _PLACE)

        def changed(owner: Owner) -> tuple[Owner, None]:
            if not owner.password:
                raise Conflict("set a password first; the code is asked for after it")
            if owner.second_factor:
                raise Conflict("there is a second factor already; switch it off before you set up another")
            return replace(owner, totp=Totp(sealed)), None

        await self._record.change(changed)
        uri = codes.uri(secret, account)
        return Enrolment(secret, uri, codes.picture(uri))

    async def confirm(self, code: str) -> list[str]:
        """The second factor counts from now on; its recovery codes, which are nowhere else. Raises BadRequest, Conflict."""
        codes = await _codes()
        recovery = [_recovery_code() for _ in range(_RECOVERY_CODES)]
        digests = tuple(self._digest(one) for one in recovery)

        def changed(owner: Owner) -> tuple[Owner, None]:
            if owner.totp is None or owner.second_factor:
                raise Conflict("nothing is to be confirmed; ask for a secret first")
            step = self._step(codes, owner.totp, code)
            if not step:
                raise BadRequest("this is not the code that the app shows now; look at the time of both clocks", field="code")
            return replace(owner, totp=replace(owner.totp, confirmed=True, step=step, recovery=digests)), None

        await self._record.change(changed)
        return recovery

    async def disable(self) -> None:
        """No login needs a code any more."""
        await self._record.change(lambda owner: (replace(owner, totp=None), None))

    async def ready(self) -> None:
        """Load what :meth:`used` needs."""
        await _codes()

    def used(self, owner: Owner, code: str) -> Owner | None:
        """The owner after a code was used, which then is void; None for one that is wrong or void."""
        totp = owner.totp
        if totp is None:
            return None
        step = self._step(importlib.import_module("hub.login.codes"), totp, code)
        if step:
            return replace(owner, totp=replace(totp, step=step))
        digest = self._digest(code)
        left = tuple(one for one in totp.recovery if not hmac.compare_digest(one, digest))
        return replace(owner, totp=replace(totp, recovery=left)) if len(left) < len(totp.recovery) else None

    def _step(self, codes: ModuleType, totp: Totp, code: str) -> int:
        return codes.step_of(self._store.unseal(totp.secret, _PLACE).reveal(), code, self._clock.now_ms(), after=totp.step)

    def _digest(self, code: str) -> str:
        plain = "".join(char for char in code.lower() if char.isalnum())
        return hmac.digest(self._store.derive(_PURPOSE), plain.encode("utf-8", "replace"), "sha256").hex()


async def _codes() -> ModuleType:
    return await asyncio.to_thread(importlib.import_module, "hub.login.codes")


def _recovery_code() -> str:
    """Fifty random bits, to be written down by hand."""
    text = base64.b32encode(secrets.token_bytes(7)).decode().lower()
    return f"{text[:5]}-{text[5:10]}"
