"""Digests of trainings on a CPU, to compare two commits: `pytest -m slow -s tests/training/test_digests.py` at each.

A change of the engine that leaves the numbers alone leaves the digests alone; they differ between machines.
"""

import hashlib
from collections.abc import Callable
from typing import Any

import pytest

from tests.training.conftest import EXTRAS

MakeRun = Callable[..., Any]
PARTS = {"training.num_micro_batches": 2}


@pytest.mark.slow
@pytest.mark.parametrize("extras", [{}, EXTRAS | PARTS], ids=["plain", "extras"])
@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_a_training_has_a_digest(run: MakeRun, cell: str, extras: dict[str, Any]) -> None:
    """Of both checkpoints, weights and optimizer, and of all curves."""
    found = []
    for _ in range(2):
        training = run(**extras, **{"model.cell": cell, "model.directions": "sum"})
        training()
        left = [training.left(name) for name in ("last.pt", "best.pt")]
        found.append(hashlib.sha256(repr((left, training.curves)).encode()).hexdigest()[:16])
    print(f"\ndigest {cell} {'extras' if extras else 'plain'} {found[0]}")
    assert found[0] == found[1]
