import tarfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.core.errors import UserError
from bench.data.corpora import CORPORA, CorpusConfig, load_corpus
from bench.data.corpora.spec import Listing

SHARED = Path(__file__).parents[4] / "shared" / "corpora" / "speechocean762_train.tar"
FILES = {
    "wav.scp": "ann-1 wav/ann-1.wav\nann-2 wav/my file.wav\nbob-1\twav/bob-1.wav\n",
    "text": "ann-1 GO HOME\nann-2 COME\nbob-1 GO ON\n",
    "utt2spk": "ann-1 ann\nann-2 ann\nbob-1 bob\n",
    "spk2utt": "ann ann-1 ann-2\nbob bob-1\n",
    "spk2gender": "ann f\nbob m\n",
    "spk2age": "ann 6\n",
    "utt2lang": "bob-1 en\n",
    "utt2dur": "ann-1 0.3\n",
}


def write(folder: Path, files: dict[str, str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def root(record: Callable[..., Path], tmp_path: Path) -> Path:
    """A recipe's folder, of three splits with utterances of their own."""
    for split in ("train", "dev", "test"):
        files = {
            name: text.replace("ann", f"{split}a").replace("bob", f"{split}b")
            for name, text in FILES.items()
        }
        write(tmp_path / "s5" / "data" / split, files)
        for name in (f"{split}a-1", "my file", f"{split}b-1"):
            record(tmp_path / "s5" / "wav" / f"{name}.wav")
    return tmp_path / "s5"


def listed(path: Path) -> Listing:
    return CORPORA["kaldi"].listing(CorpusConfig.parse(f"kaldi:{path}"))


@pytest.mark.parametrize("given", [".", "data", ".."])
def test_a_recipe_is_read(given: str, root: Path) -> None:
    (root / "exp").mkdir()
    write(root / "data" / "train_sp", FILES)
    listing = listed(root / given)
    assert [(r.id, r.split, r.speaker, r.text) for r in listing.rows[:6]] == [
        ("traina-1", "train", "traina", "GO HOME"),
        ("traina-2", "train", "traina", "COME"),
        ("trainb-1", "train", "trainb", "GO ON"),
        ("deva-1", "valid", "deva", "GO HOME"),
        ("deva-2", "valid", "deva", "COME"),
        ("devb-1", "valid", "devb", "GO ON"),
    ]
    assert Counter(row.split for row in listing.rows) == {"train": 3, "valid": 3, "test": 3}
    first, second, third = listing.rows[:3]
    assert second.audio.samefile(root / "wav" / "my file.wav")
    assert (first.attributes, third.attributes) == (
        {"gender": "f", "age": "6"},
        {"gender": "m", "lang": "en"},
    )
    assert (first.claimed_seconds, second.claimed_seconds) == (0.3, None)
    assert listing.notes == ("not read, for its name is no split's: train_sp",)


def test_a_corpus_is_loaded_and_an_archive_of_it_is_the_same(root: Path, tmp_path: Path) -> None:
    for split in ("train", "dev", "test"):
        # Three recordings with the same bytes would be told as leakage.
        for name in FILES:
            file = root / "data" / split / name
            lines = [line for line in file.read_text().splitlines() if "a-2" not in line]
            file.write_text("\n".join(lines).replace("a-1 a-2", "a-1") + "\n")
        (root / "data" / split / "spk2utt").unlink()
    corpus = load_corpus(CorpusConfig(name="kaldi", path=str(root)))
    assert len(corpus.utterances) == 6
    with tarfile.open(tmp_path / "corpus.tar.gz", "w:gz") as archive:
        archive.add(root, arcname="corpus")
    packed = load_corpus(CorpusConfig(name="kaldi", path=str(tmp_path / "corpus.tar.gz")))
    assert packed.digest == corpus.digest


def test_one_split_alone(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root / "data" / "dev")
    assert {row.split for row in listed(Path()).rows} == {"valid"}


def test_relative_paths_begin_at_the_first_folder_that_has_one(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    wavs = root / "wav"
    for folder in (root, root / "data", root / "data" / "dev", tmp_path):
        wavs = wavs.rename(folder / "wav")
        assert listed(root / "data" / "dev").rows[0].audio == wavs / "deva-1.wav"
    wavs.rename(tmp_path / "gone")
    assert listed(root).rows[0].audio == root / "wav" / "traina-1.wav", "and is missing there"


SEGMENTS = "ann-1 call 0.00 2.1\nann-2 call 2.1 2.3\nbob-1 call 3.80 -1\n"


def test_segments_are_snippets(record: Callable[..., Path], tmp_path: Path) -> None:
    folder = write(tmp_path / "test", FILES | {"segments": SEGMENTS, "wav.scp": "call call.wav\n"})
    record(tmp_path / "call.wav")
    found = [(r.id, r.audio.name, r.snippet) for r in listed(folder).rows]
    assert [(id, audio, s and (s.start_seconds, s.seconds)) for id, audio, s in found] == [
        ("ann-1", "call.wav", (0.0, 2.1)),
        ("ann-2", "call.wav", (2.1, 0.2)),
        ("bob-1", "call.wav", (3.8, None)),
    ]


def test_speakers_may_be_listed_either_way_or_not_at_all(root: Path) -> None:
    both = [row.speaker for row in listed(root).rows]
    for folder in (root / "data").iterdir():
        (folder / "utt2spk").unlink()
    assert [row.speaker for row in listed(root).rows] == both
    for folder in (root / "data").iterdir():
        (folder / "spk2utt").unlink()
    listing = listed(root)
    assert len({row.speaker for row in listing.rows}) == 9
    assert listing.notes[0].startswith("9 utterances name no speaker")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"wav.scp": "ann-1 a.wav\nann-2 flac -c -d b.flac |\nbob-1 c.wav\n"},
            r"wav\.scp:2: commands of a wav\.scp are not run, got 'flac -c -d b\.flac \|'; run it",
        ),
        ({"wav.scp": "ann-1 a.ark:2103\n"}, r"wav\.scp:1: 'a\.ark:2103' is a place in an archive"),
        ({"wav.scp": "ann-1\n"}, r"wav\.scp:1: a line reads `RECORDING PATH`, got 'ann-1' alone"),
        ({"wav.scp": "ann-1 C:\\a.wav\n"}, r"wav\.scp:1: path 'C:\\\\a\.wav' is a Windows path"),
        ({"wav.scp": "ann-1 a.wav\nann-1 b.wav\n"}, r"wav\.scp:2: 'ann-1' is there already .*:1"),
        (
            {"text": "ann-1 A\nann-2 B\n"},
            r"text and wav\.scp must list the same utterances, but text lacks 1, such as 'bob-1'",
        ),
        (
            {"utt2spk": "ann-1 ann\nann-2 ann\n", "spk2utt": ""},
            "text and utt2spk or spk2utt must .* but utt2spk or spk2utt lacks 1, such as 'bob-1'",
        ),
        (
            {"spk2utt": "ann ann-1\nbob bob-1 ann-2\n"},
            r"'ann-2' has two speakers, 'ann' \(.*utt2spk:2\) and 'bob' \(.*spk2utt:2\); correct",
        ),
        (
            {"spk2utt": "ann ann-1 ann-2\n"},
            "utt2spk and spk2utt must .* spk2utt lacks 1, .*'bob-1'",
        ),
        ({"spk2utt": "ann ann-1 ann-2\nbob bob-1 ann-1\n"}, r"spk2utt:2: 'ann-1' is there already"),
        (
            {"utt2spk": "ann-1 ann b\n"},
            r"utt2spk:1: a line reads `UTTERANCE SPEAKER`, got 'ann-1 ann",
        ),
        ({"segments": SEGMENTS}, r"segments:1: recording 'call' is not in .*wav\.scp; add it"),
        (
            {"segments": "ann-1 ann-1 0 1 2\n"},
            r"segments:1: a line reads `UTTERANCE RECORDING START",
        ),
        ({"segments": "ann-1 ann-1 2 1\n"}, r"segments:1: END must be after START, got 2 and 1"),
        (
            {"segments": "ann-1 ann-1 x 1\n"},
            r"segments:1: START is a number of seconds, .* got 'x'",
        ),
        ({"segments": "ann-1 ann-1 0 1\n"}, "text and segments must .* segments lacks 2"),
        ({"utt2dur": "ann-1 long\n"}, r"utt2dur:1: length is a number of seconds, .* got 'long'"),
    ],
)
def test_faults_are_named(files: dict[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        listed(write(tmp_path / "test", FILES | files))


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    write(tmp_path / "data" / "test_clean", FILES)
    with pytest.raises(
        UserError,
        match=r"no folder data/NAME with wav\.scp .* holds data/, data folders are test_cl",
    ):
        listed(tmp_path)
    with pytest.raises(UserError, match=r"unknown split 'test_clean'; did you mean test"):
        listed(tmp_path / "data" / "test_clean")
    folder = write(tmp_path / "data" / "test", FILES)
    (folder / "text").unlink()
    with pytest.raises(UserError, match=r"text cannot be read \(No such file"):
        listed(tmp_path)
    (folder / "text").write_text("ann-1 A\n", "utf-16")
    with pytest.raises(UserError, match="text cannot be read: it is UTF-16 text"):
        listed(tmp_path)
    write(folder, dict.fromkeys(FILES, ""))
    with pytest.raises(UserError, match="lists no utterances in test"):
        listed(tmp_path)


@pytest.mark.skipif(not SHARED.is_file(), reason=f"speechocean762 is not at {SHARED}")
def test_speechocean762() -> None:
    rows = listed(SHARED).rows
    assert Counter(row.split for row in rows) == {"train": 1720, "valid": 300, "test": 480}
    speakers = {s: {r.speaker for r in rows if r.split == s} for s in ("train", "valid", "test")}
    assert [len(names) for names in speakers.values()] == [86, 15, 24]
    assert len(set.union(*speakers.values())) == 125
    assert all(row.audio.is_file() and row.attributes.keys() == {"age", "gender"} for row in rows)
