"""The owner's login: who may use the dashboard, and the way in (SEC-06)."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec.structs import replace

from hub.errors import BadRequest, Forbidden, HubError, NotConfigured, NotFound, RateLimited, Unauthenticated, UpstreamFailed
from hub.log import logger, masked
from hub.login import passwords
from hub.login.lockout import Lockout
from hub.login.oidc import Oidc
from hub.login.owner import OwnerRecord
from hub.login.passwords import Passwords
from hub.login.second import SecondFactor
from hub.login.sessions import OPEN, Sessions
from hub.records import AuditRow, Caller

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hub.clock import Clock
    from hub.login.owner import Owner
    from hub.login.sessions import Session
    from hub.outbound.client import Outbound
    from hub.preferences import Preferences
    from hub.settings import Settings
    from hub.store.store import Store

log = logger("hub.login")
#: What the audit log calls a try to log in.
LOGIN, SETUP, PROVIDER, LOGOUT = "auth-login", "auth-setup", "auth-oidc", "auth-logout"
#: How long after a login its session may change the password without the old one.
_FRESH_MS = 15 * 60_000
#: How often the audit log is told that logins are refused because they come too early.
_TOLD_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Browser:
    """Where a login comes from. ``token`` is of the session that it has already, empty for none: it ends with the next."""

    address: str
    agent: str
    token: str = ""


class Login:
    """The parts, and :meth:`enter`, :meth:`setup`, :meth:`leave`."""

    def __init__(self, store: Store, outbound: Outbound, clock: Clock, settings: Settings, preferred: Callable[[], Preferences]) -> None:
        self._store = store
        self._clock = clock
        self._settings = settings
        self._preferred = preferred
        self._passwords = Passwords()
        self.sessions = Sessions(store, clock, settings)
        self.record = OwnerRecord(store, clock)
        self.second = SecondFactor(self.record, store, clock)
        self.lockout = Lockout(store, clock)
        self.oidc = Oidc(settings, outbound, store, clock)
        self._tell_at = 0.0

    @property
    def optional(self) -> bool:
        """Whether browsers of this machine need no login: the owner's wish, which counts on loopback only."""
        return not self._preferred().require_login and self.may_be_optional

    @property
    def may_be_optional(self) -> bool:
        """Whether the owner may do without a login: nobody but this machine reaches the hub, and no proxy speaks for others."""
        return self._settings.local_only and not self._settings.public_url

    async def lives(self, session_id: str) -> bool:
        """Whether a browser still is who it was: for answers that outlast their request."""
        if session_id == OPEN:
            return self.optional
        return any(one.id == session_id for one in await self.sessions.list())

    def check_optional(self) -> None:
        """Raise BadRequest where the owner may not do without a login."""
        if not self.may_be_optional:
            raise BadRequest(
                "a login can be left out on loopback only, without HUBROUTE_PUBLIC_URL: this hub can be reached from elsewhere",
                field="requireLogin",
            )

    async def open(self) -> None:
        """Set the password of the settings, where there is none yet."""
        initial = self._settings.initial_password
        if initial and not (await self.record.get()).password:
            hashed = await self._passwords.hash(initial)
            try:
                await self.record.set_password(hashed, first=True)
            except HubError:  # another process was first
                return
            log.info("the owner's password was set from INITIAL_PASSWORD; it may be taken out of the settings now")

    async def check_exposure(self) -> None:
        """Raise NotConfigured for a hub that others could reach before it has an owner (SEC B1)."""
        if self._settings.local_only or self._store.keys.all() or (await self.record.get()).password:
            return
        raise NotConfigured(
            f"a hub on {self._settings.host} can be reached from elsewhere and has neither an owner password nor keys yet;"
            " set INITIAL_PASSWORD, or run `hubroute owner password` or `hubroute keys create NAME` first"
        )

    async def enter(self, password: str, code: str, browser: Browser) -> tuple[Session, str]:
        """A new session for whoever knows the password, and the code where one is needed; and the session's token.

        Raises Unauthenticated in the same words whatever was wrong, and with code ``totp_needed`` where the password is right and
        the code is missing; RateLimited after too many tries; Forbidden while there is no password.
        """
        try:
            proved = await self._proved(password, code, browser)
            await self.lockout.clear(browser.address)
            session, token = await self._begin(LOGIN, browser)
            # A password that was changed meanwhile has ended the sessions before this one.
            now = (await self.record.get()).password
            if now != proved and not await self._passwords.holds(password, now):
                await self._end(session)
                raise _wrong()
        except Unauthenticated as error:
            await self._note(LOGIN, browser, error)
            raise
        except RateLimited as error:
            if self._clock.monotonic() >= self._tell_at:  # anybody can be refused any number of times
                self._tell_at = self._clock.monotonic() + _TOLD_SECONDS
                await self._note(LOGIN, browser, error)
            raise
        return session, token

    async def setup(self, token: str, password: str, browser: Browser) -> tuple[Session, str]:
        """Set the password by the owner's link, which is used up, end every session and begin one. Raises NotFound, BadRequest."""
        await self.record.check_link(token)
        passwords.check(password)
        await self.record.redeem(token, await self._passwords.hash(password))
        await self.sessions.end_all()
        await self.lockout.unlock()
        return await self._begin(SETUP, browser)

    async def by_provider(self, answer: Mapping[str, str], sealed: str, browser: Browser) -> tuple[str, str]:
        """The token of a new session for whom the identity provider logged in, and where the browser goes. Raises as Oidc.finish."""
        try:
            who, then = await self.oidc.finish(answer, sealed)
        except (Forbidden, UpstreamFailed) as error:  # what comes before is not from the provider, and anybody can send it
            await self._note(PROVIDER, browser, error)
            raise
        _, token = await self._begin(PROVIDER, browser, who)
        return token, then

    async def _begin(self, what: str, browser: Browser, who: str = "") -> tuple[Session, str]:
        """A session for a browser whose user was found to be the owner; the one that it had ends."""
        if browser.token and (old := await self.sessions.find(browser.token)):
            await self._end(old)
        session, token = await self.sessions.begin(address=browser.address, agent=browser.agent)
        await self._note(what, browser, None, session, who)
        return session, token

    async def leave(self, session: Session, browser: Browser) -> None:
        """End a browser's session."""
        await self._end(session)
        await self._note(LOGOUT, browser, None, session)

    async def set_password(self, password: str, *, current: str, caller: Caller) -> None:
        """Set the owner's password, and end every other session. Raises BadRequest, Forbidden without the current one where it is due."""
        passwords.check(password)
        owner = await self.record.get()
        if owner.password and await self._due(caller):
            await self.confirm(current, caller, owner)
        await self.record.set_password(await self._passwords.hash(password))
        await self.sessions.end_all(but=caller.session)

    async def confirm(self, password: str, caller: Caller, owner: Owner | None = None) -> None:
        """Raise Forbidden unless this is the owner's password; for what a stolen session must not be able to do.

        Who has the owner's authority over the machine itself need not say it. Raises RateLimited after too many tries.
        """
        if caller == Caller.owner():
            return
        stored = (owner or await self.record.get()).password
        place = caller.session or caller.key_id
        await self.lockout.admit(place)
        if not await self._passwords.holds(password, stored):
            raise Forbidden("this needs the owner's current password", code="password_needed", data={"field": "currentPassword"})
        await self.lockout.clear(place)

    async def _due(self, caller: Caller) -> bool:
        """Whether a caller must say the current password: in a session that is not fresh, or where there was no login."""
        if not caller.session:
            return False
        if caller.session == OPEN:
            return True
        found = next((one for one in await self.sessions.list() if one.id == caller.session), None)
        return found is None or self._clock.now_ms() - found.created_at > _FRESH_MS

    async def _proved(self, password: str, code: str, browser: Browser) -> str:
        """The stored hash of the password that was given."""
        if len(password) > passwords.MOST:
            raise BadRequest(f"a password has at most {passwords.MOST} characters", field="password")
        owner = await self.record.get()
        if not owner.password:
            raise Forbidden(_NOT_SET_UP, code="setup_needed", wire={"error": _NOT_SET_UP, "code": "setup_needed", "needsSetup": True})
        await self.lockout.admit(browser.address)
        if not await self._passwords.holds(password, owner.password):
            raise _wrong()
        if owner.second_factor and not code.strip():
            await self.lockout.release(browser.address)
            raise Unauthenticated(_CODE, code="totp_needed", wire={"error": _CODE, "code": "totp_needed", "totpRequired": True})
        await self.second.ready()
        newer = await self._passwords.renewed(password, owner.password)
        if not await self.record.change(lambda now: self._spent(now, owner.password, newer, code)):
            raise _wrong()
        return newer or owner.password

    def _spent(self, now: Owner, proved: str, newer: str, code: str) -> tuple[Owner, bool]:
        """The owner after a login, if the password is still the one that was looked at and the code is good."""
        if now.password != proved:
            return now, False
        after = self.second.used(now, code) if now.second_factor else now
        if after is None:
            return now, False
        return (replace(after, password=newer) if newer else after), True

    async def _end(self, session: Session) -> None:
        if session.id != OPEN:
            with suppress(NotFound):  # ended elsewhere meanwhile
                await self.sessions.end(session.id)

    async def _note(self, what: str, browser: Browser, error: HubError | None, session: Session | None = None, who: str = "") -> None:
        """A login is a change of who may do what, so it is in the audit log, whatever came of it (SEC-80)."""
        caller = Caller.owner(session.id) if session else Caller.anonymous()
        self._store.audit.add(
            AuditRow(
                at=self._clock.now_ms(),
                request_id=self._clock.new_id("req_"),
                door="login",
                caller=caller.name,
                key_id=caller.key_id,
                skill=what,
                outcome="ok" if error is None else "denied",
                error_code=error.code if error else "",
                detail=masked(who)[:500],
                target=browser.address,
            )
        )
        await self._store.flush()


_NOT_SET_UP = "there is no owner password yet; open the owner link (`hubroute owner link` makes one) or set INITIAL_PASSWORD"
_CODE = "the code of the second factor is needed, too"
_WRONG = "the password or the code is wrong"


def _wrong() -> Unauthenticated:
    return Unauthenticated(_WRONG, code="login_failed", wire={"error": _WRONG, "code": "login_failed"})
