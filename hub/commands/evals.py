"""``hubroute evals``: suites run against models, for people and for continuous integration."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hub.commands.session import FAILED, AsJson, WrongUse, run
from hub.commands.show import print_json, show

if TYPE_CHECKING:
    from hub.process.reach import Reach

app = typer.Typer(help="Evals: list, run, runs, show, cancel.", no_args_is_help=True)

_OVER = frozenset({"completed", "cancelled", "stopped", "failed"})
_WATCH_SECONDS = 0.3
Run = Annotated[str, typer.Argument(help="Id of the run.")]


@app.command("list")
def list_suites(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List the suites, built in and your own."""
    found = run(ctx, lambda hub: hub.call("evals-board", {}))["suites"]
    rows = found if as_json else [{"suite": one["id"], **{name: one[name] for name in ("name", "source", "caseCount")}} for one in found]
    show(rows, as_json=as_json)


@app.command("run")
def run_suite(
    ctx: typer.Context,
    suite: Annotated[str, typer.Argument(help="Id of the suite.")],
    model: Annotated[str, typer.Option(help="Ask this model; what the suite names when neither is given.")] = "",
    combo: Annotated[str, typer.Option(help="Ask this combo.")] = "",
    against: Annotated[str, typer.Option(help="A second model to compare with.")] = "",
    key: Annotated[str, typer.Option(help="Id of the key whose limits and budgets hold; the owner's own without it.")] = "",
    trials: Annotated[int, typer.Option(help="How often each case is asked.")] = 1,
    concurrency: Annotated[int, typer.Option(help="Cases that are asked at once.")] = 4,
    judge: Annotated[str, typer.Option(help="Model that judges where a case names none.")] = "",
    max_cost: Annotated[float | None, typer.Option(help="Dollars after which no case is begun any more.")] = None,
    min_pass_rate: Annotated[float | None, typer.Option(help="Fail (exit code 1) below this share of passed answers, 0 to 1.")] = None,
    max_errors: Annotated[int, typer.Option(help="With --min-pass-rate: answers that may be missing or not scored.")] = 0,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML here.")] = None,
    as_json: AsJson = False,
) -> None:
    """Run a suite and show what came of each case; with --min-pass-rate exit code 1 when it is not met, for continuous integration."""
    if min_pass_rate is not None and not 0 <= min_pass_rate <= 1:
        raise WrongUse("--min-pass-rate is a share: 0.9 for nine in ten")
    ask: dict[str, Any] = {"suiteId": suite, "trials": trials, "concurrency": concurrency, "judgeModel": judge, "waitSeconds": 0}
    ask |= {"apiKeyId": key, "maxCost": max_cost, **_targets(model, combo, against)}

    async def work(hub: Reach) -> tuple[list[dict[str, Any]], Any]:
        begun = await hub.call("evals-run", ask)
        runs = [await _watched(hub, one["id"]) for one in begun["runs"]]
        group = begun["runGroupId"]
        return runs, (await hub.call("evals-runs", {"runGroupId": group}))["comparison"] if group else None

    runs, comparison = run(ctx, work)
    if junit is not None:
        _write(junit, runs[0])
    if as_json:
        print_json({"runs": runs, "comparison": comparison})
    else:
        _tell(runs, comparison)
    _gate(runs, min_pass_rate, max_errors)


def _targets(model: str, combo: str, against: str) -> dict[str, Any]:
    """What is asked. Raises WrongUse."""
    if model and combo:
        raise WrongUse("give --model or --combo, not both")
    found: dict[str, Any] = {}
    if model or combo:
        found["target"] = {"type": "model", "id": model} if model else {"type": "combo", "id": combo}
    if against:
        found["compareTarget"] = {"type": "model", "id": against}
    return found


