"""What an upstream error means for the next step: one reading of status, headers and words for all wire formats.

The table is routing.md 3.4 (words before status), the hints are those of 3.3.
"""

from __future__ import annotations

import re
import time
from email.utils import mktime_tz, parsedate_tz
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import orjson

from hub.providers.base import Failure, FailureKind

if TYPE_CHECKING:
    from hub.outbound.base import Headers

#: No hint may keep a connection away longer than this; seconds.
MAX_WAIT = 24 * 3600.0
#: The code of a request whose content a provider refuses.
UNWANTED = "content_filter"
_MESSAGE = 500
_JSON_LIMIT = 1024 * 1024
_TEXT_LIMIT = 64 * 1024

_Rule: TypeAlias = tuple[re.Pattern[str], FailureKind, str, float | None]


def _rule(words: str, kind: FailureKind, code: str = "", wait: float | None = None) -> _Rule:
    return re.compile(words), kind, code, wait


_TOO_LONG = re.compile(
    r"context[ -](?:length|window|size)|maximum (?:context|prompt length)|context limit|range of input length|inputs` tokens \+"
    r"|(?:prompt|input) (?:is )?too long|too many (?:input )?tokens"
    r"|input token count|exceeds? the (?:model'?s )?max(?:imum)? (?:number of )?(?:input )?tokens"
    r"|reduce the length of the (?:messages|prompt|input)"
)
_NO_MODEL = re.compile(
    r"model[ -]not[ -](?:found|supported|available)|(?:unknown|unsupported|no such) model\b|invalid model(?: (?:name|id)|:)"
    r"|models? [`'\"]?[\w.:/@-]{1,120}[`'\"]? (?:is |was |has been |does )?"
    r"(?:not (?:found|exist|supported|available)|decommissioned|deprecated)"
    r"|model (?:does not exist|is not (?:found|supported|available)|not exist)"
)
#: The provider will not have what the request says; another of its accounts would not, either.
_UNWANTED = re.compile(
    r"content[ -](?:management )?(?:policy|filter)"
    r"|(?:violat\w+|breach\w*) (?:of )?(?:our |\w{1,30}'s )?(?:usage|content|safety) (?:polic|guideline)"
    r"|(?:prompt|input|content|request) (?:was |is |has been )?(?:flagged|blocked by|rejected by (?:our|the) safety)"
    r"|moderation blocked|data inspection failed|inappropriate content|content exists risk|safety system|blocked by guardrail"
)
#: Tried in order on the provider's words, lower case, with ``_`` read as a space. Text, kind, code, wait in seconds.
_WORDS: tuple[_Rule, ...] = (
    # Whoever moderates says so with 400 or 403; the account is in order.
    _rule(r"content[ -](?:moderation|policy|filter)|safety system", FailureKind.CALLER),
    _rule(
        r"spending limit|used all available credits|not enough credits|good standing|arrearage|billing details|exceeded current quota",
        FailureKind.CREDIT,
    ),
    _rule(
        r"account\b.{0,40}\b(?:deactivated|disabled|suspended|banned|terminated)|verify your account",
        FailureKind.AUTH,
        "account_deactivated",
    ),
    _rule(r"has not been used in project", FailureKind.PERMISSION, "project_not_enabled"),
    _rule(r"(?:user )?location is not supported|not available in your (?:country|region)", FailureKind.PERMISSION),
    _rule(
        r"subscription token (?:is )?invalid|reported as leaked|api key not valid|api key invalid|(?:invalid|incorrect) (?:x-)?api[- ]key",
        FailureKind.AUTH,
    ),
    _rule(
        r"insufficient[ -](?:quota|balance|credits?|funds)|credit balance (?:is )?too low|out of credits|exceeded your current quota",
        FailureKind.CREDIT,
    ),
    _rule(r"today'?s quota|daily (?:quota|limit)|try again tomorrow", FailureKind.QUOTA, "daily_quota"),
    _rule(r"no credentials", FailureKind.AUTH, "", 120.0),
    _rule(r"request not allowed", FailureKind.RATE, "", 5.0),
    _rule(r"improperly formed request", FailureKind.CAPACITY, "", 0.0),
    _rule(r"rate[ -]limit|too many requests", FailureKind.RATE),
    _rule(r"quota exceeded|exceeded (?:your|the) quota|quota will reset|exhausted your capacity|resource exhausted", FailureKind.QUOTA),
    _rule(r"capacity|overloaded", FailureKind.CAPACITY),
)
_BY_STATUS: dict[int, FailureKind] = {
    400: FailureKind.CALLER,
    401: FailureKind.AUTH,
    402: FailureKind.CREDIT,
    403: FailureKind.PERMISSION,
    404: FailureKind.MODEL,
    405: FailureKind.CALLER,
    409: FailureKind.CALLER,
    410: FailureKind.MODEL,
    411: FailureKind.CALLER,
    413: FailureKind.CONTEXT,
    415: FailureKind.CALLER,
    422: FailureKind.CALLER,
    429: FailureKind.RATE,
    431: FailureKind.CALLER,
    432: FailureKind.QUOTA,
    433: FailureKind.QUOTA,
    451: FailureKind.CALLER,
    529: FailureKind.CAPACITY,
}
#: Error types and statuses in words, for errors inside an answer of status 200.
_STATUS_OF_WORD: dict[str, int] = {
    "invalid_request_error": 400,
    "invalid_prompt": 400,
    "context_length_exceeded": 400,
    "exceed_context_size_error": 400,
    "content_filter": 400,
    "content_policy_violation": 400,
    "invalid_argument": 400,
    "failed_precondition": 400,
    "authentication_error": 401,
    "unauthenticated": 401,
    "invalid_api_key": 401,
    "billing_error": 402,
    "insufficient_quota": 402,
    "permission_error": 403,
    "permission_denied": 403,
    "not_found_error": 404,
    "not_found": 404,
    "model_not_found": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "resource_exhausted": 429,
    "timeout_error": 504,
    "overloaded_error": 529,
    "unavailable": 503,
}


