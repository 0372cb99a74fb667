"""Vendors' cloud agents, each a row of ``vendors.json``: requests, states and fields are data, so that a new vendor needs no code (D25)."""

from __future__ import annotations

import hashlib
import importlib.resources
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

import msgspec
import orjson

from hub.cloud_agents import template
from hub.cloud_agents.records import Activity, Snapshot, Status
from hub.errors import BadRequest, RateLimited, UpstreamFailed, UpstreamRejected
from hub.fetch import fetch
from hub.log import masked

if TYPE_CHECKING:
    from hub.clock import Clock
    from hub.cloud_agents.records import Access, CloudTask
    from hub.outbound.client import Outbound

_PAGES = 20
_CONTENT = 8000
_REPOSITORY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}/(?!\.{1,2}\Z)[A-Za-z0-9_.-]{1,100}\Z")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/-]{0,199}\Z")
_LINK = re.compile(r"https?://[^\s\x00-\x1f\"'<>\\]{1,2000}\Z", re.IGNORECASE)
#: The seed's reading of states that no table lists, in its order.
_WORDS: tuple[tuple[Status, tuple[str, ...]], ...] = (
    (Status.COMPLETED, ("completed", "done", "finished", "success")),
    (Status.FAILED, ("failed", "error", "expired")),
    (Status.CANCELLED, ("cancelled", "canceled", "stopped")),
    (Status.RUNNING, ("running", "active", "executing", "progress", "working")),
    (Status.AWAITING_APPROVAL, ("approval", "plan")),
    (Status.QUEUED, ("pending", "queued", "waiting")),
)


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A request: ``path`` below the base URL and ``body`` with fields to fill in."""

    method: str
    path: str
    body: Any = None


class Kind(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an activity is that ``has`` a field; ``status`` where it says how the whole task stands."""

    has: str
    type: str
    content: str = ""
    text: str = ""
    status: str = ""


