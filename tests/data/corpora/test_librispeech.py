from collections.abc import Callable
from pathlib import Path

import pytest

from bench.core.errors import UserError
from bench.data.corpora import CORPORA, CorpusConfig, load_corpus
from bench.data.corpora.spec import Listing

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


def listed(root: Path) -> Listing:
    return CORPORA["librispeech"].listing(CorpusConfig.parse(f"librispeech:{root}"))


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


@pytest.mark.parametrize(
    ("missing", "split"),
    [("dev-clean", "valid"), ("test-clean", "test"), ("train-clean-100", "train")],
)
def test_a_missing_corpus_is_an_error_with_the_way_to_get_it(
    missing: str, split: str, root: Path
) -> None:
    for name in SETS:
        if name == missing or (missing.startswith("train") and name.startswith("train")):
            (root / "LibriSpeech" / name).rename(root / name)
    listing = listed(root)
    assert split not in {row.split for row in listing.rows}
    assert f"no {split} split: {missing} is not in {root / 'LibriSpeech'}; " in listing.notes[-1]
    assert f"'{missing}', download=True" in listing.notes[-1]


def test_the_mini_sets_and_wav_copies(root: Path, record: Callable[..., Path]) -> None:
    sets = root / "LibriSpeech"
    (sets / "train-clean-100").rename(sets / "train-clean-5")
    (sets / "dev-clean").rename(sets / "dev-clean-2")
    for name in ("train-other-500", "test-clean"):
        (sets / name).rename(root / name)
    for path in sets.rglob("*.flac"):
        record(path.with_suffix(".wav"))
        path.unlink()
    (sets / "SPEAKERS.TXT").write_text("; ID | SEX | …\n103  | F | train-clean-5 | 20.1 | Ann B\n")
    listing = listed(root)
    assert [(r.id, r.split, r.audio.name, r.attributes) for r in listing.rows] == [
        ("103-1240-0000", "train", "103-1240-0000.wav", {"gender": "f"}),
        ("84-121123-0003", "valid", "84-121123-0003.wav", {}),
    ]
    assert listing.notes[0] == "train is train-clean-5, valid is dev-clean-2"


def test_two_sets_for_one_split_are_refused(root: Path) -> None:
    (root / "LibriSpeech" / "dev-clean-2").mkdir()
    with pytest.raises(
        UserError, match=r"one set is valid, .* has dev-clean and dev-clean-2; move one"
    ):
        listed(root)


def test_a_folder_without_the_corpus_is_an_error_that_lists_its_content(
    tmp_path: Path,
) -> None:
    (tmp_path / "train.tsv").touch()
    with pytest.raises(
        UserError, match=r"none of its sets \(train-\*, dev-clean, .* holds train\.tsv; download it"
    ):
        listed(tmp_path)


def test_no_path_is_an_error() -> None:
    with pytest.raises(UserError, match="write --corpus librispeech:PATH"):
        load_corpus(CorpusConfig(name="librispeech"))
