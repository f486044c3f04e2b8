import gzip
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.core.errors import UserError
from bench.data.corpora import CORPORA, CorpusConfig, load_corpus
from bench.data.corpora.manifest import MANIFEST
from bench.data.corpora.spec import Listing, Row

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
        plain = {"audio_filepath": row["audio_filepath"], "text": "hi", "id": f"own-{row['split']}"}
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
        ("not json", r"all\.jsonl:2: each row is one JSON object, got 'not json' .*; correct"),
        ("[1, 2]", r"all\.jsonl:2: each row is one JSON object, got '\[1, 2\]'"),
        ('{"text": "a"}', r":2: a row needs 'audio_filepath' as text, got None; its fields are te"),
        ('{"audio_filepath": "", "text": "a"}', ":2: audio_filepath '' names no file"),
        ('{"audio_filepath": "a.wav", "text": 5}', ":2: a row needs 'text' as text, got 5"),
        ('{"audio_filepath": "a.wav", "text": "a"}', ":2: the row names no split; add a field"),
        (
            '{"audio_filepath": "a.wav", "text": "a", "split": "tests"}',
            ":2: unknown split 'tests'; did you mean test?",
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
    with pytest.raises(UserError, match=r"got the address https://x\.y/m\.jsonl; download it"):
        load_corpus(CorpusConfig.parse("manifest:https://x.y/m.jsonl"))
    with pytest.raises(UserError, match=r"nowhere\.jsonl does not exist"):
        load(folder / "nowhere.jsonl")
    (folder / "empty.csv").write_text("audio_filepath,text\n")
    with pytest.raises(UserError, match=r"empty\.csv lists no utterances"):
        load(folder / "empty.csv")
    (folder / "bare.csv").write_text("wavs/train.wav,hello\nwavs/test.wav,hello\n")
    with pytest.raises(UserError, match=r"bare\.csv:2: a row needs 'audio_filepath'"):
        load(folder / "bare.csv")


def test_where_no_table_fits_the_error_lists_what_is_there(
    folder: Path,
) -> None:
    (folder / "vad.csv").touch()
    with pytest.raises(
        UserError,
        match=r"is named after a split: train .*dev.*test.*; also as NAME_manifest, .*\.csv or "
        r"\.tsv.* holds vad\.csv, wavs/; rename",
    ):
        load(folder)


def listed(path: Path) -> Listing:
    return MANIFEST.listing(CorpusConfig.parse(f"manifest:{path}"))


ROW = '{"audio_filepath": "a.wav", "text": "hi"}\n'


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (("train.jsonl", "dev.jsonl", "test.jsonl"), "train valid test"),
        (("train_manifest.json", "dev_manifest.jsonl", "test_manifest.json"), "train valid test"),
        (("manifest-Training.ndjson", "validation.csv.gz", "eval.tsv"), "train valid test"),
        (("train.json", "eval.json", "test.json"), "train valid test"),
        (("TEST.JSONL.GZ",), "test"),
    ],
)
def test_names_of_files_are_those_of_the_field(
    names: tuple[str, ...], splits: str, tmp_path: Path
) -> None:
    table = {".csv": "audio_filepath,text\na.wav,hi\n", ".tsv": "audio_filepath\ttext\na.wav\thi\n"}
    for name in names:
        text = next((text for suffix, text in table.items() if suffix in name), ROW).encode()
        packed = gzip.compress(text) if name.lower().endswith(".gz") else text
        (tmp_path / name).write_bytes(packed)
    (tmp_path / "train_vad.jsonl").write_text(ROW)
    listing = listed(tmp_path)
    assert [row.split for row in listing.rows] == splits.split()
    assert listing.notes[-1] == "not read, for its name is no split's: train_vad.jsonl"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ("train.csv", "train.jsonl"),
            r"one manifest per split, .* train\.csv and train\.jsonl; rem",
        ),
        (("dev.jsonl", "valid.jsonl"), r"'dev' \(.*dev\.jsonl\) and 'valid' \(.*\) are both names"),
        (
            ("dev.jsonl", "test.jsonl", "eval.jsonl"),
            r"'eval' may mean valid or test, and beside te",
        ),
        (
            ("train.jsonl", "eval.jsonl"),
            r"eval\.jsonl: 'eval' may mean valid or test, and beside tr",
        ),
        (("eval.jsonl", "evaluation.jsonl"), r"'eval' .* and 'evaluation' .* are both names of va"),
    ],
)
def test_ambiguous_names_are_refused(names: tuple[str, ...], message: str, tmp_path: Path) -> None:
    for name in names:
        (tmp_path / name).write_text(ROW)
    with pytest.raises(UserError, match=message):
        listed(tmp_path)


