"""What must hold after a round, whatever was done to it."""

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import mlflow
import optuna
import torch
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

from bench.data.corpora import load_corpus
from bench.decoding import greedy
from bench.queue.lease import FILE as LEASE
from bench.queue.storage import JOURNAL
from bench.results.report_input import REPORT_FILE
from bench.runs.layout import METRICS, RUN, SUMMARY, MetricPoint, read_json, read_lines
from bench.runs.mlflow.mirror import STATUS
from bench.runs.mlflow.pages import metric_name
from bench.runs.run import datasets
from bench.runs.state import TRAINED
from bench.study import definition as definitions
from bench.study.definition import StudyDefinition, run_folder
from bench.training.checkpoint import check_sums, load_model
from bench.training.evaluate import evaluate
from tests.faults.rounds import Round
from tests.faults.services import until

SETTLE_SECONDS = 30.0


def broken_in(at: Round) -> list[str]:
    """The invariants that do not hold in a round that is over, in words."""
    definition = definitions.load(at.study)
    checks = (
        at.broken,
        _left_behind(at),
        _unplanned(at, definition),
        _queue_disagrees(at, definition),
        _points_twice(at),
        _tracking_disagrees(at, definition),
        _worse_than_logged(at, definition),
    )
    return [broken for check in checks for broken in check]


def curves(at: Round) -> dict[str, tuple[tuple[float, float], ...]]:
    """The validation losses of each system's first trial, whose settings and seed are always the
    same: no fault may change them."""
    found = {}
    for folder in at.study.glob("runs/*/trial-000"):
        points = read_lines(folder / METRICS, MetricPoint)
        losses = tuple((p["epoch"], p["value"]) for p in points if p["key"] == "valid/loss")
        if read_state(folder) == "finished":
            found[folder.parent.name] = losses
    return found


def read_state(folder: Path) -> str | None:
    """How the run in `folder` ended."""
    return (read_json(folder / SUMMARY) or {}).get("state")


def _left_behind(at: Round) -> Iterator[str]:
    """Processes, leases, locks of the kernel and of the database."""
    if not until(lambda: not at.processes(), SETTLE_SECONDS):
        for process in at.processes():
            yield f"process left: {process.pid} {' '.join(process.cmdline())[:80]}"
    for lease in at.study.rglob(LEASE):
        yield f"lease left: {lease}"
    files = {_as_in_proc_locks(p): p for p in at.folder.rglob("*") if p.is_file()}
    for line in Path("/proc/locks").read_text().splitlines():
        held = files.get(line.split()[5])
        if held is not None:
            yield f"lock left: {held}"
    if at.storage_url is not None:
        password = (urlsplit(at.storage_url).password or "").encode()
        for path in at.folder.rglob("*"):
            if path.is_file() and b":" + password + b"@" in path.read_bytes():
                yield f"the database's password stands in {path}"
    if not (at.study / REPORT_FILE).exists():
        yield "no report"


def _as_in_proc_locks(path: Path) -> str:
    facts = path.stat()
    return f"{os.major(facts.st_dev):02x}:{os.minor(facts.st_dev):02x}:{facts.st_ino}"


def _planned(at: Round, definition: StudyDefinition) -> Iterator[Path]:
    for label in definition.systems:
        trials = [
            run_folder(at.study, label, "trial", slot)
            for slot in range(definition.budget.num_trials)
        ]
        yield from trials
        if any(read_state(trial) in TRAINED for trial in trials):
            for slot in range(definition.budget.num_seeds):
                yield run_folder(at.study, label, "confirm", slot)


def _unplanned(at: Round, definition: StudyDefinition) -> Iterator[str]:
    """Every planned run has ended, or was given up with a reason; there are no others."""
    planned = set(_planned(at, definition))
    for folder in planned:
        summary = read_json(folder / SUMMARY) or {}
        state, error = summary.get("state"), summary.get("error") or {}
        if state not in (*TRAINED, "pruned", "diverged", "failed"):
            yield f"{_named(folder)} is {state}"
        if state == "failed" and not error.get("message"):
            yield f"{_named(folder)} failed without a reason"
        if state == "failed" and error.get("kind") != "crashed":
            yield f"{_named(folder)} failed by {error}"
    for run in at.study.glob(f"runs/*/*/{RUN}"):
        if run.parent not in planned:
            yield f"{_named(run.parent)} was not planned"


def _queue_disagrees(at: Round, definition: StudyDefinition) -> Iterator[str]:
    storage = _open_queue(at)
    for label in definition.systems:
        study = optuna.load_study(study_name=f"{definition.name}/{label}", storage=storage)
        trials = study.get_trials(deepcopy=False)
        if len(trials) != definition.budget.num_trials:
            yield f"{label} has {len(trials)} trials, {definition.budget.num_trials} are planned"
        for trial in trials:
            folder = run_folder(at.study, label, "trial", trial.user_attrs["slot"])
            told, recorded = trial.user_attrs.get("state"), read_state(folder)
            if not trial.state.is_finished() or told != recorded:
                yield f"{_named(folder)}: {trial.state.name}, {told} in the queue, not {recorded}"
            best = (read_json(folder / SUMMARY) or {}).get("metrics", {}).get("best/valid/wer")
            if recorded in TRAINED and trial.value != best:
                yield f"{_named(folder)}: {trial.value} in the queue, not {best}"


