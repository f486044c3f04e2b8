"""A study in MLflow: its experiment, and per system a parent and a summary run."""

import logging
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pandas as pd

from bench.core.errors import UserError
from bench.core.paths import OUT
from bench.runs.layout import ENVIRONMENT, RUN, read_json, read_run
from bench.runs.mlflow.descriptions import NOTE_TAG, Findings, describe_parent, describe_run
from bench.runs.mlflow.mirror import is_behind, mirror
from bench.runs.mlflow.pages import COLOR_TAG, REPORT_TAG, metric_name
from bench.runs.mlflow.tracker import TrackingTarget
from bench.runs.mlflow.uri import (
    display_uri,
    first_line,
    reason_of_outage,
    set_mlflow_defaults,
    tracking_uri,
)
from bench.runs.provenance import environment
from bench.runs.reader import FROM_SUMMARY, Tables, confirm_checkpoints, read_study
from bench.runs.state import read_summary
from reports.format import in_markdown

if TYPE_CHECKING:
    from bench.runs.mlflow.store import MlflowStore

T = TypeVar("T")

ASK_AGAIN_SECONDS = 60.0

_logger = logging.getLogger(__name__)


class StudyTracker:
    """A study's runs in MLflow, as its launcher reports them; a warning if the server does not
    answer."""

    def __init__(self, study: str, uri: str, data_digest: str) -> None:
        self._study = study
        self._folder = OUT / study
        self._uri = uri
        self._data_digest = data_digest
        self._store: MlflowStore | None = None
        self._begun: set[str] = set()
        self._down_since: float | None = None
        self.num_unsent = 0
        """How many things the server did not take."""

    @classmethod
    def open(cls, study: str, *, data_digest: str = "") -> "StudyTracker":
        """Create what runs need (schema, experiment) before any worker starts.

        Raises:
            UserError: the tracking address names no store that can be opened.
        """
        set_mlflow_defaults()
        tracker = cls(study, tracking_uri(), data_digest)
        tracker._try("experiment", lambda store: store.experiment(study))
        return tracker

    @property
    def tracking_uri(self) -> str:
        """The address, without a password."""
        return display_uri(self._uri)

    @property
    def target(self) -> TrackingTarget:
        """Where a run without a parent goes."""
        return TrackingTarget(uri=self._uri)

    def parent(self, system: str) -> TrackingTarget:
        """Where runs of the sweep of `system` go: below its parent, found again or made."""

        def begin(store: "MlflowStore") -> str:
            run_id = store.parent(self._study, system)
            self._check_is_ours(store.client.get_run(run_id).data.tags)
            note = f"The sweep of **{in_markdown(system)}**, in progress; its runs are below it."
            store.set_tags(run_id, self._tags(system, "parent", "running") | {NOTE_TAG: note})
            store.client.update_run(run_id, status="RUNNING")
            return run_id

        self._begun.add(system)
        return TrackingTarget(uri=self._uri, parent_run_id=self._try("parent run", begin))

    def _check_is_ours(self, tags: Mapping[str, str]) -> None:
        """Refuse the experiment of another study that has the same name.

        Raises:
            UserError: its runs have other data.
        """
        theirs = tags.get("data_digest") or self._data_digest
        if self._data_digest and theirs != self._data_digest:
            raise UserError(
                f"experiment {self._study} at {self.tracking_uri} holds a study of other data "
                f"(digest {theirs}, ours {self._data_digest}; begun on "
                f"{tags.get('host', 'another machine')}); results are never mixed: begin another "
                "with --name, or delete that experiment"
            )

    def tell_round(self, tags: Mapping[str, str]) -> None:
        """Say on the sweeps that were begun how far the study's looks are."""

        def send(store: "MlflowStore") -> None:
            for system in sorted(self._begun):
                store.set_tags(store.parent(self._study, system), tags)

        self._try("a look", send)

    def summarise(self, findings: Findings, params: Mapping[str, Mapping[str, object]]) -> None:
        """Close the sweep of each system: its summary run, its model, its parent's description,
        report and pictures. `params` are, by system, the flat config of its winner."""
        tables = read_study(self._folder)
        for system, config in params.items():
            summary = partial(self._send_summary, system, config, findings, tables)
            self._try(f"summary of {system}", summary)
            # Apart, and last: what does not fit into the store is most likely this.
            self._try(f"model of {system}", partial(self._send_model, system, tables.runs))

        def describe(store: "MlflowStore") -> None:
            # Links first: MLflow folds all but the first line.
            links = " · ".join(self._links(store, next(iter(params)), findings))
            note = f"{links}\n\n**{in_markdown(findings.verdict)}**"
            store.client.set_experiment_tag(store.experiment(self._study), NOTE_TAG, note)

        self._try("the study's description", describe)

    def _send_summary(
        self,
        system: str,
        params: Mapping[str, object],
        findings: Findings,
        tables: Tables,
        store: "MlflowStore",
    ) -> None:
        shared = {COLOR_TAG: findings.colors[system], REPORT_TAG: str(findings.report)}
        tags = self._tags(system, "summary", "finished") | shared | dict(findings.tags)
        links = self._links(store, system, findings)
        tags[NOTE_TAG] = describe_parent(system, findings, links)
        run = store.run_with_params(self._study, f"{system} summary", tags, params)
        seeds = tables.runs.query("system == @system and kind == 'confirm'")
        memory = {"peak_memory_bytes": float(seeds["peak_memory_bytes"].max())}
        metrics = findings.metrics(system) | memory
        store.log_changed_metrics(run, {metric_name(k): v for k, v in metrics.items()})
        store.log_tables(run.info.run_id, {"confirm.json": seeds.drop(columns="params")})
        store.end(run.info.run_id, tags)
        store.set_tags(store.parent(self._study, system), shared)
        for place, run_id in zip(seeds["run"], seeds["mlflow_run_id"], strict=True):
            if run_id:
                folder = self._folder / "runs" / place
                note = describe_run(read_run(folder), read_summary(folder), links)
                store.set_tags(run_id, shared | {NOTE_TAG: note})
        self._send_parent(store, system, findings, tables)

    def _send_model(self, system: str, runs: pd.DataFrame, store: "MlflowStore") -> None:
        """The best of the fresh seeds, for ``mlflow.pyfunc.load_model``."""
        from bench.runs.mlflow.model import log_model

        own = runs[runs["system"] == system]
        for run, best in confirm_checkpoints(self._folder, own):
            log_model(store, run["mlflow_run_id"], system, best)
            return

    def register(self, name: str) -> str | None:
        """Make the model of the study's best confirm run (lowest valid WER: the test split chooses
        nothing) a version of the registered model `name`, unless it is one.

        Returns:
            Its address, "models:/NAME/VERSION"; None, after a warning, if there is no such run or
            the server does not take it.
        """
        from bench.runs.mlflow.model import log_model, register

        runs = read_study(self._folder).runs
        found = next(confirm_checkpoints(self._folder, runs), None)
        if found is None:
            _logger.warning("no finished confirm run has a checkpoint: %s gets no version", name)
            return None
        run, best = found
        facts = read_json(best.parents[1] / ENVIRONMENT) or {}
        rates = {key: run[key] for key in ("valid_wer", "test_wer", "test_cer")}
        tags = {
            "study": self._study,
            "system": run["system"],
            "run": run["run"],
            "seed": str(run["seed"]),
            "data_digest": self._data_digest,
            "git_commit": str(facts.get("git.commit", "unknown")),
            "chosen_by": metric_name(FROM_SUMMARY["valid_wer"]),
            **{metric_name(FROM_SUMMARY[k]): f"{r:.4f}" for k, r in rates.items() if r == r},
        }
        note = f"The confirm run of {self._study} with the lowest WER on valid: "
        note += f"[{in_markdown(run['run'])}](#/runs/{run['mlflow_run_id']})"

        def send(store: "MlflowStore") -> str:
            model = log_model(store, run["mlflow_run_id"], run["system"], best)
            return register(store, name, model, best, tags, note)

        return self._try(f"registered model {name}", send)

    def _send_parent(
        self, store: "MlflowStore", system: str, findings: Findings, tables: Tables
    ) -> None:
        from bench.runs.mlflow.plots import plots

        parent = store.parent(self._study, system)
        if findings.report.exists():
            store.client.log_artifact(parent, str(findings.report))
        with tempfile.TemporaryDirectory() as folder:
            for name, png in plots(system, tables, findings.systems, findings.colors).items():
                (Path(folder) / name).write_bytes(png)
            store.client.log_artifacts(parent, folder, "plots")
        note = describe_parent(system, findings, self._links(store, system, findings))
        tags = {**self._tags(system, "parent", "finished"), **findings.tags}
        store.end(parent, {**tags, NOTE_TAG: note})
        self._begun.discard(system)

    def _links(self, store: "MlflowStore", system: str, findings: Findings) -> tuple[str, ...]:
        """Into the pages of MLflow, wherever they are served."""
        experiment, parent = store.experiment(self._study), store.parent(self._study, system)
        files = f"#/experiments/{experiment}/runs/{parent}/artifacts"
        return (
            f"[Open the report]({files}/{findings.report.name})",
            f"[Pictures]({files}/plots/learning_curves.png)",
            f"[One row a system](#/experiments/{experiment}/runs?viewStateShareKey=systems)",
        )

    def stop(self, state: str = "killed") -> None:
        """Say of the sweeps that were begun and not summarised: "killed" or "failed"."""

        def send(store: "MlflowStore") -> None:
            for system in sorted(self._begun):
                run_id = store.parent(self._study, system)
                store.end(run_id, {"state": state}, status=state.upper())

        self._try("end of the study", send)

    def stop_dead(self, systems: Iterable[str]) -> None:
        """Say of the sweeps of `systems` that still seem to run, and do not: "killed"."""

        def send(store: "MlflowStore") -> None:
            for system in systems:
                run_id = store.parent(self._study, system)
                if store.client.get_run(run_id).info.status == "RUNNING":
                    store.end(run_id, {"state": "killed"}, status="KILLED")

        self._try("end of the study", send)

    def _try(self, what: str, send: Callable[["MlflowStore"], T]) -> T | None:
        """The result of `send`; None, after a warning, if the server does not take it."""
        store = self._connected()
        if store is not None:
            try:
                return send(store)
            except UserError:
                raise
            except Exception as error:
                _logger.warning(
                    "tracking: %s not sent to %s (%s)", what, self.tracking_uri, first_line(error)
                )
        self.num_unsent += 1
        return None

    def _connected(self) -> "MlflowStore | None":
        """The store; None, after one warning, if its server does not answer, and then without
        asking it for a while."""
        # Here, not at the top: commands that only read records need no mlflow.
        from bench.runs.mlflow.store import connect

        since = self._down_since
        if since is not None and time.monotonic() - since < ASK_AGAIN_SECONDS:
            return None
        try:
            self._store = self._store or connect(self._uri)
        except UserError:
            raise
        except Exception as error:
            _logger.warning(
                "tracking: %s does not answer (%s); records stay in %s, python -m bench.sync sends "
                "them later",
                self.tracking_uri,
                reason_of_outage(error),
                self._folder,
            )
            self._down_since = time.monotonic()
        return self._store

    def reaches_store(self) -> bool:
        """Whether the server answers, as far as is known; where it does not, that is said once."""
        return self._connected() is not None

    def _tags(self, system: str, kind: str, state: str) -> dict[str, str]:
        facts = environment()
        return {
            "study": self._study,
            "system": system,
            "kind": kind,
            "state": state,
            "data_digest": self._data_digest,
            "git_commit": facts.get("git.commit", "unknown"),
            "host": facts["hostname"],
        }


def flush_unsent(folder: Path) -> int:
    """Send what MLflow lacks of the ended runs below `folder`; the number of runs still left.

    A warning, no exception, if the server does not take them.
    """
    uri = tracking_uri()
    behind = [run.parent for run in sorted(folder.rglob(RUN)) if is_behind(run.parent, uri)]
    if not behind:
        return 0
    set_mlflow_defaults()
    from bench.runs.mlflow.store import connect

    left, reason = len(behind), ""
    try:
        for run_folder in behind:
            # Asks the server each time: one that is gone ends the loop, one bad run does not.
            store = connect(uri)
            try:
                mirror(run_folder, store)
                left -= 1
            except Exception as error:
                reason = first_line(error)
    except Exception as error:
        reason = first_line(error)
    if left:
        _logger.warning(
            "tracking: %d runs not sent to %s (%s); the same command tries again",
            left,
            display_uri(uri),
            reason,
        )
    return left
