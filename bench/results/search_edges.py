"""Systems whose best trial lies at the edge of a searched range."""

from pathlib import Path

import pandas as pd

from bench.runs.layout import read_run
from bench.runs.state import TRAINED, read_end
from bench.study.definition import StudyDefinition, run_folder
from bench.study.edges import edges


def search_edges(definition: StudyDefinition, label: str, runs: pd.DataFrame) -> tuple[str, ...]:
    """Where the search of the system `label` was too narrow, as `Edge.sentence` says it.

    `runs` are those of the study (bench.runs.reader.COLUMNS). The best trial is the one of lowest
    valid WER among those that trained as far as the budget goes, the earlier of equals.
    """
    own = runs[(runs["system"] == label) & (runs["kind"] == "trial")]
    trained = own[own["state"].isin(TRAINED) & own["valid_wer"].notna()]
    if trained.empty:
        return ()
    best = trained.sort_values(["valid_wer", "slot"], kind="stable").iloc[0]
    searched, files = definition.searched(label), definition.spaces[label].files
    found = edges(searched, files, best["params"], int(best["slot"]))
    return tuple(edge.sentence(label) for edge in found)


def narrow_systems(definition: StudyDefinition, folder: Path) -> frozenset[str]:
    """The systems of the study in `folder` whose searched ranges were too narrow, by label; reads
    the records of its trials alone."""
    rows = []
    for label in definition.systems:
        for slot in range(definition.budget.num_trials):
            trial = run_folder(folder, label, "trial", slot)
            if (end := read_end(trial)) is None:
                continue
            params = read_run(trial)["params"]
            rows.append((label, "trial", slot, end.state.value, end.valid_wer, params))
    columns = ["system", "kind", "slot", "state", "valid_wer", "params"]
    runs = pd.DataFrame(rows, columns=columns).astype({"valid_wer": float})
    return frozenset(label for label in definition.systems if search_edges(definition, label, runs))
