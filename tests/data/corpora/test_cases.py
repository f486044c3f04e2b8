"""The small inputs of ../shared/cases that corpora are read from, each with its right value."""

from collections import Counter
from pathlib import Path

import pytest

from bench.core.errors import UserError
from bench.data.corpora import CorpusConfig, load_corpus

CASES = Path(__file__).parents[4] / "shared" / "cases"
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason=f"the cases are not at {CASES}")


@pytest.mark.parametrize(
    ("corpus", "counts"),
    [
        ("manifest:names/dev", {"train": 12, "valid": 3, "test": 4}),
        ("manifest:names/nemo", {"train": 12, "valid": 3, "test": 4}),
        ("manifest:names/commonvoice", {"train": 12, "valid": 3, "test": 4}),
        ("commonvoice:names/commonvoice", {"train": 12, "valid": 3, "test": 4}),
        ("manifest:test-only/test.jsonl", {"test": 4}),
        ("manifest:test-only", {"test": 4}),
        ("manifest:flac-length/all.jsonl", {"train": 12, "valid": 3, "test": 4}),
    ],
)
def test_every_utterance_is_read(corpus: str, counts: dict[str, int]) -> None:
    name, _, path = corpus.partition(":")
    read = load_corpus(CorpusConfig(name=name, path=str(CASES / path)))
    assert Counter(u.split for u in read.utterances) == counts
    assert read.left_out == ()
    assert all(len({u.speaker for u in read.split(split)}) == 3 for split in counts)


def test_an_unquoted_comma_is_an_error() -> None:
    with pytest.raises(UserError, match=r"last\.csv:5: .* surplus cell 'we saw blue dogs'"):
        load_corpus(CorpusConfig(name="manifest", path=str(CASES / "csv-comma" / "last.csv")))


def test_offset_zero_and_a_duration_are_a_snippet() -> None:
    path = CASES / "duration" / "no-offset.jsonl"
    seconds = {
        u.id: u.seconds
        for u in load_corpus(CorpusConfig(name="manifest", path=str(path))).utterances
    }
    assert seconds.pop("../wav/train_000@0") == pytest.approx(0.5, abs=1e-3)
    assert min(seconds.values()) > 0.9
