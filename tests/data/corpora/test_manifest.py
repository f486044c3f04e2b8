import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.core.errors import UserError
from bench.data.corpora import CorpusConfig, load_corpus

ROWS = [
    {"audio_filepath": f"wavs/{split}.wav", "duration": 0.3, "text": f"Hello {split}",
     "speaker": f"s-{split}", "split": split}
    for split in ("train", "valid", "test", "watch")
]  # fmt: skip


@pytest.fixture
def folder(record: Callable[..., Path], tmp_path: Path) -> Path:
    for row in ROWS:
        record(tmp_path / str(row["audio_filepath"]))
    return tmp_path


def load(path: Path):
    return load_corpus(CorpusConfig(name="manifest", path=str(path)))


def as_json_lines(rows: list[dict]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def as_table(rows: list[dict], delimiter: str) -> str:
    lines = [delimiter.join(rows[0]), *(delimiter.join(map(str, r.values())) for r in rows)]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("name", ["all.jsonl", "all.json", "all.csv", "all.tsv"])
def test_one_file_with_splits(name: str, folder: Path) -> None:
    tables = {".csv": as_table(ROWS, ","), ".tsv": as_table(ROWS, "\t")}
    file = folder / name
    file.write_text("\ufeff" + tables.get(file.suffix, as_json_lines(ROWS) + "\n"), "utf-8")
    corpus = load(file)
    assert [(u.id, u.split, u.text, u.speaker) for u in corpus.utterances] == [
        (f"wavs/{s}", s, f"hello {s}", f"s-{s}") for s in ("train", "valid", "test", "watch")
    ]
    assert corpus.notes == ()


def test_a_folder_with_one_file_per_split(folder: Path) -> None:
    for row in ROWS[:3]:
        plain = {"audio_filepath": str(folder / str(row["audio_filepath"])), "text": "hi",
                 "id": f"own-{row['split']}"}  # fmt: skip
        (folder / f"{row['split']}.jsonl").write_text(as_json_lines([plain]))
    corpus = load(folder)
    assert [(u.id, u.split) for u in corpus.utterances] == [
        ("own-train", "train"), ("own-valid", "valid"), ("own-test", "test"),
    ]  # fmt: skip
    assert len({u.speaker for u in corpus.utterances}) == 3
    assert corpus.notes == ("3 utterances name no speaker: each counts as a speaker of its own",)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("not json", r"all\.jsonl:2: each row .* is one JSON object, got 'not json' .*; correct"),
        ("[1, 2]", r"all\.jsonl:2: each row .* is one JSON object, got '\[1, 2\]'"),
        ('{"text": "a"}', r":2: a row needs 'audio_filepath' as text, got None; its fields are te"),
        ('{"audio_filepath": "", "text": "a"}', ":2: audio_filepath '' names no file"),
        ('{"audio_filepath": "a.wav", "text": 5}', ":2: a row needs 'text' as text, got 5"),
        ('{"audio_filepath": "a.wav", "text": "a"}', ":2: the row names no split; add a field"),
        (
            '{"audio_filepath": "a.wav", "text": "a", "split": "tests"}',
            ":2: unknown split 'tests'; did you mean test?",
        ),
        (
            '{"audio_filepath": "a.wav", "text": "a", "split": "test", "offset": 1.5}',
            ":2: rows are whole recordings, got offset 1.5",
        ),
        (
            '{"audio_filepath": "gone.wav", "text": "a", "split": "test"}',
            r"utterance 'gone': .*gone\.wav does not exist",
        ),
    ],
)
def test_faulty_rows_are_named(line: str, message: str, folder: Path) -> None:
    file = folder / "all.jsonl"
    file.write_text(as_json_lines(ROWS[:1]) + line + "\n" + as_json_lines(ROWS[1:]))
    with pytest.raises(UserError, match=message):
        load(file)


def test_faulty_manifests_are_named(folder: Path) -> None:
    with pytest.raises(UserError, match="needs its path; write --corpus manifest:PATH"):
        load_corpus(CorpusConfig(name="manifest"))
    with pytest.raises(UserError, match=r"nowhere\.jsonl does not exist"):
        load(folder / "nowhere.jsonl")
    with pytest.raises(UserError, match="lists no utterances"):
        load(folder)
    (folder / "latin.csv").write_bytes("audio_filepath,text\na.wav,caf\xe9".encode("latin-1"))
    with pytest.raises(UserError, match=r"latin\.csv is not UTF-8"):
        load(folder / "latin.csv")
    (folder / "bare.csv").write_text("wavs/train.wav,hello\nwavs/test.wav,hello\n")
    with pytest.raises(UserError, match=r"bare\.csv:2: a row needs 'audio_filepath'"):
        load(folder / "bare.csv")
    (folder / "wide.csv").write_text("audio_filepath,text\n" + "x" * 200_000)
    with pytest.raises(UserError, match=r"wide\.csv is not a table \(field larger"):
        load(folder / "wide.csv")
    (folder / "train.csv").touch()
    (folder / "train.jsonl").touch()
    with pytest.raises(UserError, match=r"one manifest per split, .*train\.jsonl and train\.csv"):
        load(folder)


def test_one_recording_in_two_rows_needs_ids(folder: Path) -> None:
    (folder / "all.jsonl").write_text(as_json_lines([*ROWS, ROWS[0]]))
    with pytest.raises(UserError, match="'wavs/train' names two"):
        load(folder / "all.jsonl")