class Page(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a further page is asked for: what the answer says in ``field`` is sent as ``param``."""

    field: str
    param: str


class Activities(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where activities are: in the answer to ``request``, or in that of the task itself."""

    list: str
    id: str
    kinds: tuple[Kind, ...]
    at: str = ""
    request: Request | None = None
    page: Page | None = None


class VendorRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One vendor. ``branch`` is used where the task names none; ``states`` maps its words, others are read as the seed reads them."""

    id: str
    name: str
    verified: str
    base_url: str
    header: str
    value: str
    create: Request
    external_id: str
    read: Request
    state: str
    states: dict[str, str]
    note: str = ""
    branch: str = ""
    result: dict[str, str] = {}
    activities: Activities | None = None
    message: Request | None = None
    approve: Request | None = None
    cancel: Request | None = None


def vendor_rows() -> list[VendorRow]:
    """The shipped rows. Raises msgspec.ValidationError when one does not fit."""
    return msgspec.json.decode(importlib.resources.files("hub.cloud_agents").joinpath("vendors.json").read_bytes(), type=list[VendorRow])


@dataclass(slots=True)
class _Seen:
    """What the activities of a task say."""

    activities: list[Activity]
    status: str = ""
    error: str = ""


class VendorAgent:
    """The agent of one row."""

    keyed = True
    here = False

    def __init__(self, row: VendorRow, outbound: Outbound, clock: Clock) -> None:
        self.row = row
        self.id, self.name, self.verified, self.note = row.id, row.name, row.verified, row.note
        self.can = frozenset(name for name in ("message", "approve", "cancel") if getattr(row, name) is not None)
        self._outbound = outbound
        self._clock = clock

    def check(self, task: CloudTask) -> None:
        """A vendor works on a repository."""
        repository(task)

    async def create(self, task: CloudTask, access: Access) -> Snapshot:
        """Begin a task there."""
        found = await self._ask(self.row.create, _facts(task, self.row), access)
        external = str(template.first(found, self.row.external_id) or "")
        if not _ID.match(external):
            raise UpstreamFailed(f"{self.name} began a task without a usable id")
        return self._snapshot(found, external, _Seen([]), created=True)

    async def read(self, task: CloudTask, access: Access) -> Snapshot:
        """Ask how the task stands there, and what was done."""
        facts = _facts(task, self.row)
        found = await self._ask(self.row.read, facts, access)
        seen = _Seen([])
        rules = self.row.activities
        if rules is not None:
            self._learn(seen, rules, found if rules.request is None else None)
            if rules.request is not None:
                await self._pages(seen, rules, rules.request, facts, access)
        return self._snapshot(found, task.external_id, seen)

    async def message(self, task: CloudTask, text: str, access: Access) -> None:
        """Tell it something."""
        await self._act(self.row.message, task, access, message=text)

    async def approve(self, task: CloudTask, access: Access) -> None:
        """Approve its plan."""
        await self._act(self.row.approve, task, access)

    async def cancel(self, task: CloudTask, access: Access) -> None:
        """Stop it there."""
        await self._act(self.row.cancel, task, access)

    def holds(self, task: CloudTask) -> bool:
        """It runs at the vendor's."""
        return False

    async def close(self) -> None:
        """Nothing is held."""

    async def _act(self, request: Request | None, task: CloudTask, access: Access, **more: str) -> None:
        if request is not None:
            await self._ask(request, {**_facts(task, self.row), **more}, access)

    async def _pages(self, seen: _Seen, rules: Activities, request: Request, facts: dict[str, Any], access: Access) -> None:
        token = ""
        for _ in range(_PAGES):
            path = request.path
            if token and rules.page is not None:
                path += f"{'&' if '?' in path else '?'}{rules.page.param}={quote(token, safe='')}"
            found = await self._ask(Request(request.method, path, request.body), facts, access)
            self._learn(seen, rules, found)
            token = str(template.first(found, rules.page.field) or "") if rules.page is not None else ""
            if not token:
                return

    def _learn(self, seen: _Seen, rules: Activities, found: Any) -> None:
        for one in template.objects(found, f"{rules.list}.*"):
            kind = next((kind for kind in rules.kinds if kind.has in one), None)
            if kind is None:
                continue
            content = (template.text(one, kind.content) if kind.content else kind.text)[:_CONTENT]
            # An agent that gives no id to what it did is told apart by what it said.
            identity = str(template.first(one, rules.id) or hashlib.sha256(orjson.dumps(one)).hexdigest()[:32])[:200]
            seen.activities.append(Activity(id=identity, type=kind.type, content=masked(content), at=self._at(one, rules.at)))
            seen.status = kind.status or seen.status
            seen.error = content if kind.type == "error" else seen.error

    def _at(self, one: Any, path: str) -> int:
        stated = template.first(one, path) if path else None
        if isinstance(stated, str):
            try:
                return round(_moment(stated) * 1000)
            except ValueError:
                pass
        return self._clock.now_ms()

    def _snapshot(self, found: Any, external: str, seen: _Seen, *, created: bool = False) -> Snapshot:
        word = str(template.first(found, self.row.state) or "")
        status = self._status(word) if word else Status(seen.status or ("queued" if created else "running"))
        return Snapshot(
            status=status,
            external_id=external,
            activities=tuple(seen.activities),
            result=self._result(found) or None,
            error=(masked(seen.error) or f"{self.name} says: {word[:200]}") if status is Status.FAILED else "",
        )

    def _result(self, found: Any) -> dict[str, Any]:
        """What came of the task, as far as the answer says it."""
        stated = {name: _result(name, template.first(found, path)) for name, path in self.row.result.items()}
        result = {name: value for name, value in stated.items() if value is not None}
        if "prUrl" in result and (number := re.search(r"/(\d{1,9})/?\Z", result["prUrl"])):
            result["prNumber"] = int(number[1])
        return result

    def _status(self, word: str) -> Status:
        listed = self.row.states.get(word)
        if listed is not None:
            return Status(listed)
        low = word.lower()
        return next((status for status, words in _WORDS if any(one in low for one in words)), Status.QUEUED)

    async def _ask(self, request: Request, facts: dict[str, Any], access: Access) -> Any:
        base = (access.base_url or self.row.base_url).rstrip("/")
        headers = {self.row.header: self.row.value.replace("{key}", access.secret.reveal())}
        body = None if request.body is None else template.fill(request.body, facts)
        status, answer = await fetch(
            self._outbound, request.method, base + template.place(request.path, facts), headers=headers, body=body, most=8 * 1024 * 1024,
            private=access.private,
        )  # fmt: skip
        if status >= 300:
            raise _refused(self.name, status, answer, access)
        if not answer.strip():
            return {}
        try:
            return orjson.loads(answer)
        except orjson.JSONDecodeError:
            raise UpstreamFailed(f"{self.name} answered something that is not JSON", upstream_status=status) from None


def repository(task: CloudTask) -> tuple[str, str]:
    """``owner/name`` and URL of the repository that a task names in any of the spellings. Raises BadRequest."""
    url = str(task.source.get("repoUrl") or "")
    name = str(task.source.get("repoName") or "")
    if url and not _LINK.match(url):
        raise BadRequest("source.repoUrl must be an http or https address", field="source.repoUrl")
    path = re.sub(r"\.git/?\Z", "", url).rstrip("/").split("://")[-1].split("/")
    full = name if _REPOSITORY.match(name) else "/".join(path[-2:]) if len(path) > 2 else ""
    if not _REPOSITORY.match(full):
        raise BadRequest("source.repoUrl, or source.repoName as owner/name, must say which repository to work on", field="source.repoUrl")
    return full, url or f"https://github.com/{full}"


def _facts(task: CloudTask, row: VendorRow) -> dict[str, Any]:
    """What templates may name."""
    repo, url = repository(task)
    branch = str(task.source.get("branch") or "") or row.branch
    environment: Any = task.options.get("environment")
    setup = {f"environment.{name}": value for name, value in cast("dict[str, Any]", environment or {}).items()}
    return {
        "id": task.external_id,
        "prompt": task.prompt,
        "title": task.prompt.strip().partition("\n")[0][:100],
        "repo": repo,
        "repoUrl": url,
        "branch": branch,
        "branchWords": f" (branch {branch})" if branch else "",
        "autoCreatePr": task.options.get("autoCreatePr"),
        "planApprovalRequired": task.options.get("planApprovalRequired"),
        **setup,
    }


def _result(name: str, value: Any) -> Any:
    """A field of a result; a link only if it is one that may be opened (SEC-32)."""
    if isinstance(value, str):
        if name.endswith("Url"):
            return value if _LINK.match(value) else None
        return masked(value[:_CONTENT])
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _refused(name: str, status: int, answer: bytes, access: Access) -> Exception:
    said = masked(answer[:500].decode(errors="replace")).replace(access.secret.reveal() or "\x00", "…").strip()
    words = f"{name} answered {status}{f': {said}' if said else ''}"
    if status == 429:
        return RateLimited(words, retry_after=30)
    return UpstreamRejected(words, upstream_status=status) if status < 500 else UpstreamFailed(words, upstream_status=status)


def _moment(text: str) -> float:
    # Nine digits of a second are more than Python reads.
    found = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text))
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
