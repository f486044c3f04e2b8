"""The rule which trial of a search has the setting that the confirm runs repeat."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.runs.state import TRAINED, RunEnd, State, read_end
from bench.study.definition import StudyDefinition, run_folder


def winner(ends: Mapping[int, RunEnd], rungs: Sequence[int]) -> int | None:
    """The slot of the best of the trials that ended as `ends` says, by slot; None if the search has
    found no setting.

    It has the lowest valid WER of those that trained as far as the budget goes, and is the earlier
    of equals. Where none of these has a WER, it is the best of the pruned trials that came
    furthest among the epochs `rungs`: a search that has seen a setting work does not end with none.
    """
    wers = {slot: end.valid_wer for slot, end in ends.items() if end.valid_wer is not None}
    able = [slot for slot in wers if ends[slot].state in TRAINED]
    if not able:
        # Only trials of one rung compare: a later one has a lower WER for its longer training.
        reached = {
            slot: sum(rung <= ends[slot].num_epochs for rung in rungs)
            for slot in wers
            if ends[slot].state == State.PRUNED
        }
        able = [slot for slot, num in reached.items() if num == max(reached.values())]
    return min(able, key=lambda slot: (wers[slot], slot), default=None)


def trial_ends(folder: Path, definition: StudyDefinition, label: str) -> dict[int, RunEnd]:
    """How the trials of the system `label` of the study in `folder` have ended, by slot; without
    those that have not."""
    slots = range(definition.budget.num_trials)
    found = {slot: read_end(run_folder(folder, label, "trial", slot)) for slot in slots}
    return {slot: end for slot, end in found.items() if end is not None}
