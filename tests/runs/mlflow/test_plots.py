"""Pictures: there where there is something to draw, and the same bytes for the same numbers."""

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from bench.runs import read_study
from bench.runs.mlflow.plots import _search, plots

VARIANTS = pd.DataFrame(
    {"system": ["tiny", "$x_"], "wer_mean": [0.25, 0.5], "wer_low": [0.2, 0.4], "wer_high": [0.3, 0.6]}
)  # fmt: skip
COLORS = {"tiny": "#0072b2", "$x_": "#d55e00"}
NOTHING = VARIANTS.assign(wer_mean=float("nan"))


def test_a_study_is_drawn_and_again_the_same(lab: Any) -> None:
    for slot, state in enumerate(("finished", "pruned")):
        record = lab.record(f"trial-{slot}", slot=slot)
        record.append(lab.progress(1))
        record.append(lab.progress(2))
        record.close(state, {"best/valid/wer": 0.5})
    tables = read_study(lab.study)
    made = plots("tiny", tables, VARIANTS, COLORS)
    assert list(made) == ["learning_curves.png", "search.png", "test_wer.png"]
    assert all(png.startswith(b"\x89PNG") for png in made.values())
    assert plots("tiny", tables, VARIANTS, COLORS) == made


def test_what_is_not_there_is_not_drawn(lab: Any) -> None:
    assert plots("tiny", read_study(lab.study), NOTHING, COLORS) == {}
    lab.record("trial-0", slot=0).close("failed", {}, {"kind": "E", "message": ""})
    assert plots("tiny", read_study(lab.study), NOTHING, COLORS) == {}


def test_the_line_is_the_best_trial_so_far_and_keeps_it(lab: Any) -> None:
    for slot, wer in enumerate((0.5, None, 0.75, 0.25)):
        record = lab.record(f"trial-{slot}", slot=slot)
        record.close(
            "failed" if wer is None else "finished", {"best/valid/wer": wer} if wer else {}
        )
    runs = read_study(lab.study).runs
    figure = Figure()
    assert _search(figure, runs, "red")
    (line,) = figure.axes[0].lines
    assert list(line.get_ydata()) == [50.0, 50.0, 50.0, 25.0]
