"""What the calls of the audit log are called in OmniRoute's words, so that its clients' filters find them, and which are events.

A row holds the name of a skill. What it is called, and of what kind the thing is that it was done to, follows from the table below,
else from the name: ``keys-create`` is ``keys.create`` on ``keys``. A row of something that is no skill may hold such a name itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hub.records import AuditRow
    from hub.skill import Skill


@dataclass(frozen=True, slots=True)
class Action:
    """What a call is called; ``failed`` where it has another name when it did not go well. ``event`` is told when it did."""

    name: str
    resource: str
    failed: str = ""
    event: str = ""


@dataclass(frozen=True, slots=True)
class Match:
    """Rows of these skills, or of those whose name is ``like`` this pattern with ``*``.

    ``ok`` None takes all outcomes, ``code`` only errors with this code, ``other`` none with that one.
    """

    skills: tuple[str, ...]
    like: str = ""
    ok: bool | None = None
    code: str = ""
    other: str = ""


_CREDENTIALS = "provider_credentials"
_SESSION = "auth_session"
#: A connection whose address lies where none may be (SEC-10).
_BLOCKED, _REFUSED = "provider.validation.ssrf_blocked", "address_refused"

#: By name of the skill, or by its address, which is the wire's and stays what it is.
_TABLE: dict[str, Action] = {
    "POST /api/providers": Action("provider.credentials.created", _CREDENTIALS, event="connection.created"),
    "PUT /api/providers/{id}": Action("provider.credentials.updated", _CREDENTIALS, event="connection.updated"),
    "DELETE /api/providers/{id}": Action("provider.credentials.revoked", _CREDENTIALS, event="connection.deleted"),
    "POST /api/keys": Action("keys.create", "keys", event="key.created"),
    "PUT /api/keys/{id}": Action("keys.update", "keys", event="key.updated"),
    "POST /api/keys/{id}/revoke": Action("keys.revoke", "keys", event="key.revoked"),
    "DELETE /api/keys/{id}": Action("keys.delete", "keys", event="key.deleted"),
    "POST /api/v1/registered-keys": Action("registered-keys.issue", "registered-keys", event="key.created"),
    "registered-keys-revoke": Action("registered-keys.revoke", "registered-keys", event="key.revoked"),
    "combos-switch": Action("combos.switch", "combos", event="combo.switched"),
    "auth-login": Action("auth.login.success", _SESSION, failed="auth.login.failed"),
    "auth-oidc": Action("auth.oidc.success", _SESSION, failed="auth.oidc.failed"),
    "auth-setup": Action("auth.setup.success", _SESSION, failed="auth.setup.failed"),
    "auth-logout": Action("auth.logout.success", _SESSION, failed="auth.logout.failed"),
    "POST /api/sync/tokens": Action("sync.token.created", "sync_token"),
    "DELETE /api/sync/tokens/{id}": Action("sync.token.revoked", "sync_token"),
    "retention-sweep": Action("compliance.cleanup", "audit_log"),
}


class Actions:
    """The table for the skills of one hub."""

    def __init__(self, skills: Iterable[Skill]) -> None:
        every = list(skills)
        # What is no skill, such as a login, has its row by its name.
        self._known = _TABLE | {one.name: _action(one) for one in every}
        #: Names of skills that change nothing.
        self.reading = tuple(one.name for one in every if one.read_only)

    def of(self, skill: str) -> Action:
        """What a call of this skill is called. A name with a dot is one already."""
        return self._known.get(skill) or _derived(skill)

    def event(self, row: AuditRow) -> str:
        """The event that a call is, empty where it is none or did not go well."""
        return self.of(row.skill).event if row.outcome == "ok" else ""

    def name(self, row: AuditRow) -> str:
        """What a recorded call is called."""
        action = self.of(row.skill)
        if action.resource == _CREDENTIALS and row.error_code == _REFUSED:
            return _BLOCKED
        return action.failed if action.failed and row.outcome != "ok" else action.name

    def named(self, pattern: str) -> list[Match]:
        """Which rows are called so; a pattern may hold ``*``. Where no skill is, rows that hold the name itself."""
        found: list[Match] = []
        for skill, action in self._known.items():
            refusals = action.resource == _CREDENTIALS
            other = _REFUSED if refusals else ""
            if fnmatchcase(action.name, pattern):
                found.append(Match((skill,), ok=True if action.failed else None, other=other))
            if action.failed and fnmatchcase(action.failed, pattern):
                found.append(Match((skill,), ok=False))
            if refusals and fnmatchcase(_BLOCKED, pattern):
                found.append(Match((skill,), code=_REFUSED))
        return [*found, Match((), like=pattern) if "*" in pattern else Match(_spellings(pattern))]

    def on(self, resource: str) -> list[Match]:
        """Which rows were done to things of this kind."""
        return [Match(tuple(skill for skill, action in self._known.items() if action.resource == resource))]


def _action(skill: Skill) -> Action:
    addresses = (f"{one.method} {one.path}" for one in skill.rest)
    return next((_TABLE[one] for one in (skill.name, *addresses) if one in _TABLE), None) or _derived(skill.name)


def _derived(skill: str) -> Action:
    if "." in skill or "-" not in skill:
        return _TABLE.get(skill) or Action(skill, skill.split(".")[0])
    resource, _, verb = skill.rpartition("-")
    return _TABLE.get(skill) or Action(f"{resource}.{verb}", resource)


def _spellings(name: str) -> tuple[str, ...]:
    """The names of skills, known or not, that are called so without a row in the table."""
    head, dot, verb = name.rpartition(".")
    return (name, f"{head}-{verb}") if dot else (name,)