def classify(status: int, headers: Headers, body: bytes, *, message: str = "", code: str = "", now_ms: int | None = None) -> Failure:
    """What an error answer means.

    ``message`` and ``code`` are read from the body where the caller does not give them. A ``status`` below
    400 says that the error came inside an answer (200 with an error object); the status is then taken from its words.
    ``now_ms`` is the time that dates are compared with; without it the answer's own ``Date`` header, then the
    system clock. The message is the provider's own: the engine masks credentials in it.
    """
    message = message or message_of(body)
    code = code or code_of(body)
    if status < 400:
        status = _status_of(code)
    now = _now(headers, now_ms)
    kind, named, default = _kind(status, f"{message} {code}".lower().replace("_", " "))
    if named == UNWANTED:
        status = 400  # some say 403 or 451, as if the account lacked a right
    if named == "daily_quota" and status != 429:
        default = _until_midnight(now)
    wait, source = _hint(headers, body or message.encode(), now, default)
    return Failure(kind, status, message or f"HTTP {status}", named or code, wait, source)


def _kind(status: int, words: str) -> tuple[FailureKind, str, float | None]:
    own = _of_request(status, words)
    if own is not None:
        return own
    for pattern, kind, code, wait in _WORDS:
        if pattern.search(words):
            # A 429 for want of quota may pass by itself; only other statuses say that the account has no money (3.4).
            return FailureKind.QUOTA if kind is FailureKind.CREDIT and status == 429 else kind, code, wait
    if status in (400, 403) and _NO_MODEL.search(words):
        return FailureKind.MODEL, "model_not_found", None
    return _BY_STATUS.get(status, FailureKind.SERVER), "", None


