"""Reports of failures to issue a key: kept in the audit log, and opened as an issue where the operator set that up."""

from __future__ import annotations

from collections import deque
from typing import Any, cast

import orjson
from pydantic import Field

from hub.context import Context
from hub.errors import HubError, RateLimited
from hub.fetch import fetch
from hub.log import masked, secret_name
from hub.records import AuditRow
from hub.skill import Audit, CostClass, Rest, skill
from hub.wire import Body, Wire

#: Reports in an hour: of one caller, and of all together, so that nobody floods a public tracker.
_EACH, _ALL = 5, 20
_HOUR = 3600.0
_DEPTH, _ITEMS, _TEXT = 4, 30, 500
#: Fields that hold what people wrote to a model; they never leave the hub.
_PROMPTS = frozenset(
    {"messages", "message", "prompt", "prompts", "input", "inputs", "content", "contents", "system", "instructions", "completion", "output",
     "body", "request", "requestbody", "response", "responsebody", "text"}
)  # fmt: skip


class IssueReport(Body):
    """A failure to issue a key or to get past a quota."""

    title: str = Field(min_length=1, max_length=300, description="What failed, in a line.")
    provider: str = Field(default="", max_length=80, description="Provider concerned.")
    account_id: str = Field(default="", max_length=120, description="Account concerned.")
    request_id: str = Field(default="", max_length=200, description="X-Request-Id of the call that failed.")
    error_code: str = Field(default="", max_length=100, description="Code of its error.")
    details: dict[str, Any] = Field(default={}, max_length=100, description="Further facts; secrets and prompts are taken out.")
    labels: list[str] = Field(default=[], max_length=20, description="Labels of the issue.")


class IssueAnswer(Wire):
    """What became of a report. ``reason`` says why no issue was opened, ``missing`` names settings that it would need; ``removed`` names
    fields of details that were taken out."""

    logged: bool = True
    github_issue_created: bool
    reason: str | None = None
    issue_url: str | None = None
    issue_number: int | None = None
    missing: list[str] = Field(default=[])
    removed: list[str] = Field(default=[])


def _status(answer: IssueAnswer) -> int:
    """Taken note of; opened; or not, as the tracker did not want it."""
    if answer.missing:
        return 202
    return 200 if answer.github_issue_created else 207


@skill(
    "issues-report",
    scopes=["chat"],
    cost=CostClass.NETWORK,
    rest=[Rest("POST", "/v1/issues/report", status_of=_status)],
    audit=Audit.NONE,
)
async def report(ctx: Context, ask: IssueReport) -> IssueAnswer:
    """Report a failure to issue a key: it is logged, and opened as an issue where a repository and a token are set.

    Secrets and prompts are taken out of it. At most 5 reports an hour for each key and 20 for the hub. Without
    HUBROUTE_GITHUB_ISSUES_REPO and HUBROUTE_GITHUB_ISSUES_TOKEN the report is only logged, and the answer is 202.
    """
    _admit(ctx)
    removed: list[str] = []
    details = _clean(ask.details, "details", _DEPTH, removed)
    _log(ctx, ask, details)
    settings = ctx.hub.settings
    missing = [
        name
        for name, value in (
            ("HUBROUTE_GITHUB_ISSUES_REPO", settings.github_issues_repo),
            ("HUBROUTE_GITHUB_ISSUES_TOKEN", settings.github_issues_token),
        )
        if not value
    ]
    if missing:
        words = f"the report is logged, but no issue can be opened: set {' and '.join(missing)} on the hub"
        return IssueAnswer(github_issue_created=False, reason=words, missing=missing, removed=removed)
    return await _opened(ctx, ask, details, removed)


def _admit(ctx: Context) -> None:
    """Count a report. Raises RateLimited for one too many."""
    kept: dict[str, deque[float]] = ctx.hub.kept.setdefault("issue reports", {})
    now = ctx.hub.clock.monotonic()
    for caller in list(kept):
        while kept[caller] and kept[caller][0] <= now - _HOUR:
            kept[caller].popleft()
        if not kept[caller]:
            del kept[caller]
    mine = kept.get(ctx.caller.key_id, deque())
    full = mine if len(mine) >= _EACH else None
    if full is None and sum(map(len, kept.values())) >= _ALL:
        full = min(kept.values(), key=lambda moments: moments[0])
    if full is not None:
        wait = full[0] + _HOUR - now
        raise RateLimited("too many reports in an hour; one of this kind is enough", code="issue_reports_exceeded", retry_after=wait)
    kept.setdefault(ctx.caller.key_id, mine).append(now)


