"""Systems whose best trial lies at the edge of a searched range."""

import pandas as pd

from bench.runs.state import TRAINED
from bench.study.definition import StudyDefinition
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
