"""Sign-in & security: the owner's password, the second factor, browsers that are signed in, and failed logins."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from hub.errors import BadRequest
from hub.login.lockout import ACCOUNT, FREE
from transports._dash.page import Done, Page, Shown

if TYPE_CHECKING:
    from transports._dash.forms import Form
    from transports._dash.page import Outcome
    from transports._dash.view import View

#: Why a login is among the identifiers that are refused now.
_LOCKED = "login_locked"
#: How logins are called in the audit log, and how many of the latest are shown.
_LOGINS, _LATEST = "auth.*", 15


async def _load(view: View) -> dict[str, Any]:
    locked = (await view.ask("policies-list")).locked_identifiers
    return {
        "state": await view.ask("login-state"),
        "password": {one.name: one for one in view.fields("login-update", "currentPassword", "password")},
        "totp": await view.ask("login-totp"),
        "code": view.fields("login-totp-confirm", "code")[0],
        "own": view.fields("login-totp-disable", "password")[0],
        "sessions": (await view.ask("login-sessions")).sessions,
        "locked": [one for one in locked if one.reason == _LOCKED],
        "account": ACCOUNT,
        "free": FREE,
        "logins": (await view.ask("audit-log", action=_LOGINS, limit=_LATEST)).entries,
        "enrolled": None,
        "codes": None,
    }


async def _password(view: View, form: Form) -> Outcome:
    typed = form.values()  # blanks belong to a password
    password = typed.get("password", "")
    if password != typed.get("repeat", ""):
        raise BadRequest("the new password and its repetition differ; type both again", field="repeat")
    await view.ask("login-update", password=password, currentPassword=typed.get("currentPassword", ""))
    return Done("The password is changed. Every other browser is signed out.")


async def _enrol(view: View, form: Form) -> Outcome:
    made = await view.ask("login-totp-enrol")
    picture = f"data:image/svg+xml;base64,{base64.b64encode(made.svg.encode()).decode()}"
    return Shown({"enrolled": made, "picture": picture})


async def _confirm(view: View, form: Form) -> Outcome:
    made = await view.sent("login-totp-confirm", form, "code")
    return Shown({"codes": made.recovery_codes})


async def _disable(view: View, form: Form) -> Outcome:
    await view.ask("login-totp-disable", password=form.values().get("password", ""))
    return Done("The second factor is off: the password alone signs in.")


async def _end(view: View, form: Form) -> Outcome:
    await view.ask("login-sessions-end", id=form.text("id"))
    return Done("That browser is signed out.")


async def _end_all(view: View, form: Form) -> Outcome:
    ended = (await view.ask("login-sessions-end-all")).ended
    return Done(f"{ended} other browsers are signed out." if ended != 1 else "The other browser is signed out.")


async def _unlock(view: View, form: Form) -> Outcome:
    if form.text("identifier"):
        await view.ask("policies-unlock", identifier=form.text("identifier"))
        return Done("It may try again now.")
    await view.ask("login-unlock")
    return Done("Failed logins are forgotten; nobody has to wait any more.")


async def _require(view: View, form: Form) -> Outcome:
    wanted = form.text("to") == "on"
    await view.ask("login-update", requireLogin=wanted)
    return Done("The dashboard asks for a login." if wanted else "Browsers on this machine see the dashboard without a login.")


PAGES = (
    Page(
        "security",
        "Sign-in & security",
        "security.html",
        _load,
        actions={
            "password": _password,
            "enrol": _enrol,
            "confirm": _confirm,
            "disable": _disable,
            "end": _end,
            "end-all": _end_all,
            "unlock": _unlock,
            "require": _require,
        },
        group="Access",
        order=2,
        words="password second factor totp two-factor 2fa mfa sessions login logout lockout recovery codes",
    ),
)
