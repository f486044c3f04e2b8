"""Datasets are made here, by the library whose format is read; their audio goes in as bytes."""

import io
import json
import re
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile

from bench.core.errors import UserError
from bench.data.audio import read_utterance
from bench.data.corpora import CORPORA, CorpusConfig, load_corpus
from bench.data.corpora.spec import Row
from bench.data.utterance import Corpus

datasets = pytest.importorskip("datasets")
datasets.disable_progress_bars()

TEXTS = {"train": ["Red, we said.", "And under"], "validation": ["the red"], "test": ["boat"]}


def flac(name: str, seconds: float = 0.3) -> bytes:
    rng = np.random.default_rng(list(name.encode()))
    stream = io.BytesIO()
    soundfile.write(stream, rng.uniform(-0.3, 0.3, round(seconds * 16_000)), 16_000, format="FLAC")
    return stream.getvalue()


def dataset(split: str, texts: Sequence[str], **more: list[object]) -> "datasets.Dataset":
    """Rows as the Hub has them: an Audio column, a class, and a column of another kind."""
    names = [f"{split}_{i}" for i in range(len(texts))]
    columns: dict[str, list[object]] = {
        "audio": [{"bytes": flac(name), "path": f"{name}.flac"} for name in names],
        "sentence": list(texts),
        "speaker_id": [i + 1 for i in range(len(texts))],
        "gender": [i % 2 for i in range(len(texts))],
        "age": [30 + i for i in range(len(texts))],
        "vector": [[0.5, 1.0]] * len(texts),
    }
    made = datasets.Dataset.from_dict(columns | more)
    made = made.cast_column("audio", datasets.Audio(decode=False))
    return made.cast_column("gender", datasets.ClassLabel(names=["f", "m"]))


def decoded(made: "datasets.Dataset") -> "datasets.Dataset":
    """As datasets usually are: reading a row would decode it with torchcodec."""
    return made.cast_column("audio", datasets.Audio())


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    parts = {split: decoded(dataset(split, texts)) for split, texts in TEXTS.items()}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "saved")
    return tmp_path / "saved"


def parquet(place: Path, split: str, **more: list[object]) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    decoded(dataset(split, TEXTS[split], **more)).to_parquet(place)
    return place


def listed(path: Path, columns: str | None = None) -> tuple[Row, ...]:
    return CORPORA["hf"].listing(CorpusConfig.parse(f"hf:{path}", columns=columns)).rows


def loaded(path: Path, **flags: str) -> Corpus:
    return load_corpus(CorpusConfig.parse(f"hf:{path}", **flags))


def check_rows(rows: tuple[Row, ...]) -> None:
    assert [(r.id, r.split, r.speaker, r.text, dict(r.attributes)) for r in rows] == [
        ("train_0", "train", "1", "Red, we said.", {"gender": "f", "age": "30"}),
        ("train_1", "train", "2", "And under", {"gender": "m", "age": "31"}),
        ("validation_0", "valid", "1", "the red", {"gender": "f", "age": "30"}),
        ("test_0", "test", "1", "boat", {"gender": "f", "age": "30"}),
    ]
    assert [row.audio.read_bytes() for row in rows] == [flac(row.id) for row in rows]
    assert all(row.audio.suffix == ".flac" for row in rows)


def test_a_saved_dataset_dict(saved: Path) -> None:
    check_rows(listed(saved))


@pytest.mark.parametrize(
    "layout",
    ["data/{}-00000-of-00001.parquet", "data/{}-00000-of-00001-0123456789abcdef.parquet",
     "{}.parquet", "en/{}/0000.parquet"],
)  # fmt: skip
def test_parquet_as_repositories_have_it(layout: str, tmp_path: Path) -> None:
    for split in TEXTS:
        parquet(tmp_path / layout.format(split), split)
    check_rows(listed(tmp_path))


def test_the_corpus_is_checked_and_read_like_any_other(saved: Path) -> None:
    corpus = loaded(saved)
    assert [(u.id, u.text) for u in corpus.split("train")] == [
        ("train_0", "red we said"), ("train_1", "and under"),
    ]  # fmt: skip
    assert corpus.leakage == {"train/valid same speaker": 1, "train/test same speaker": 1,
                              "valid/test same speaker": 1}  # fmt: skip
    samples = read_utterance(corpus.split("test")[0], 16_000)
    expected, _ = soundfile.read(io.BytesIO(flac("test_0")), dtype="float32")
    np.testing.assert_array_equal(samples.numpy(), expected)