def test_a_folder_in_place_of_a_manifest_is_named(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").mkdir()
    with pytest.raises(UserError, match=r"train\.jsonl is a folder, but named like a manifest"):
        listed(tmp_path)


def test_splits_of_rows(tmp_path: Path) -> None:
    file = tmp_path / "all.csv"
    file.write_text("audio_filepath,text,split\na.wav,a,Train\nb.wav,b,DEV\nc.wav,c,eval\n")
    assert [row.split for row in listed(file).rows] == ["train", "valid", "test"]
    file.write_text("audio_filepath,text,split\na.wav,a,dev\nb.wav,b,val\n")
    with pytest.raises(
        UserError, match=r"'dev' \(.*:2\) and 'val' \(.*:3\) are both names of valid"
    ):
        listed(file)
    file.write_text("audio_filepath,text,split\na.wav,a,dev\nb.wav,b,\n")
    with pytest.raises(
        UserError, match=r"all\.csv:3: the row names no split; add a field 'split', n"
    ):
        listed(file)


def test_the_name_of_a_lone_file_is_the_split_of_rows_without_one(tmp_path: Path) -> None:
    (tmp_path / "test_manifest.json").write_text(ROW)
    assert [row.split for row in listed(tmp_path / "test_manifest.json").rows] == ["test"]
    (tmp_path / "train.csv").write_text("audio_filepath,text,split\na.wav,a,test\n")
    assert [row.split for row in listed(tmp_path / "train.csv").rows] == ["test"]
    with pytest.raises(
        UserError, match=r"train\.csv:2: the row is of split 'test', but train\.csv is"
    ):
        listed(tmp_path)


def only_row(tmp_path: Path, **fields: object) -> Row:
    file = tmp_path / "test.jsonl"
    file.write_text(json.dumps({"audio_filepath": "meet/call.07.wav", "text": "hi"} | fields))
    return listed(file).rows[0]


@pytest.mark.parametrize(
    ("fields", "id", "snippet", "claimed"),
    [
        ({}, "meet/call.07", None, None),
        ({"duration": 2.5}, "meet/call.07", None, 2.5),
        ({"offset": None, "duration": "2.5"}, "meet/call.07", None, 2.5),
        ({"offset": 0.0, "duration": 0.5}, "meet/call.07@0", (0.0, 0.5), 0.5),
        ({"offset": 2.1, "duration": 1}, "meet/call.07@2.1", (2.1, 1.0), 1.0),
        ({"offset": "3600.123456"}, "meet/call.07@3600.123456", (3600.123456, None), None),
        ({"offset": 0.1 + 0.2, "id": "own"}, "own", (0.1 + 0.2, None), None),
        ({"offset": 0.1 + 0.2}, "meet/call.07@0.3", (0.1 + 0.2, None), None),
        ({"audio_filepath": "a.b"}, "a.b", None, None),
        ({"audio_filepath": "x/a.b.FLAC"}, "x/a.b", None, None),
        ({"id": 7}, "7", None, None),
    ],
)
def test_snippets_and_ids(
    fields: dict[str, object],
    id: str,
    snippet: tuple[float, float | None] | None,
    claimed: float | None,
    tmp_path: Path,
) -> None:
    row = only_row(tmp_path, **fields)
    assert (row.id, row.claimed_seconds) == (id, claimed)
    found = row.snippet and (row.snippet.start_seconds, row.snippet.seconds)
    assert found == snippet


def test_snippets_of_one_recording_have_ids_of_their_own(tmp_path: Path) -> None:
    rows = [
        {
            "audio_filepath": "call.wav",
            "offset": offset,
            "duration": 1,
            "text": "hi",
            "split": "test",
        }
        for offset in (0.0, 2.1, 3.8)
    ]
    (tmp_path / "all.jsonl").write_text(as_json_lines(rows))
    found = [row.id for row in listed(tmp_path / "all.jsonl").rows]
    assert found == ["call@0", "call@2.1", "call@3.8"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"offset": -1}, "offset is a number of seconds, 0 or more, got -1; correct"),
        ({"offset": "1,5"}, "offset is a number of seconds, 0 or more, got '1,5'"),
        ({"offset": "1_0"}, "offset is a number of seconds, 0 or more, got '1_0'"),
        ({"offset": True}, "offset is a number of seconds, 0 or more, got True"),
        ({"duration": "1.5 s"}, "duration is a number of seconds, 0 or more, got '1.5 s'"),
        ({"duration": math.nan}, "duration is a number of seconds, 0 or more, got nan"),
        ({"duration": 0}, "duration must be above 0, got 0"),
        ({"start": 1.5, "end": 2}, "has 'offset' and 'duration' in seconds, got 'start'"),
        ({"audio_filepath": "wav\\x.wav"}, r"is a Windows path; write it as 'wav/x\.wav'"),
        ({"audio_filepath": "C:/x.wav"}, "'C:/x.wav' is a Windows path; give one of this machine"),
        ({"audio_filepath": "s3://b/x.wav"}, "is an address; download it"),
        ({"audio_filepath": "folder.wav"}, "'folder.wav' is a folder; name the recording in it"),
        ({"speaker": '"ann"'}, 'speaker "ann" is in quotes'),
        ({"speaker": True}, "speaker is a name or a whole number, got True"),
    ],
)
def test_what_is_not_meant_is_refused(
    fields: dict[str, object], message: str, tmp_path: Path
) -> None:
    (tmp_path / "folder.wav").mkdir()
    with pytest.raises(UserError, match=rf"test\.jsonl:1: .*{message}"):
        only_row(tmp_path, **fields)


