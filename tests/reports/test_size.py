"""Large studies in small pages: ``pytest -m slow tests/reports/test_size.py -s`` prints figures."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from reports.build import build
from reports.input import ReportInput
from reports.sections import decodes

MakeInput = Callable[..., ReportInput]
SIX = tuple(f"ds-{cell}-{layers}" for cell in ("rnn", "gru", "lstm") for layers in (3, 5))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("num_trials", "max_megabytes"), [(40, 10), (167, 12)], ids=["240 trials", "1,002 trials"]
)
def test_a_large_study_stays_small(
    make_input: MakeInput,
    tmp_path: Path,
    num_trials: int,
    max_megabytes: int,
) -> None:
    study = make_input(systems=SIX, num_trials=num_trials, num_seeds=5, num_utterances=200)
    assert decodes.NUM_SHOWN == 200
    begun = time.monotonic()
    page = build(study, tmp_path / "report.html")
    seconds, megabytes = time.monotonic() - begun, page.stat().st_size / 1e6
    print(f"\n{6 * num_trials} trials: {megabytes:.1f} MB in {seconds:.1f} s")
    assert megabytes < max_megabytes
