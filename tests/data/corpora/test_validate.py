import importlib
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bench.core.errors import UserError
from bench.core.paths import cache_root
from bench.data.corpora.spec import CorpusConfig, Listing, Row
from bench.data.corpora.validate import validate
from bench.data.utterance import LeftOut

CONFIG = CorpusConfig(name="made-up")


@pytest.fixture
def rows(record: Callable[..., Path], tmp_path: Path) -> list[Row]:
    """Six utterances, two of each required split."""
    return [
        Row(
            id=f"{split}-{index}",
            audio=record(tmp_path / f"{split}-{index}.wav"),
            text=f"{split.upper()}, Number-{'ab'[index]}",
            speaker=f"{split}-speaker",
            split=split,
        )
        for split in ("train", "valid", "test")
        for index in range(2)
    ]


def listing(rows: list[Row]) -> Listing:
    return Listing(rows=tuple(rows), notes=("a note",))


def test_sound_rows_become_utterances(rows: list[Row]) -> None:
    corpus = validate(listing(rows), CONFIG)
    assert [u.id for u in corpus.utterances] == [row.id for row in rows]
    first = corpus.utterances[0]
    assert (first.text, first.seconds, first.sample_rate_hz, first.channel) == (
        "train number a", 0.3, 16_000, None,
    )  # fmt: skip
    assert len(first.audio_digest) == 16
    assert (corpus.left_out, corpus.leakage, corpus.notes) == ((), {}, ("a note",))


def test_digest_follows_content_not_place(
    rows: list[Row], record: Callable[..., Path], tmp_path: Path
) -> None:
    digest = validate(listing(rows), CONFIG).digest
    moved = [replace(r, audio=record(tmp_path / "elsewhere" / r.audio.name)) for r in rows]
    assert validate(listing(moved), CONFIG).digest == digest
    for field in ("text", "speaker", "id"):
        changed = [replace(rows[0], **{field: "another"}), *rows[1:]]
        assert validate(listing(changed), CONFIG).digest != digest
    other_audio = [replace(rows[0], audio=record(tmp_path / "other.wav")), *rows[1:]]
    assert validate(listing(other_audio), CONFIG).digest != digest


def test_what_training_cannot_use_is_left_out_with_its_reason(
    rows: list[Row],
    record: Callable[..., Path],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    extra = [
        replace(rows[0], id="long", audio=record(tmp_path / "long.wav", seconds=2)),
        replace(rows[0], id="silent", text=" ... "),
        replace(rows[0], id="digit", text="agent 7"),
    ]
    config = replace(CONFIG, text="drop", max_seconds=1.5)
    with caplog.at_level(logging.INFO, logger="bench"):
        corpus = validate(listing(rows + extra), config)
    assert set(corpus.left_out) == {
        LeftOut(id="long", split="train", reason="longer than 1.5 s"),
        LeftOut(id="silent", split="train", reason="empty transcript"),
        LeftOut(id="digit", split="train", reason="symbols outside the alphabet"),
    }
    assert len(corpus.utterances) == len(rows)
    assert "left out 1, longer than 1.5 s: long" in caplog.text


def test_unknown_symbols_are_an_error_unless_dropped(rows: list[Row]) -> None:
    rows[3] = replace(rows[3], text="Café 7")
    with pytest.raises(UserError, match=r"utterance 'valid-1' has '7', 'é' in .*--text drop"):
        validate(listing(rows), CONFIG)


def test_an_id_given_twice_is_an_error(rows: list[Row]) -> None:
    rows[5] = replace(rows[5], id="train-0")
    with pytest.raises(
        UserError, match=r"'train-0' names two \(.*train-0\.wav in train, .*in test"
    ):
        validate(listing(rows), CONFIG)


def test_nothing_to_train_on_is_an_error(rows: list[Row]) -> None:
    rest = [row for row in rows if row.split != "train"]
    with pytest.raises(UserError, match="but split train of 'made-up' is empty"):
        validate(listing(rest), CONFIG)


@pytest.mark.parametrize("split", ["valid", "test"])
def test_a_corpus_may_do_without_any_other_split(split: str, rows: list[Row]) -> None:
    rest = [row for row in rows if row.split != split]
    assert validate(listing(rest), CONFIG).split(split) == ()


def test_a_split_left_out_to_the_last_is_empty(rows: list[Row]) -> None:
    emptied = [replace(r, text="") if r.split == "train" else r for r in rows]
    with pytest.raises(UserError, match=r"left out of train: 2"):
        validate(listing(emptied), CONFIG)


def test_faulty_audio_names_utterance_and_file(
    rows: list[Row], record: Callable[..., Path], tmp_path: Path
) -> None:
    rows[2].audio.write_bytes(b"no recording")
    with pytest.raises(
        UserError, match=r"utterance 'valid-0': audio file .*valid-0\.wav is corrupt"
    ):
        validate(listing(rows), CONFIG)
    record(rows[2].audio, num_channels=2)
    with pytest.raises(UserError, match=r"utterance 'valid-0': .* has 2; .*--channel 0"):
        validate(listing(rows), CONFIG)
    corpus = validate(listing(rows), replace(CONFIG, channel=1))
    assert [u.channel for u in corpus.utterances] == [None, None, 1, None, None, None]
    rows[2].audio.unlink()
    with pytest.raises(UserError, match=r"utterance 'valid-0' does not exist: .*valid-0\.wav"):
        validate(listing(rows), CONFIG)


def test_leakage_counts_what_splits_share(rows: list[Row]) -> None:
    rows[2] = replace(rows[2], speaker="train-speaker")
    rows[4] = replace(rows[4], audio=rows[0].audio)
    rows[5] = replace(rows[5], text=rows[0].text)
    watched = replace(rows[0], id="watch-0", split="watch", speaker="nobody", text="new")
    assert validate(listing([*rows, watched]), CONFIG).leakage == {
        "train/valid same speaker": 1,
        "train/test same audio": 1,
        "train/test same text": 1,
        "train/watch same audio": 1,
        "test/watch same audio": 1,
    }


def test_the_result_is_kept_until_something_changes(
    rows: list[Row], record: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []
    # The package offers a function of this name, which hides the module.
    validation = importlib.import_module("bench.data.corpora.validate")
    probe = validation.probe
    monkeypatch.setattr(validation, "probe", lambda p: opened.append(p) or probe(p))
    counts: list[tuple[int, int]] = []
    first = validate(listing(rows), CONFIG, lambda done, total: counts.append((done, total)))
    assert counts == [(n, 6) for n in range(1, 7)]
    assert len(opened) == 6
    assert validate(listing(rows), CONFIG) == first
    assert len(opened) == 6
    assert list((cache_root() / "corpora").glob("made-up-*.json"))
    validate(listing(rows), replace(CONFIG, max_seconds=20))
    assert len(opened) == 12
    record(rows[0].audio, seconds=0.4)
    assert validate(listing(rows), CONFIG).digest != first.digest
