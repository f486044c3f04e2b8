import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.core.errors import UserError
from bench.results.comparability import leaks
from bench.results.pairs import SystemRuns, compare_pairs, summarise
from bench.results.saved_comparison import (
    is_saved_comparison,
    read_saved_comparison,
    save_comparison,
)
from bench.results.scored import ScoredSystem, attributes_of


@pytest.fixture
def systems(golden: list[SystemRuns]) -> list[ScoredSystem]:
    twice = SystemRuns(name=golden[1].name, runs=golden[1].runs + golden[2].runs)
    return [
        ScoredSystem(scored=golden[0], facts={"data": "d1"}, notes=("short",)),
        ScoredSystem(scored=twice, facts={"data": "d1"}),
    ]


def numbers(systems: list[ScoredSystem]) -> list[pd.DataFrame]:
    outcomes = [system.scored for system in systems]
    rng = np.random.default_rng(0)
    return [summarise(outcomes, rng), compare_pairs(outcomes, rng)]


def test_every_number_survives_and_no_word_does(
    systems: list[ScoredSystem], tmp_path: Path
) -> None:
    path = tmp_path / "kept.jsonl"
    save_comparison(systems, path, leakage=("LEAKAGE of something",), common=False)
    assert is_saved_comparison(path)
    again = read_saved_comparison(path)
    for before, after in zip(numbers(systems), numbers(again), strict=True):
        pd.testing.assert_frame_equal(before, after)
    assert [(s.name, s.facts, s.notes) for s in again] == [
        (s.name, s.facts, s.notes) for s in systems
    ]
    assert leaks(again) == ("LEAKAGE of something",)
    for line in path.read_text().splitlines()[1:]:
        row = json.loads(line)
        texts = [row["ref"], *(hyp for hyps in row["hyps"].values() for hyp in hyps)]
        assert all(word.isdigit() for text in texts for word in text.split())


def test_attributes_and_edges_are_kept(systems: list[ScoredSystem], tmp_path: Path) -> None:
    path = tmp_path / "kept.jsonl"
    first = str(systems[0].scored.runs[0]["id"].iloc[0])
    known = {first: {"gender": "f", "snr": "12"}, "another": {"gender": "m"}}
    edges = ("the best trial of a lies at the edge",)
    given = [replace(systems[0], scored=replace(systems[0].scored, edges=edges), attributes=known)]
    save_comparison([*given, systems[1]], path, leakage=(), common=False)
    again = read_saved_comparison(path)
    assert [system.scored.edges for system in again] == [edges, ()]
    assert attributes_of(again) == {first: known[first]}
    lines = path.read_text().splitlines()[1:]
    assert sum("attributes" in line for line in lines) == 1


def test_claims_and_margin_are_kept(systems: list[ScoredSystem], tmp_path: Path) -> None:
    claimed = [replace(s, claims=(("b", "a"), ("a", "z")), margin=0.01) for s in systems]
    save_comparison(claimed, tmp_path / "kept.jsonl", leakage=(), common=False)
    for again in read_saved_comparison(tmp_path / "kept.jsonl"):
        assert (again.claims, again.margin) == ((("b", "a"),), 0.01)


def test_a_damaged_file_is_named(systems: list[ScoredSystem], tmp_path: Path) -> None:
    path = tmp_path / "kept.jsonl"
    save_comparison(systems, path, leakage=(), common=False)
    path.write_text(path.read_text()[:-30])
    with pytest.raises(UserError, match=r"kept\.jsonl is a damaged comparison .*--save"):
        read_saved_comparison(path)
    path.write_text("{}\n")
    assert not is_saved_comparison(path)
