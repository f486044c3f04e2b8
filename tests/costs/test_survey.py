"""The survey of a GPU: parts that fail or hang cost no other part anything."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.costs.survey import Part, Row, Rows, Setting, run_part
from bench.costs.survey_parts import PARTS
from bench.costs.synthetic import surveyed
from variants import VARIANTS

DRY = Setting(device="cpu", is_dry=True)
ROOT = Path(__file__).parents[2]


def failing(setting: Setting) -> Rows:
    yield "first", {"answer": 42.0}
    yield "second", "there is no second"
    raise RuntimeError("the device is gone\nat some address")


def test_measurements_before_a_failure_stay() -> None:
    rows = run_part(Part(name="p", limit_seconds=300, measure=failing), DRY)
    assert rows == [
        Row(part="p", case="first", values={"answer": 42.0}),
        Row(part="p", case="second", values={}, remark="there is no second"),
        Row(part="p", case="", values={}, remark="RuntimeError: the device is gone"),
    ]


def test_a_part_ends_at_its_limit() -> None:
    (row,) = run_part(Part(name="p", limit_seconds=0.0005, measure=failing), DRY)
    assert row.remark == "stopped at its limit of 0.01 s"


def test_all_parts_together_take_less_than_ten_minutes() -> None:
    assert sum(part.limit_seconds for part in PARTS) < 600
    assert len({part.name for part in PARTS}) == len(PARTS) == 8
    networks = surveyed()
    assert len(networks) == len(set(networks)) >= 6
    assert set(networks) <= set(VARIANTS)


@pytest.mark.slow
def test_every_part_runs_dry() -> None:
    """`pytest -m slow tests/costs/test_survey.py`; a minute of one core."""
    command = [sys.executable, "-m", "bench.speed", "--survey", "--dry-run", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert {row["part"] for row in rows} == {part.name for part in PARTS}
    missing = {row["remark"] for row in rows if not row["values"]}
    assert missing == {"the profiler counts launches on CUDA only", "MPS shares GPUs only"}
    errors = [v for row in rows if row["part"] == "numerics" for v in row["values"].values()]
    assert max(errors) < 1e-5
