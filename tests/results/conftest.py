"""The made-up systems a, b and c of tests/golden, whose statistics are known from other tools."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.results.pairs import Outcome
from bench.scoring import score

GOLDEN = Path(__file__).resolve().parents[1] / "golden"


def read_trn(name: str) -> dict[str, str]:
    rows = (GOLDEN / f"{name}.trn").read_text().splitlines()
    found = [re.fullmatch(r"(.*)\((.*)\)", row) for row in rows]
    return {m[2]: m[1].strip() for m in found if m}


@pytest.fixture(scope="session")
def golden() -> list[Outcome]:
    refs = read_trn("ref")
    speakers = [id.split("-")[0] for id in refs]
    outcomes = []
    for name in ("a", "b", "c"):
        hyps = read_trn(name)
        rows = score(refs, refs.values(), [hyps[id] for id in refs], speakers, [1.0] * len(refs))
        outcomes.append(Outcome(name=name, runs=(pd.DataFrame(rows),)))
    return outcomes


@pytest.fixture(scope="session")
def sclite() -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Words per utterance and, of each system, error slots from sclite's own alignments."""
    rows = [
        line.split()
        for line in (GOLDEN / "sclite.txt").read_text().splitlines()
        if not line.startswith("#")
    ]
    words = np.array([len(row[1].replace("I", "")) for row in rows])
    slots = {}
    for column, name in enumerate("abc", 1):
        slots[name] = np.concatenate([slots_of(row[column]) for row in rows])
    return words, slots


def slots_of(marks: str) -> np.ndarray:
    """Error slots (bench.results.mapsswe) of an utterance such as "CCSDIC"."""
    slots = [0]
    for mark in marks:
        if mark == "I":
            slots[-1] += 1
        else:
            slots += [int(mark != "C"), 0]
    return np.array(slots)
