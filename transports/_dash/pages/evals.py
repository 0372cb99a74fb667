"""Evals: suites of questions, runs of them against models and combos, and what came of each case."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from transports._dash.page import Done, Page

if TYPE_CHECKING:
    from transports._dash.forms import Form
    from transports._dash.page import Outcome
    from transports._dash.view import View

#: The parts of the page.
TABS = {"/dashboard/evals": "Suites and runs", "/dashboard/evals/assess": "Which models work"}
#: How states of runs and outcomes of cases look.
KINDS = {"completed": "ok", "passed": "ok", "failed": "bad", "error": "bad", "stopped": "warn", "cancelled": "warn", "ungraded": "warn"}
_RUN = ("trials", "concurrency", "timeoutSeconds", "maxCost", "judgeModel", "embeddingModel")
_SUITE = ("name", "description", "cases")
_OUTCOMES = ("passed", "failed", "error", "ungraded")
_MOST_RUNS = 200
#: What a new suite begins with.
_EXAMPLE = [
    {
        "name": "A sum",
        "input": {"messages": [{"role": "user", "content": "What is 17 + 25? Answer with the number alone."}]},
        "expected": {"strategy": "numeric", "value": "42"},
    }
]


async def _load(view: View) -> dict[str, Any]:
    board = await view.ask("evals-board")
    scorecard: dict[str, Any] = board.scorecard or {}
    return {
        "tabs": TABS,
        "kinds": KINDS,
        "board": board,
        "rates": {one["id"]: one["passRate"] for one in scorecard.get("perSuite", [])},
        "fields": view.fields("evals-run", *_RUN),
        "chosen": view.query.get("suite", ""),
    }


def _target(key: str) -> dict[str, str]:
    """A target as a run names it, from its key as the board has it: ``model:openai/gpt-5``."""
    kind, _, name = key.partition(":")
    return {"type": kind, "id": name}


async def _run(view: View, form: Form) -> Outcome:
    targets = {name: _target(form.text(name)) for name in ("target", "compareTarget") if form.text(name)}
    begun = await view.sent(
        "evals-run", form, *_RUN, suiteId=form.text("suiteId"), apiKeyId=form.text("apiKeyId"), waitSeconds=0, **targets
    )
    return Done("The run has begun and goes on by itself.", to=f"/dashboard/evals/runs/{begun.runs[0].id}")


def _cases(cases: Any) -> str:
    return json.dumps(cases, indent=2, ensure_ascii=False)


async def _load_new(view: View) -> dict[str, Any]:
    begin = view.query.get("from", "")
    copied = (await view.ask("evals-suite-get", id=begin)).suite if begin else None
    return {
        "copied": copied,
        "cases": _cases(copied.cases if copied else _EXAMPLE),
        "fields": {one.name: one for one in view.fields("evals-suite-create", "id", *_SUITE)},
    }


async def _create(view: View, form: Form) -> Outcome:
    made = (await view.sent("evals-suite-create", form, "id", *_SUITE)).suite
    return Done(f"{made.name} is written down with {made.case_count} cases.", to=f"/dashboard/evals/suites/{made.id}")


async def _load_suite(view: View) -> dict[str, Any]:
    suite = (await view.ask("evals-suite-get", id=view.params["id"])).suite
    return {
        "suite": suite,
        "kinds": KINDS,
        "cases": _cases(suite.cases),
        "fields": {one.name: one for one in view.fields("evals-suite-replace", *_SUITE)},
        "runs": (await view.ask("evals-runs", suiteId=suite.id, limit=_MOST_RUNS)).runs,
    }


async def _replace(view: View, form: Form) -> Outcome:
    made = (await view.sent("evals-suite-replace", form, *_SUITE, id=view.params["id"])).suite
    return Done(f"The suite is changed; it has {made.case_count} cases. Runs that have begun keep theirs.")


async def _delete_suite(view: View, form: Form) -> Outcome:
    await view.ask("evals-suite-delete", id=view.params["id"])
    return Done("The suite is gone; its runs are kept.", to="/dashboard/evals")


async def _load_run(view: View) -> dict[str, Any]:
    run = (await view.ask("evals-run-get", id=view.params["id"])).run
    only = view.choice("outcome", _OUTCOMES, "")
    group = await view.ask("evals-runs", runGroupId=run.run_group_id) if run.run_group_id else None
    return {
        "run": run,
        "kinds": KINDS,
        "only": only,
        "outcomes": _OUTCOMES,
        "results": [one for one in run.results if only in ("", one.outcome)],
        "others": [one for one in group.runs if one.id != run.id] if group else [],
        "comparison": group.comparison if group else None,
    }


async def _cancel(view: View, form: Form) -> Outcome:
    await view.ask("evals-run-cancel", id=view.params["id"])
    return Done("The run is ended; what it found is kept.")


async def _delete_run(view: View, form: Form) -> Outcome:
    await view.ask("evals-run-delete", id=view.params["id"])
    return Done("The run is forgotten.", to="/dashboard/evals")


PAGES = (
    Page(
        "evals",
        "Evals",
        "evals.html",
        _load,
        actions={"run": _run},
        group="Observe",
        order=5,
        keys="e",
        words="evaluations suites tests quality scorecard compare models",
    ),
    Page("evals/new", "A new suite", "evals_suite_new.html", _load_new, actions={"create": _create}, words="eval suite cases add"),
    Page(
        "evals/suites/{id}",
        "Suite",
        "evals_suite.html",
        _load_suite,
        actions={"replace": _replace, "delete": _delete_suite},
    ),
    Page("evals/runs/{id}", "Run", "evals_run.html", _load_run, actions={"cancel": _cancel, "delete": _delete_run}),
)
