"""The Triton kernels against float64 and kernel.c: in Triton's interpreter, and on a GPU where there is one."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from tests.variants.ops import triton_cases
from tests.variants.ops.triton_cases import FEW
from variants.layers import CELLS
from variants.ops import triton_ctc, triton_recurrence, triton_runtime

ROOT = Path(__file__).parents[3]
TOLERANCE = 5e-6
needs_triton = pytest.mark.skipif(triton_runtime.version() is None, reason="no Triton")


def too_large(errors: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in errors.items() if not value < TOLERANCE}


def interpreted(*options: str) -> dict[str, dict[str, float]]:
    """Errors by case; in a process of its own, since Triton reads the variable when it is imported."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.variants.ops.triton_cases", *options]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return {row["name"]: row["errors"] for row in rows}


@needs_triton
def test_kernels_are_those_of_float64_in_the_interpreter() -> None:
    found = interpreted()
    assert len(found) == len(triton_cases.CTC_CASES) + len(FEW) + 2
    assert {name: bad for name, errors in found.items() if (bad := too_large(errors))} == {}


@needs_triton
@pytest.mark.slow
def test_every_cell_direction_bias_and_width_in_the_interpreter() -> None:
    """`pytest -m slow tests/variants/ops/test_triton.py`; minutes."""
    found = interpreted("--every")
    assert len(found) == len(triton_cases.CTC_CASES) + len(CELLS) * 3 * 2 * 3 + 6 + 2
    assert {name: bad for name, errors in found.items() if (bad := too_large(errors))} == {}


def test_few_cases_have_each_cell_direction_and_bias() -> None:
    assert {case[0] for case in FEW} == set(CELLS)
    assert {case[1] for case in FEW} == {"forward", "sum", "concat"}
    assert {case[2:] for case in FEW} >= {(True, 45), (False, 16), (True, 16), (False, 45)}


@pytest.mark.cuda
def test_kernels_are_those_of_float64_on_a_gpu() -> None:
    for result in triton_cases.results(torch.device("cuda"), every=True):
        assert too_large(result.errors) == {}, result.name


@pytest.mark.cuda
@pytest.mark.parametrize("width", [128, 160, 192, 256, 320, 384, 512, 1000])
@pytest.mark.parametrize("cell", CELLS)
def test_real_widths_on_a_gpu(cell: str, width: int) -> None:
    """40 rows of up to 50 frames: several programs, several tiles."""
    lens = [50 - row for row in range(40)]
    for directions in ("forward", "concat"):
        errors = triton_cases.recurrence(cell, directions, True, width, torch.device("cuda"), lens)
        assert {n: e for n, e in errors.items() if not e < 2e-5} == {}


def test_a_cpu_never_takes_them() -> None:
    x = torch.zeros(2, 3, 4)
    assert not triton_runtime.computes(x)
    assert not triton_ctc.computes(x, 5)
    assert not triton_recurrence.computes(x, 16, has_equal=False)
    program = (
        "import sys, bench.training.loop, variants; assert 'triton.language' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
