"""Rounds of a study whose seeds are added until its pairs are decided: the record of each look.

    study.json          `plan`: the looks and how they spend alpha, written before the first run
    looks/look-1.json   what the first look has found, and the confirm runs of the next round
    looks/look-2.json   …

A round ends when every confirm run that the record before it asks for has ended. Then one launcher,
which holds the study's lease, takes the look and writes its record; it is never written again. The
records, and nothing else, say how many confirm runs each system has.
"""

from collections.abc import Sequence
from pathlib import Path

from bench.core.config import from_dict, to_dict
from bench.core.errors import UserError
from bench.core.files import write_json
from bench.core.parsing import parse_json
from bench.stats.looks import Plan
from bench.study.definition import StudyDefinition
from bench.study.rungs import rungs_clause
from reports.looks import Look

FOLDER = "looks"
UNPLANNED_ERROR = "14 %"
"""Of two equal systems found different by who looks at 3, 5, 8, 12 and 20 seeds: see
docs/results/simulation.md."""


def read_looks(folder: Path) -> tuple[Look, ...]:
    """The looks taken so far at the study in `folder`, in order.

    Raises:
        UserError: a record is damaged.
    """
    looks: list[Look] = []
    while (path := _path(folder, len(looks) + 1)).exists():
        try:
            looks.append(from_dict(Look, parse_json(path.read_bytes())))
        except (UserError, ValueError) as error:
            raise UserError(
                f"{path} is damaged ({error}); put back what it held, since a look that was taken "
                "decides how the study goes on"
            ) from error
    return tuple(looks)


def write_look(folder: Path, look: Look) -> None:
    """Record a look; the caller holds the study's lease."""
    path = _path(folder, look.number)
    assert not path.exists(), f"{path}: a look is taken once"
    write_json(path, to_dict(look))


def _path(folder: Path, number: int) -> Path:
    return folder / FOLDER / f"look-{number}.json"


def confirm_seeds(definition: StudyDefinition, looks: Sequence[Look]) -> dict[str, int]:
    """How many confirm runs each system has by now, by label: as many as the budget says, or as the
    last look asked for."""
    if looks:
        return {label: looks[-1].next_seeds.get(label, 0) for label in definition.systems}
    plan = definition.plan
    first = definition.budget.num_seeds if plan is None else plan.looks[0]
    return dict.fromkeys(definition.systems, first)


def round_of_run(definition: StudyDefinition, kind: str, slot: int) -> int:
    """The number, from 1, of the look in the plan for which run `slot` is trained first; 0 for a
    trial, and without a plan."""
    if definition.plan is None or kind != "confirm":
        return 0
    # A plan of 3, 5 and 8 seeds: slots 0 to 2 are of round 1, 3 and 4 of round 2, 5 to 7 of round
    # 3.
    return 1 + sum(slot >= num for num in definition.plan.looks[:-1])


def raised_sentence(definition: StudyDefinition) -> str:
    """The stamp of a study whose seeds were raised without a plan; "" for another."""
    if not definition.raised:
        return ""
    numbers = [definition.raised[0].before, *(more.after for more in definition.raised)]
    path = " to ".join(map(str, numbers))
    return (
        f"seeds were raised from {path} after results had been seen; error rates of verdicts do "
        f"not hold ({UNPLANNED_ERROR} in simulation, where seeds were added until a pair differed)"
    )


def study_tags(definition: StudyDefinition, looks: Sequence[Look]) -> dict[str, str]:
    """What trackers say of a study: its plan and its round, or that seeds were raised."""
    tags = {}
    if definition.raised:
        raised = (f"{more.before} to {more.after}" for more in definition.raised)
        tags["seeds_raised"] = ", ".join(raised)
    if definition.plan is not None:
        # The round in progress follows the last look taken; after the plan's last there is none.
        is_over = bool(looks) and looks[-1].is_last
        decided = sum(not pair.is_open for pair in looks[-1].pairs) if looks else 0
        tags |= {
            "plan": plan_sentence(definition.plan),
            "round": str(len(looks) + (not is_over)),
            "num_looks": str(len(looks)),
            "num_decided_pairs": str(decided),
        }
    return tags


def plan_sentence(plan: Plan) -> str:
    """The plan in words."""
    return f"looks at {', '.join(map(str, plan.looks))} seeds, {plan.spending} spending of alpha"


def budget_sentence(definition: StudyDefinition) -> str:
    """How many runs the study has, at most."""
    budget, plan, num = definition.budget, definition.plan, len(definition.systems)
    trials = f"{budget.num_trials * num} trials of {budget.search_epochs} epochs"
    if rungs := rungs_clause(budget.num_trials, budget.rungs, budget.search_epochs):
        trials += f" ({rungs})"
    each = f"of {budget.confirm_epochs} epochs"
    if plan is None:
        return f"{trials}, then {budget.num_seeds * num} confirm runs {each}"
    least, most = num * plan.looks[0], num * plan.looks[-1]
    return (
        f"{trials}, then {least} confirm runs {each}, and more until every pair is decided, "
        f"claims first: {most} at most ({plan_sentence(plan)})"
    )