def _log(ctx: Context, ask: IssueReport, details: Any) -> None:
    """The report in the audit log: what is in it may be shown to whoever reads that."""
    facts = {"title": masked(ask.title), "provider": ask.provider, "accountId": ask.account_id, "requestId": ask.request_id}
    text = orjson.dumps({**facts, "errorCode": ask.error_code, "details": details}, default=str).decode()
    ctx.hub.store.audit.add(
        AuditRow(
            at=ctx.hub.clock.now_ms(),
            request_id=ctx.request_id,
            door=ctx.door,
            caller=ctx.caller.name,
            key_id=ctx.caller.key_id,
            skill="issues-report",
            outcome="ok",
            detail=masked(text)[:4096],
            target=masked(ask.provider),
        )
    )


def _clean(value: Any, where: str, depth: int, removed: list[str]) -> Any:
    """A value without secrets, prompts and what is too much, which ``removed`` then names."""
    if isinstance(value, str):
        return masked(value[:_TEXT])
    if not isinstance(value, (dict, list)):
        return value
    if not depth:
        removed.append(where)
        return "…"
    if isinstance(value, list):
        items = cast("list[Any]", value)[:_ITEMS]
        return [_clean(item, f"{where}.{place}", depth - 1, removed) for place, item in enumerate(items)]
    kept: dict[str, Any] = {}
    for name, item in cast("dict[str, Any]", value).items():
        if secret_name(name) or name.lower().replace("_", "") in _PROMPTS or len(kept) >= _ITEMS:
            removed.append(f"{where}.{masked(name[:60])}")
        else:
            kept[masked(name[:60])] = _clean(item, f"{where}.{masked(name[:60])}", depth - 1, removed)
    return kept


async def _opened(ctx: Context, ask: IssueReport, details: Any, removed: list[str]) -> IssueAnswer:
    settings = ctx.hub.settings
    url = f"{settings.github_api_url.rstrip('/')}/repos/{settings.github_issues_repo}/issues"
    headers = {"authorization": f"Bearer {settings.github_issues_token}", "accept": "application/vnd.github+json"}
    body = {"title": masked(ask.title), "body": _text(ask, details), "labels": [masked(label)[:50] for label in ask.labels]}
    try:
        status, answer = await fetch(ctx.hub.outbound, "POST", url, headers=headers, body=body)
    except HubError as error:
        return IssueAnswer(github_issue_created=False, reason=f"the issue tracker cannot be reached: {error.message}", removed=removed)
    if status != 201:
        return IssueAnswer(github_issue_created=False, reason=f"the issue tracker answered {status}", removed=removed)
    place, number = _issue(answer)
    return IssueAnswer(github_issue_created=True, issue_url=place, issue_number=number, removed=removed)


def _issue(answer: bytes) -> tuple[str | None, int | None]:
    """Address and number of a new issue, where the answer names them."""
    try:
        found = orjson.loads(answer)
    except orjson.JSONDecodeError:
        return None, None
    if not isinstance(found, dict):
        return None, None
    url, number = cast("dict[str, Any]", found).get("html_url"), cast("dict[str, Any]", found).get("number")
    return url if isinstance(url, str) else None, number if isinstance(number, int) else None


def _text(ask: IssueReport, details: Any) -> str:
    facts = (("Provider", ask.provider), ("Account", ask.account_id), ("Request", ask.request_id), ("Error", ask.error_code))
    lines = [f"- {name}: `{masked(value).replace('`', '')}`" for name, value in facts if value]
    # No fence inside the text can end the block.
    shown = orjson.dumps(details, default=str, option=orjson.OPT_INDENT_2).decode().replace("```", "'''")
    return "\n".join([*lines, "", *(["```json", shown[:8000], "```"] if details else []), "", "Reported by HubRoute."])