def _of_request(status: int, words: str) -> tuple[FailureKind, str, float | None] | None:
    """Whether it is the request that is too long, or unwanted, so that no account is at fault."""
    if status == 413 or (status in (400, 422) and _TOO_LONG.search(words)):
        return FailureKind.CONTEXT, "context_length_exceeded", None
    if status in (400, 403, 422, 451) and _UNWANTED.search(words):
        return FailureKind.CALLER, UNWANTED, None
    return None


def _status_of(code: str) -> int:
    if code.isascii() and code.isdigit() and 400 <= int(code[:4]) < 600:
        return int(code)
    return _STATUS_OF_WORD.get(code.lower(), 502)


#: Words for units of time, in seconds.
_UNITS = {
    **dict.fromkeys(("ms", "millisecond", "milliseconds"), 0.001),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), 86400.0),
}
_NUMBER = re.compile(r"\d{1,15}(?:\.\d{1,9})?\Z", re.ASCII)
_PIECE = re.compile(r"\s?(\d{1,12}(?:\.\d{1,9})?)\s?([a-z]*)", re.ASCII)
_LEAD = re.compile(r"(?:retry[ -]after|retry in|try again (?:in|after)|resets? (?:in|after)|please wait)\s?:?(?=\s?\d)")
_DELAY = re.compile(r'"retry_?delay"\s?:\s?"(?=\d)')


def retry_after(headers: Headers, body: bytes, *, now_ms: int | None = None) -> float | None:
    """Seconds to wait as the provider asks for it (routing.md 3.3), at most ``MAX_WAIT``; None without a usable hint.

    Read in this order: ``retry-after-ms``, ``Retry-After`` (seconds or date), ``X-RateLimit-Reset`` (epoch in
    milliseconds or seconds; a small number is seconds from now), ``retryDelay`` of the body, "retry after 20 s" and
    "reset after 1h2m3s" in its text. What is negative, past or not a number is no hint.
    """
    return _hint(headers, body, _now(headers, now_ms))[0]


def _hint(headers: Headers, body: bytes, now: int, default: float | None = None) -> tuple[float | None, str]:
    """The wait of :func:`retry_after`, else the ``default`` of a rule; and where it is from: ``header``, ``text``, ``rule``, or nothing."""
    found = {name.lower(): value.decode("latin-1").strip() for name, value in headers}
    wait = _number(found.get(b"retry-after-ms", ""), 0.001)
    if wait is None:
        wait = _seconds_or_date(found.get(b"retry-after", ""), now)
    if wait is None:
        wait = _reset(found.get(b"x-ratelimit-reset", ""), now)
    if wait is not None:
        return min(wait, MAX_WAIT), "header"
    wait = _spoken(body) if body else None
    if wait is not None:
        return min(wait, MAX_WAIT), "text"
    return default, "" if default is None else "rule"


def _number(text: str, unit: float) -> float | None:
    return float(text) * unit if _NUMBER.match(text) else None


def _seconds_or_date(text: str, now_ms: int) -> float | None:
    number = _number(text, 1.0)
    if number is not None or not text:
        return number
    moment = _date(text)
    return _from_now(moment, now_ms) if moment is not None else None


def _date(text: str) -> int | None:
    """An HTTP date in epoch seconds; None for what is no date, or one that no calendar has."""
    parsed = parsedate_tz(text[:64])
    try:
        return None if parsed is None else mktime_tz(parsed)
    except (ValueError, OverflowError):
        return None


def _reset(text: str, now_ms: int) -> float | None:
    number = _number(text, 1.0)
    if number is None:
        return None
    if number > 1e10:
        return _from_now(number / 1000, now_ms)
    return _from_now(number, now_ms) if number > 1e9 else number


def _from_now(epoch: float, now_ms: int) -> float | None:
    wait = epoch - now_ms / 1000
    return wait if wait >= 0 else None


