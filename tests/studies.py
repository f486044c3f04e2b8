"""Studies and the records of their runs as tests need them: nothing is trained."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from optuna.trial import Trial

from bench.core.config import to_dict
from bench.core.files import write_text
from bench.data.corpora import CorpusConfig
from bench.queue.lease import Lease
from bench.queue.slots import SlotQueue
from bench.runs import RunIdentity, RunRecord
from bench.scoring.score import UtteranceScore
from bench.study.definition import StudyDefinition, define
from bench.study.question import System, load_study_file
from bench.study.space import Budget, load_budget


def study_of(
    systems: Iterable[str] | Mapping[str, System] = ("ds-gru",),
    budget: Budget | None = None,
    *,
    corpus: CorpusConfig | None = None,
    data_digest: str = "",
    **given: Any,
) -> StudyDefinition:
    """A study on a CPU with the budget smoke, or as `given`."""
    usual: dict[str, Any] = {"seed": 0, "device": "cpu", "settings": {}}
    chosen = corpus or CorpusConfig(), budget or load_budget("smoke")
    made = define(systems, *chosen, **(usual | given))
    return replace(made, data_digest=data_digest)


def study_on(question: str, **given: Any) -> StudyDefinition:
    """The study of a file in sweeps/studies."""
    study = load_study_file(question)
    return study_of(study.systems, match=study.match, question=study.question, **given)


def identity_of(**given: Any) -> RunIdentity:
    """That of the first trial of ds-gru in the study s, or as `given`."""
    usual = {
        "study": "s", "system": "ds-gru", "kind": "trial", "slot": 0, "attempt": 1, "seed": 1,
        "params": {},
    }  # fmt: skip
    return RunIdentity(**(usual | given))


def record_of(folder: Path, **given: Any) -> RunRecord:
    """The record of a run in `folder` that has begun, with `identity_of` what is given."""
    environment = {"cpu": "cpu-1", "version.jiwer": "4.0.0"}
    return RunRecord.open(folder, identity_of(**given), {}, environment)


def write_rows(path: Path, scores: Iterable[UtteranceScore]) -> None:
    """A file of scores."""
    write_text(path, "".join(json.dumps(to_dict(row)) + "\n" for row in scores))


def take_lease(folder: Path) -> Lease:
    """As a worker takes it."""
    return Lease.take(folder, grace_seconds=60.0)


def take(queue: SlotQueue) -> tuple[Trial, Lease]:
    """The next waiting trial, which there is."""
    taken = queue.take(take_lease)
    assert taken is not None
    return taken