def _open_queue(at: Round) -> BaseStorage:
    if at.storage_url is None:
        return JournalStorage(JournalFileBackend(str(at.study / JOURNAL)))
    return RDBStorage(at.storage_url)


def _points_twice(at: Round) -> Iterator[str]:
    for folder in at.study.glob("runs/*/*/"):
        points = [(p["key"], p["step"]) for p in read_lines(folder / METRICS, MetricPoint)]
        twice = [point for point, count in Counter(points).items() if count > 1]
        if twice:
            yield f"{_named(folder)}: twice in the record: {twice[:3]}"
        steps = {key: [s for k, s in points if k == key] for key, _ in points}
        if any(listed != sorted(listed) for listed in steps.values()):
            yield f"{_named(folder)}: steps out of order"
        state, evaluated = read_state(folder), len(steps.get("valid/wer", ()))
        if state == "finished" and evaluated != definitions.load(at.study).budget.search_epochs:
            yield f"{_named(folder)}: {evaluated} evaluations"


def _tracking_disagrees(at: Round, definition: StudyDefinition) -> Iterator[str]:
    """One copy of each run, with its status and each of its points once; none is running."""
    client = mlflow.MlflowClient(at.tracking_uri)
    experiment = client.get_experiment_by_name(definition.name)
    if experiment is None:
        yield "no experiment"
        return
    copies = list(client.search_runs([experiment.experiment_id], max_results=1000))
    for copy in copies:
        if copy.info.status not in ("FINISHED", "FAILED"):
            yield f"MLflow: {copy.info.run_name} is {copy.info.status}"
    kinds = Counter((c.data.tags["kind"], c.data.tags["system"]) for c in copies)
    for label in definition.systems:
        for kind in ("parent", "summary"):
            if kinds[kind, label] != 1:
                yield f"MLflow: {kinds[kind, label]} runs {kind} of {label}"
    for folder in _planned(at, definition):
        run = read_json(folder / RUN) or {}
        mine = [copy for copy in copies if copy.data.tags.get("uid") == run.get("uid")]
        if len(mine) != 1:
            yield f"{_named(folder)}: {len(mine)} copies in MLflow"
            continue
        yield from _copy_disagrees(client, folder, mine[0])


def _copy_disagrees(
    client: mlflow.MlflowClient, folder: Path, copy: mlflow.entities.Run
) -> Iterator[str]:
    state = read_state(folder)
    if copy.info.status != STATUS[str(state)] or copy.data.tags["state"] != state:
        yield f"{_named(folder)}: {state}, in MLflow {copy.info.status}, {copy.data.tags['state']}"
    recorded: dict[str, list[tuple[int, float]]] = {}
    for point in read_lines(folder / METRICS, MetricPoint):
        recorded.setdefault(metric_name(point["key"]), []).append((point["step"], point["value"]))
    for name, value in (read_json(folder / SUMMARY) or {})["metrics"].items():
        recorded.setdefault(metric_name(name), []).append((0, value))
    for key, points in recorded.items():
        history = client.get_metric_history(copy.info.run_id, key)
        if sorted((m.step, m.value) for m in history) != sorted(points):
            yield f"{_named(folder)}: {key} has {len(history)} points in MLflow, not {len(points)}"
    if unknown := set(copy.data.metrics) - set(recorded):
        yield f"{_named(folder)}: only MLflow has {sorted(unknown)[:3]}"


def _worse_than_logged(at: Round, definition: StudyDefinition) -> Iterator[str]:
    """The best checkpoint of each finished run is whole and scores what was logged."""
    torch.set_num_threads(1)  # as the workers
    corpus = load_corpus(definition.corpus)
    for folder in _planned(at, definition):
        if read_state(folder) != "finished":
            continue
        best = folder / "checkpoints" / "best.pt"
        try:
            check_sums(best)
            trained = load_model(best, torch.device("cpu"))
        except Exception as error:  # of many types; here each is a finding
            yield f"{_named(folder)}: its best checkpoint does not load ({error})"
            continue
        config, units = trained.config, trained.units
        valid = datasets(corpus, config, definition.excluded, units=units)["valid"]
        device = torch.device("cpu")
        now = evaluate(trained.network, valid, config.batches, device, greedy)
        logged: dict[str, Any] = json.loads((folder / SUMMARY).read_text())["metrics"]
        for name, value in {"best/valid/wer": now.totals.wer, "best/valid/loss": now.loss}.items():
            if value != logged[name]:
                yield f"{_named(folder)}: {name} was {logged[name]!r}, scored {value!r}"


def _named(folder: Path) -> str:
    return f"{folder.parent.name} {folder.name}"
