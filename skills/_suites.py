"""Suites of evals as callers see them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from hub.wire import Wire, iso

if TYPE_CHECKING:
    from hub.evals.suites import Case, Known


class SuiteView(Wire):
    """A suite. Its moments are there only where an owner wrote it."""

    id: str
    name: str
    description: str
    source: Literal["built-in", "custom"]
    case_count: int
    cases: list[dict[str, Any]]
    created_at: str | None = None
    updated_at: str | None = None


def suite_view(known: Known) -> SuiteView:
    """A suite as callers see it."""
    suite = known.suite
    return SuiteView(
        id=known.id,
        name=suite.name,
        description=suite.description,
        source="built-in" if known.built_in else "custom",
        case_count=len(suite.cases),
        cases=[_case(known, place, case) for place, case in enumerate(suite.cases)],
        created_at=iso(known.created_at),
        updated_at=iso(known.updated_at),
    )


def _case(known: Known, place: int, case: Case) -> dict[str, Any]:
    """A case as callers may send it back; the fields that the seed has are always there."""
    shown = case.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    kept = {"suiteId": known.id, "sortOrder": place, "createdAt": iso(known.created_at), "updatedAt": iso(known.updated_at)}
    return {"model": "", "tags": [], **kept, **shown, "expected": {"value": "", **shown["expected"]}}
