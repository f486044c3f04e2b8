"""The calls to MLflow that runs, parents and summaries share. Imports mlflow at once."""

import getpass
import json
import math
import os
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LifecycleStage,
    Metric,
    Param,
    Run,
    RunTag,
)
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

from bench.core.config import digest
from bench.core.errors import UserError
from bench.core.paths import cache_lock
from bench.runs.mlflow.pages import TABLES_TAG, Point, view_tags
from bench.runs.mlflow.uri import DEFAULT, VARIABLE, display_uri, first_line, is_remote, sqlite_file
from bench.runs.record import timestamp, to_milliseconds

T = TypeVar("T")

# Limits of one log_batch call and of one value, as MLflow states them.
MAX_METRICS, MAX_PARAMS, MAX_PARAM_LENGTH, MAX_TAG_LENGTH = 1000, 100, 6000, 5000


class MlflowStore:
    """One tracking server or database; what is asked for twice is found, not made twice."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        file = sqlite_file(uri)
        # MLflow keeps an engine per address as long as a process lives: chdir must not change it.
        self.client = MlflowClient(f"sqlite:///{file}" if file else uri)
        self._artifacts = file.parent / "mlartifacts" if file else None
        self._experiments: dict[str, str] = {}
        self._parents: dict[tuple[str, str], str] = {}

    def exclusive_lock(self) -> AbstractContextManager[None]:
        """Within, no other process of this machine makes something in this store."""
        return _exclusive_lock(self.uri)

    def experiment(self, study: str) -> str:
        """The id of the experiment of `study`, made if there is none, with its saved views.

        Artifacts of a SQLite store lie beside its file, in mlartifacts/.
        """
        if study not in self._experiments:
            with self.exclusive_lock():
                found = self.client.get_experiment_by_name(study)
                if found is None:
                    where = str(self._artifacts / study) if self._artifacts else None
                    made = self.client.create_experiment(study, artifact_location=where)
                    found = self.client.get_experiment(made)
                elif found.lifecycle_stage == LifecycleStage.DELETED:
                    self.client.restore_experiment(found.experiment_id)
                for key, value in view_tags(found.creation_time or 0).items():
                    if found.tags.get(key) != value:
                        self.client.set_experiment_tag(found.experiment_id, key, value)
                self._experiments[study] = found.experiment_id
        return self._experiments[study]

    def parent(self, study: str, system: str) -> str:
        """The id of the run that holds the runs of one system's sweep, made if there is none."""
        if (study, system) not in self._parents:
            tags = {"study": study, "system": system, "kind": "parent"}
            experiment = self.experiment(study)
            # Two launchers that look at once would find none, and each make one.
            with self.exclusive_lock():
                found = self.find_run(experiment, tags)
                run = found or self.create_run(experiment, system, {**tags, "state": "running"})
            self._parents[study, system] = run.info.run_id
        return self._parents[study, system]

    def find_run(self, experiment_id: str, tags: Mapping[str, str]) -> Run | None:
        """The oldest run that has all of `tags` and was not deleted."""
        wanted = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
        order = ["attributes.start_time ASC"]
        found = self.client.search_runs([experiment_id], wanted, max_results=1, order_by=order)
        return found[0] if found else None

    def create_run(
        self,
        experiment_id: str,
        name: str,
        tags: Mapping[str, object],
        start_time_ms: int | None = None,
    ) -> Run:
        """A new run, with the status RUNNING."""
        every = {**tags, "mlflow.user": _user()}
        shortened = {key: _short(value, MAX_TAG_LENGTH) for key, value in every.items()}
        return self.client.create_run(experiment_id, start_time_ms, shortened, run_name=name)

    def log_params(self, run: Run, params: Mapping[str, object]) -> None:
        """Log the `params` that `run` has not; MLflow refuses to change one."""
        texts = as_params(params)
        new = [Param(key, text) for key, text in texts.items() if key not in run.data.params]
        for chunk in _chunks(new, MAX_PARAMS):
            self.client.log_batch(run.info.run_id, params=chunk)

    def log_datasets(self, run_id: str, sources: Mapping[str, tuple[str, str]]) -> None:
        """Log the inputs of a run, which the UI filters by: by split the corpus and its digest.
        MLflow doubles none that it has. One dataset a split, since it keeps one context of each."""
        inputs = [
            DatasetInput(
                Dataset(f"{corpus} {split}", digest, source_type="corpus", source=corpus),
                [InputTag(MLFLOW_DATASET_CONTEXT, split)],
            )
            for split, (corpus, digest) in sources.items()
        ]
        self.client.log_inputs(run_id, inputs)

    def log_metrics(self, run_id: str, points: Iterable[Point]) -> None:
        """Log `points`; MLflow doubles none that it has."""
        metrics = [Metric(*point) for point in points]
        for chunk in _chunks(metrics, MAX_METRICS):
            self.client.log_batch(run_id, metrics=chunk)

    def run_with_params(
        self, study: str, name: str, tags: Mapping[str, str], params: Mapping[str, object]
    ) -> Run:
        """The run with the study, system and kind of `tags`.

        One that has other `params` is deleted and made anew.
        """
        experiment = self.experiment(study)
        key = {k: tags[k] for k in ("study", "system", "kind")}
        run = self.find_run(experiment, key)
        if run is not None and run.data.params != as_params(params):
            self.client.delete_run(run.info.run_id)
            run = None
        run = run or self.create_run(experiment, name, tags)
        self.log_params(run, params)
        return run

    def log_changed_metrics(self, run: Run, metrics: Mapping[str, float]) -> None:
        """Log of the finite `metrics` those that `run` has not, or with another value."""
        now = to_milliseconds(timestamp())
        known = run.data.metrics
        new = {k: v for k, v in metrics.items() if math.isfinite(v) and known.get(k) != v}
        self.log_metrics(run.info.run_id, (Point(key, value, now) for key, value in new.items()))

    def end(self, run_id: str, tags: Mapping[str, object], status: str = "FINISHED") -> None:
        """Set `tags` and the final status of a run."""
        self.set_tags(run_id, tags)
        self.client.set_terminated(run_id, status)

    def set_tags(self, run_id: str, tags: Mapping[str, object]) -> None:
        """Set (or overwrite) `tags`."""
        made = [RunTag(key, _short(value, MAX_TAG_LENGTH)) for key, value in tags.items()]
        self.client.log_batch(run_id, tags=made)

    def log_tables(self, run_id: str, tables: Mapping[str, pd.DataFrame]) -> None:
        """Log `tables` under their file names.

        As MLflow's log_table does, but that one appends to the rows that it finds.
        """
        for name, frame in tables.items():
            self.client.log_text(run_id, frame.to_json(orient="split", index=False), name)
        listed = [{"path": name, "type": "table"} for name in tables]
        self.set_tags(run_id, {TABLES_TAG: json.dumps(listed)})


