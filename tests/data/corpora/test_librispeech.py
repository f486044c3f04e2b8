from collections.abc import Callable
from pathlib import Path

import pytest

from bench.core.errors import UserError
from bench.data.corpora import CorpusConfig, load_corpus

SETS = {
    "train-clean-100": ("103-1240-0000", "CHAPTER ONE"),
    "train-other-500": ("20-205-0000", "IT'S LATE"),
    "dev-clean": ("84-121123-0003", "GO DO YOU HEAR"),
    "test-clean": ("61-70968-0000", "HE BEGAN"),
    "dev-other": ("116-288045-0000", "LEFT ALONE"),
}


@pytest.fixture
def root(record: Callable[..., Path], tmp_path: Path) -> Path:
    for name, (utterance, text) in SETS.items():
        speaker, chapter, _ = utterance.split("-")
        folder = tmp_path / "LibriSpeech" / name / speaker / chapter
        record(folder / f"{utterance}.flac")
        (folder / f"{speaker}-{chapter}.trans.txt").write_text(f"{utterance} {text}\n")
    return tmp_path


@pytest.mark.parametrize("inside", ["", "LibriSpeech"])
def test_official_folders_are_read(inside: str, root: Path) -> None:
    corpus = load_corpus(CorpusConfig(name="librispeech", path=str(root / inside)))
    assert [(u.id, u.split, u.speaker, u.text) for u in corpus.utterances] == [
        ("103-1240-0000", "train", "103", "chapter one"),
        ("20-205-0000", "train", "20", "it's late"),
        ("84-121123-0003", "valid", "84", "go do you hear"),
        ("61-70968-0000", "test", "61", "he began"),
    ]
    assert corpus.notes == (
        "train is train-clean-100 + train-other-500, valid is dev-clean, test is test-clean",
    )


@pytest.mark.parametrize("missing", ["dev-clean", "test-clean", "train-clean-100"])
def test_a_missing_set_says_how_to_get_it(missing: str, root: Path) -> None:
    for name in SETS:
        if name == missing or (missing.startswith("train") and name.startswith("train")):
            (root / "LibriSpeech" / name).rename(root / name)
    with pytest.raises(
        UserError, match=rf"set {missing} is not under .*'{missing}', download=True"
    ):
        load_corpus(CorpusConfig(name="librispeech", path=str(root)))


def test_no_path_is_an_error() -> None:
    with pytest.raises(UserError, match="write --corpus librispeech:PATH"):
        load_corpus(CorpusConfig(name="librispeech"))