@app.command()
def runs(
    ctx: typer.Context,
    suite: Annotated[str, typer.Option(help="Only runs of this suite.")] = "",
    as_json: AsJson = False,
) -> None:
    """List runs, the newest first."""
    found = run(ctx, lambda hub: hub.call("evals-runs", {"suiteId": suite, "limit": 50}))["runs"]
    show(found if as_json else list(map(_row, found)), as_json=as_json, empty="no runs yet; `hubroute evals run SUITE` makes one")


@app.command("show")
def show_run(
    ctx: typer.Context,
    run_id: Run,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML here.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show a run and what came of each case."""
    found = run(ctx, lambda hub: hub.call("evals-run-get", {"id": run_id}))["run"]
    if junit is not None:
        _write(junit, found)
    if as_json:
        print_json(found)
    else:
        _tell([found], None)


@app.command()
def cancel(ctx: typer.Context, run_id: Run, as_json: AsJson = False) -> None:
    """End a run early; what was found is kept."""
    found = run(ctx, lambda hub: hub.call("evals-run-cancel", {"id": run_id}))["run"]
    show(found if as_json else _row(found), as_json=as_json)


async def _watched(hub: Reach, run_id: str) -> dict[str, Any]:
    """The run once it is over; its progress goes to standard error."""
    last = ""
    while True:
        found = (await hub.call("evals-run-get", {"id": run_id}))["run"]
        words = f"{found['target']['label']}: {found['status']}, {found['done']} of {found['total']}"
        if words != last:
            print(words, file=sys.stderr, flush=True)
            last = words
        if found["status"] in _OVER:
            return found
        await asyncio.sleep(_WATCH_SECONDS)


def _gate(runs: list[dict[str, Any]], least: float | None, most_errors: int) -> None:
    """Leave with exit code 1 unless every run came to its end and the first is good enough."""
    if any(one["status"] != "completed" for one in runs) or not _met(runs[0]["summary"], least, most_errors):
        raise typer.Exit(FAILED)


def _met(summary: dict[str, Any], least: float | None, most_errors: int) -> bool:
    """Whether a run is good enough."""
    if least is None:
        return True
    missing = summary["errors"] + summary["ungraded"] + summary["notRun"]
    scored = summary["passed"] + summary["failed"]
    return bool(scored) and missing <= most_errors and summary["passed"] >= least * scored


def _write(path: Path, found: dict[str, Any]) -> None:
    """The run as JUnit XML. Raises WrongUse where it cannot be written."""
    from hub.evals.export import junit  # noqa: PLC0415 - only this option wants it
    from hub.evals.report import CaseResult, Summary  # noqa: PLC0415

    results = [CaseResult.model_validate(one) for one in found["results"]]
    try:
        path.write_bytes(junit(found["suiteName"], found["target"]["label"], Summary.model_validate(found["summary"]), results))
    except OSError as error:
        raise WrongUse(f"cannot write {path}: {error.strerror}") from None


def _tell(runs: list[dict[str, Any]], comparison: dict[str, Any] | None) -> None:
    for one in runs:
        rows = [
            {
                "case": case["caseName"],
                "outcome": case["outcome"],
                "passes": f"{case['passes']}/{case['trials']}",
                "ms": case["durationMs"],
                "why": case["error"] or case["details"]["reason"],
            }
            for case in one["results"]
        ]
        show(rows, as_json=False, columns=("case", "outcome", "passes", "ms", "why"), empty="nothing was asked")
        show(_row(one), as_json=False)
    if comparison is not None:
        show({name: value for name, value in comparison.items() if name != "cases"}, as_json=False)


def _row(found: dict[str, Any]) -> dict[str, Any]:
    summary = found["summary"]
    return {
        "run": found["id"],
        "suite": found["suiteId"],
        "target": found["target"]["label"],
        "status": found["status"],
        "done": f"{found['done']}/{found['total']}",
        "pass rate %": summary["passRate"],
        "95 %": "" if summary["interval"] is None else "{:g} to {:g}".format(*summary["interval"]),
        "errors": summary["errors"] + summary["ungraded"],
        "cost $": round(summary["cost"] + summary["scorerCost"], 6),
        "why": summary["error"],
    }