def connect(uri: str) -> MlflowStore:
    """The store at `uri`, its schema created if it is new.

    One process of a host at a time: creating a schema is a race that can ruin the file.

    Raises:
        UserError: a local store that cannot be opened, or an address of no known kind.
        Exception: of many types; a server that does not answer.
    """
    try:
        with _exclusive_lock(uri):
            if (file := sqlite_file(uri)) and not file.exists():
                _create(file)
            store = MlflowStore(uri)
            store.client.search_experiments(max_results=1)
            return store
    except UserError:
        raise
    except Exception as error:
        if is_remote(uri):
            raise
        way_out = f"correct it, or unset {VARIABLE} to use a file here"
        if uri == DEFAULT:
            way_out = f"see that this folder is writable and has room, or set {VARIABLE}"
        raise UserError(
            f"runs are tracked in a store that MLflow can open, {display_uri(uri)} is none "
            f"({first_line(error)}); {way_out}"
        ) from error


def _create(file: Path) -> None:
    """Make the SQLite store `file`, whole or not at all.

    MLflow takes seconds for its tables, and can neither use nor complete those that it was stopped
    in. Of two users, who share no lock, one makes it.
    """
    with TemporaryDirectory(prefix=f".{file.name}-", dir=file.parent) as folder:
        made = Path(folder, file.name)
        MlflowClient(f"sqlite:///{made}").search_experiments(max_results=1)
        # A link fails if the file is there, where a rename would replace another process's store.
        try:
            os.link(made, file)
        except FileExistsError:
            return
        except OSError:  # a file system without links
            made.rename(file)


def as_params(params: Mapping[str, object]) -> dict[str, str]:
    """`params` as the text that MLflow keeps of them."""
    return {key: _short(value, MAX_PARAM_LENGTH) for key, value in params.items()}


def _exclusive_lock(uri: str) -> AbstractContextManager[None]:
    """Within, no other process of this machine makes something in the store at `uri`."""
    return cache_lock(f"mlflow-{digest(str(sqlite_file(uri) or uri))}")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        return "unknown"


def _short(value: object, limit: int) -> str:
    text = str(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _chunks(items: list[T], size: int) -> Iterable[list[T]]:
    return (items[at : at + size] for at in range(0, len(items), size))