def _spoken(body: bytes) -> float | None:
    text = body[:_TEXT_LIMIT].decode("utf-8", "replace").lower()
    lead = _DELAY.search(text) or _LEAD.search(text)
    return _duration(text, lead.end()) if lead else None


def _duration(text: str, position: int) -> float | None:
    total = None
    for _ in range(6):
        piece = _PIECE.match(text, position)
        if piece is None:
            break
        unit = _UNITS.get(piece[2])
        if unit is None:
            return float(piece[1]) if total is None else total
        total = (total or 0.0) + float(piece[1]) * unit
        position = piece.end()
    return total


def _now(headers: Headers, now_ms: int | None) -> int:
    if now_ms is not None:
        return now_ms
    date = next((value for name, value in headers if name.lower() == b"date"), b"")
    moment = _date(date.decode("latin-1")) if date else None
    return moment * 1000 if moment is not None else time.time_ns() // 1_000_000


def _until_midnight(now_ms: int) -> float:
    """Seconds to the next midnight of UTC: the machine's own zone says nothing of the provider's day."""
    return 86400.0 - now_ms / 1000 % 86400.0


def message_of(body: bytes) -> str:
    """The provider's message in an error body of any of the shapes we know, at most 500 characters, on one line.

    Knows OpenAI's, Anthropic's, Gemini's (also as an array) and Ollama's objects, ``detail`` and ``errors`` lists,
    HTML pages and plain text. Empty when the body says nothing.
    """
    tree = _tree(body)
    if tree is not None:
        return _tidy(_message(tree, 0))
    text = body[:_TEXT_LIMIT].decode("utf-8", "replace")
    return _tidy(_strip_html(text) if "<" in text[:1024] else text)


def code_of(body: bytes) -> str:
    """The error code in such a body: its ``code``, else its ``type`` or ``status``, as text; empty when there is none."""
    node = _tree(body)
    if isinstance(node, list):
        node = next(iter(cast("list[object]", node)), None)
    for source in (_get(node, "error"), _get(node, "detail"), node):
        for name in ("code", "type", "status", "err_code"):
            value = _get(source, name)
            if value and value != "error" and isinstance(value, str | int):
                return _word_or_number(source, value)
    return ""


def _word_or_number(source: object, value: str | int) -> str:
    # Gemini gives its HTTP status as ``code`` and the word as ``status``
    word = _get(source, "status") if isinstance(value, int) else None
    return str(word if isinstance(word, str) else value)[:100]


def _tree(body: bytes) -> object:
    if len(body) > _JSON_LIMIT or body.lstrip()[:1] not in (b"{", b"["):
        return None
    try:
        return cast("object", orjson.loads(body))
    except orjson.JSONDecodeError:
        return None


def _get(node: object, name: str) -> Any:
    return cast("dict[str, Any]", node).get(name) if isinstance(node, dict) else None


def _message(node: object, depth: int) -> str:
    if isinstance(node, str):
        return node
    if depth > 4:
        return ""
    if isinstance(node, list):
        return next((text for item in cast("list[object]", node)[:8] if (text := _message(item, depth + 1))), "")
    for name in ("message", "error", "errors", "msg", "detail", "details", "error_description", "err_msg", "title"):
        text = _message(_get(node, name), depth + 1)
        if text:
            return text
    return ""


_TAGS = re.compile(r"<(?:script|style)\b[^>]{0,200}>.{0,20000}?</(?:script|style)>|<[^<>]{0,2000}>", re.DOTALL | re.IGNORECASE)
_TITLE = re.compile(r"<title[^<>]{0,200}>([^<]{1,300})", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x20\x7f-\x9f\u2028\u2029]+")


def _strip_html(text: str) -> str:
    title = _TITLE.search(text)
    return title[1] if title else _TAGS.sub(" ", text)


def _tidy(text: str) -> str:
    return _CONTROL.sub(" ", text[: _MESSAGE * 8]).strip()[:_MESSAGE]