def test_it_is_unpacked_once_and_again_when_it_changes(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = listed(saved)
    with monkeypatch.context() as patch:
        patch.setattr(datasets, "load_from_disk", lambda path: pytest.fail("unpacked twice"))
        assert listed(saved) == first
    datasets.DatasetDict({"test": dataset("test", ["other words"])}).save_to_disk(saved)
    assert [row.text for row in listed(saved) if row.split == "test"] == ["other words"]
    renamed = listed(saved, "speaker=age")
    assert next(row.speaker for row in renamed if row.split == "test") == "30"


def test_recordings_are_not_held_in_memory(tmp_path: Path) -> None:
    count, size = 100, 200_000
    audio = [{"bytes": bytes([i]) * size, "path": None} for i in range(count)]
    made = datasets.Dataset.from_dict({"audio": audio, "text": ["red"] * count})
    for name in ("train", "test"):  # the first, so that the library has its own imports in memory
        made.to_parquet(tmp_path / f"{name}.parquet", batch_size=10)
    listed(tmp_path / "train.parquet")
    tracemalloc.start()
    try:
        rows = listed(tmp_path / "test.parquet")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [row.id for row in rows[:2]] == ["test-000000", "test-000001"]
    assert [row.audio.stat().st_size for row in rows] == [size] * count
    assert peak < 10 * size


def test_columns_can_have_any_name(tmp_path: Path) -> None:
    made = dataset("x", ["red", "boat"], part=["train", "test"], key=["a", "b"])
    made = made.rename_columns({"audio": "speech", "sentence": "words"})
    made.save_to_disk(tmp_path / "all")
    names = "audio=speech,text=words,split=part,id=key,speaker=age"
    assert [(r.id, r.text, r.split, r.speaker, r.attributes["speaker_id"])
            for r in listed(tmp_path / "all", names)] == [
        ("a", "red", "train", "30", "1"), ("b", "boat", "test", "31", "2"),
    ]  # fmt: skip


def test_ids_that_are_not_ids_are_not_used(tmp_path: Path) -> None:
    made = dataset("x", ["red", "boat"], id=[5, 5])
    made.save_to_disk(tmp_path / "train")
    assert [row.id for row in listed(tmp_path / "train")] == ["x_0", "x_1"]
    config = CorpusConfig.parse(f"hf:{tmp_path / 'train'}", columns="id=id")
    with pytest.raises(UserError, match="an id names one utterance, but '5' names two"):
        load_corpus(config)


def test_odd_audio_is_listed_with_all_other_faults(tmp_path: Path) -> None:
    whole = flac("whole")
    audio = [
        {"bytes": whole, "path": "whole.flac"},
        {"bytes": whole[: len(whole) // 2], "path": "half.flac"},
        {"bytes": b"", "path": "empty.wav"},
        {"bytes": None, "path": None},
        {"bytes": None, "path": str(tmp_path / "gone.wav")},
        {"bytes": b"no audio at all", "path": "text.wav"},
    ]
    made = datasets.Dataset.from_dict({"audio": audio, "text": ["red"] * 6})
    made.save_to_disk(tmp_path / "train")
    with pytest.raises(UserError) as caught:
        loaded(tmp_path / "train")
    said = str(caught.value)
    assert "5 of 6 utterances of corpus 'hf' cannot be used" in said
    assert all(word in said for word in ("zero length", "does not exist", "unknown format"))
    corpus = loaded(tmp_path / "train", audio="drop")
    assert [u.id for u in corpus.utterances] == ["train-000000"]


def test_unknown_symbols_are_an_error_or_left_out(tmp_path: Path) -> None:
    dataset("train", ["red", "4 boats"]).save_to_disk(tmp_path / "train")
    with pytest.raises(UserError, match=r"utterance 'train_1' has '4' in '4 boats'; .*--text drop"):
        loaded(tmp_path / "train")
    assert len(loaded(tmp_path / "train", text="drop").utterances) == 1


def odd_cases() -> dict[str, tuple[Callable[[Path], object], str]]:
    def two_languages(path: Path) -> None:
        parquet(path / "en/train/0.parquet", "train")
        parquet(path / "de/train/0.parquet", "train")

    def arrays(path: Path) -> None:
        rows = {"audio": [{"array": [0.5], "sampling_rate": 16_000}], "text": ["a"]}
        datasets.Dataset.from_dict(rows).save_to_disk(path / "train")

    def two_names(path: Path) -> None:
        for name in ("dev", "validation"):
            dataset("validation", ["red"]).save_to_disk(path / name)

    def no_text(path: Path) -> None:
        dataset("train", ["red"]).remove_columns("sentence").save_to_disk(path / "train")

    def null(path: Path) -> None:
        dataset("train", ["red"], sentence=["red", None][1:]).save_to_disk(path / "train")

    return {
        "nothing": (lambda path: (path / "notes.txt").touch(), r"no dataset of save_to_disk and no "
                    r"\.parquet in .* holds notes\.txt; rename them"),
        "names": (lambda path: parquet(path / "train.clean.100.parquet", "train"),
                  r"named after a split: .*; its splits are train\.clean; rename"),
        "languages": (two_languages, r"one folder holds a split, but train is in .*de/train and "
                      r".*en/train; give the folder of one"),
        "two names": (two_names, "one name for a split, but 'dev' .* 'validation'"),
        "arrays": (arrays, r"train, row 0 of train: audio is the bytes .* got dict; cast it: "),
        "no text": (no_text, r"needs a column 'text' or 'sentence' .* its columns are audio, .*"
                    r"; name it with --columns text=NAME"),
        "null": (null, r"row 0 of train: column 'sentence' holds text, got None; correct or"),
        "no split": (lambda path: dataset("x", ["red"]).save_to_disk(path / "all"),
                     r"named after a split: .*; its splits are all"),
        "damaged": (lambda path: (path / "train.parquet").write_bytes(b"PAR1 no PAR1"),
                    r"hf: .* cannot be read \(.*\); restore it"),
    }  # fmt: skip


@pytest.mark.parametrize("case", odd_cases())
def test_what_is_no_such_dataset_is_said_in_one_line(
    case: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make, pattern = odd_cases()[case]
    place = tmp_path / "odd"
    place.mkdir()
    make(place)
    with pytest.raises(UserError, match=pattern) as caught:
        listed(place)
    assert "\n" not in str(caught.value)
    assert not [record for record in caplog.records if record.name.startswith("datasets")]


def test_a_file_that_is_no_parquet_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text("{}")
    with pytest.raises(UserError, match=r"a file is a Parquet table, .*train\.jsonl is none; give"):
        listed(path)


def test_a_row_without_split_and_a_column_that_is_not_there(tmp_path: Path) -> None:
    dataset("x", ["red"]).save_to_disk(tmp_path / "all")
    with pytest.raises(UserError, match=r"all, row 0 of the dataset names no split; save a Dat"):
        listed(tmp_path / "all")
    with pytest.raises(UserError, match=r"--columns names 'txt', but the columns of .* are audio,"):
        listed(tmp_path / "all", "text=txt")


def test_other_splits_are_named_in_a_note(saved: Path) -> None:
    dataset("more", ["red"]).save_to_disk(saved / "other")
    config = CorpusConfig.parse(f"hf:{saved}")
    assert CORPORA["hf"].listing(config).notes == ("not read, for its name is no split's: other",)


def test_the_extra_is_named_where_it_is_missing(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=r"not installed .*pip install 'deepspeech-bench\[hf\]'"):
        listed(saved)


def test_too_little_room(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.data.corpora import huggingface

    usage = type("Usage", (), {"free": 10})()
    monkeypatch.setattr(huggingface.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(UserError, match=r"GB unpacked, and .* GB free; set BENCH_CACHE"):
        listed(saved)


def test_the_command_checks_it_without_torchcodec(saved: Path) -> None:
    command = [sys.executable, "-m", "bench.check", "--corpus", f"hf:{saved}", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["splits"]["train"]["utterances"] == 2
    assert re.fullmatch(r"[0-9a-f]+", found["digest"])
    command += ["--columns", "text=nothing"]
    done = subprocess.run([*command, "-q"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "Traceback" not in done.stderr
