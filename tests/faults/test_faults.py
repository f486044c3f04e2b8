"""A short sample of the fault-injection suite; the long one is `python -m tests.faults`."""

import pytest

from tests.faults.suite import run


@pytest.mark.slow
def test_a_few_faults_break_no_invariant() -> None:
    tally = run(seed=3, num_faults=8, corpus="spoken-tiny", say=print)
    assert tally.num_faults == 8
    assert not tally.broken