def test_a_name_that_no_file_can_have_is_no_traceback(tmp_path: Path) -> None:
    assert only_row(tmp_path, audio_filepath="a" * 300).audio.name == "a" * 300
    with pytest.raises(UserError, match="is a Windows path"):
        only_row(tmp_path, audio_filepath="a" * 300 + "\\x.wav")
    with pytest.raises(UserError, match="does not exist as a file or folder"):
        listed(tmp_path / ("a" * 300))


def test_a_backslash_in_a_name_is_no_windows_path(
    record: Callable[..., Path], tmp_path: Path
) -> None:
    record(tmp_path / "a\\b.wav")
    assert only_row(tmp_path, audio_filepath="a\\b.wav").id == "a\\b"


def test_speakers_and_further_columns_are_kept(tmp_path: Path) -> None:
    row = only_row(tmp_path, speaker_id=7, age=9, gender=" f ", accent="", words=["a"], note=None)
    assert row.speaker == "7"
    assert row.attributes == {"age": "9", "gender": "f", "words": '["a"]'}
    row = only_row(tmp_path, speaker="ann", speaker_id=7)
    assert (row.speaker, row.attributes) == ("ann", {})
    assert only_row(tmp_path, speaker=" ").speaker == "unknown-meet/call.07"


def test_one_recording_in_two_rows_needs_ids(folder: Path) -> None:
    (folder / "all.jsonl").write_text(as_json_lines([*ROWS, ROWS[0]]))
    with pytest.raises(UserError, match="'wavs/train' names two"):
        load(folder / "all.jsonl")


def test_columns_of_other_names(tmp_path: Path) -> None:
    table = tmp_path / "train.jsonl"
    table.write_text(
        '{"file": "a.wav", "sentence": "red", "reader": "ann", "text": "RED", "age": 3}\n'
    )
    config = CorpusConfig.parse(
        f"manifest:{table}", columns="audio=file, text=sentence,speaker=reader"
    )
    (row,) = CORPORA["manifest"].listing(config).rows
    assert (row.audio.name, row.text, row.speaker) == ("a.wav", "red", "ann")
    assert row.attributes == {"age": "3"}
    wrong = CorpusConfig.parse(f"manifest:{table}", columns="audio=path")
    with pytest.raises(
        UserError, match=r"jsonl:1: --columns names 'path', but the fields are file"
    ):
        CORPORA["manifest"].listing(wrong)


@pytest.mark.parametrize(
    ("columns", "pattern"),
    [("sentence", "OURS=THEIRS,…, got 'sentence'"), ("txt=a", "are audio, text, .*, got 'txt'"),
     ("text=a,text=b", "got text twice"), ("text=", "got 'text='")],
)  # fmt: skip
def test_columns_are_pairs(columns: str, pattern: str) -> None:
    with pytest.raises(UserError, match=pattern):
        CorpusConfig.parse("manifest:x", columns=columns)
