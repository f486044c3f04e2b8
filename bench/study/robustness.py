"""A study's confirm runs on the test utterances in noise, babble and a room.

    conditions/conditions.json             what was decided before anything was evaluated
    conditions/SYSTEM/confirm-K/NAME.jsonl the scores of one run under one condition

The networks are those of the confirm runs, decoded greedily; nothing is trained or tuned. The test
split is opened once a run and condition.
"""

from dataclasses import dataclass
from pathlib import Path

from bench.core.config import changes, flatten, from_dict, to_dict
from bench.core.console import counting
from bench.core.errors import UserError
from bench.core.files import write_json
from bench.core.lookup import look_up
from bench.data.batches import Dataset
from bench.data.conditions import (
    CONDITION_SETS,
    CONDITIONS_VERSION,
    TestCondition,
    degraded,
)
from bench.data.store import open_store
from bench.data.utterance import Corpus
from bench.runs.layout import read_json
from bench.runs.record import write_scores
from bench.runs.run import count_opening
from bench.study.decoding import scored_checkpoints
from bench.study.definition import StudyDefinition
from bench.training.checkpoint import load_model
from bench.training.device import resolve_device
from bench.training.evaluate import evaluate

FOLDER = Path("conditions")
PLAN = "conditions.json"


@dataclass(frozen=True, kw_only=True)
class RobustnessPlan:
    """Under what every system of a study is tested."""

    name: str
    """A key of CONDITION_SETS."""
    conditions: tuple[TestCondition, ...]
    seed: int
    """Of noise, voices and rooms: the study's."""
    version: str
    """Of the code that makes them."""

    @property
    def flags(self) -> tuple[str, ...]:
        """The flag of ``bench.sweep`` that asks for them."""
        return ("--conditions", self.name)


def plan_conditions(folder: Path, definition: StudyDefinition, name: str) -> RobustnessPlan:
    """Write down under what the study in `folder` is tested, or check that it is as before.

    Raises:
        UserError: an unknown set, or the study was tested under another one.
    """
    plan = RobustnessPlan(
        name=name,
        conditions=look_up(CONDITION_SETS, name, "set of conditions"),
        seed=definition.seed,
        version=CONDITIONS_VERSION,
    )
    begun = load_plan(folder)
    if begun is None:
        write_json(folder / FOLDER / PLAN, to_dict(plan))
        return plan
    if shown := changes(flatten(begun), flatten(plan)):
        raise UserError(
            f"study {definition.name} was tested under other conditions: {shown}; results are "
            "never mixed, and each look at test counts: leave --conditions as it was, or begin "
            "another study with --name"
        )
    return plan


def load_plan(folder: Path) -> RobustnessPlan | None:
    """Under what the study in `folder` was tested; None: under no condition."""
    found = read_json(folder / FOLDER / PLAN)
    if found is None:
        return None
    return from_dict(RobustnessPlan, found, f"{folder / FOLDER / PLAN} ")


def scores_file(folder: Path, run: str, condition: TestCondition) -> Path:
    """Where the scores of `run` ("SYSTEM/confirm-K") under `condition` are."""
    return folder / FOLDER / run / f"{condition.name}.jsonl"


def score_under_conditions(
    folder: Path, definition: StudyDefinition, corpus: Corpus, name: str
) -> None:
    """Score every scored confirm run under each condition of the set `name`; what is done is not
    done again.

    Raises:
        UserError: as `plan_conditions` and `degraded`.
    """
    plan, device = plan_conditions(folder, definition, name), resolve_device(definition.device)
    checkpoints = {
        run: checkpoint
        for label in definition.systems
        for run, checkpoint in scored_checkpoints(folder, label).items()
    }
    todo = [
        (condition, run, scores)
        for condition in plan.conditions
        for run in checkpoints
        if not (scores := scores_file(folder, f"{run.parent.name}/{run.name}", condition)).exists()
    ]
    made = None
    with counting(f"confirm runs under {name}") as progress:
        for done, (condition, run, scores) in enumerate(todo, start=1):
            # `todo` goes condition by condition, so its recordings are made once for all runs.
            if made is None or todo[done - 2][0] != condition:
                made = degraded(corpus, condition, plan.seed)
            trained = load_model(checkpoints[run], device)
            excluded = frozenset(definition.excluded)
            utterances = (u for u in made.split("test") if u.id not in excluded)
            store = open_store(made, trained.config.features, stats=trained.stats)
            dataset = Dataset(utterances, store, trained.units)
            count_opening(run, condition.name)
            evaluation = evaluate(trained.network, dataset, trained.config.batches, device)
            write_scores(scores, evaluation.scores)
            progress(done, len(todo))
