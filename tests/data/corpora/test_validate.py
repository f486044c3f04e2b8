import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bench.core.errors import UserError
from bench.core.paths import cache_root
from bench.data import examination
from bench.data.corpora.spec import CorpusConfig, Listing, Row
from bench.data.corpora.validate import require_splits, validate
from bench.data.utterance import ExcludedUtterance, Snippet

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
        ExcludedUtterance(id="long", split="train", reason="longer than 1.5 s"),
        ExcludedUtterance(id="silent", split="train", reason="empty transcript"),
        ExcludedUtterance(id="digit", split="train", reason="symbols outside the alphabet"),
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
    corpus = validate(listing(rest), CONFIG)
    assert len(corpus.split("test")) == 2, "all that an evaluation needs"
    require_splits(corpus, ("valid", "test"), "a study")
    with pytest.raises(
        UserError, match=r"training needs a train split, but corpus made-up has none \(got v"
    ):
        require_splits(corpus, ("train",), "training")


@pytest.mark.parametrize("split", ["valid", "test"])
def test_a_corpus_may_do_without_any_other_split(split: str, rows: list[Row]) -> None:
    rest = [row for row in rows if row.split != split]
    assert validate(listing(rest), CONFIG).split(split) == ()


def test_a_split_left_out_to_the_last_is_empty(rows: list[Row]) -> None:
    emptied = [replace(r, text="") if r.split == "train" else r for r in rows]
    corpus = validate(listing(emptied), CONFIG)
    with pytest.raises(UserError, match=r"left out of train: 2"):
        require_splits(corpus, ("train",), "training")


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
    with pytest.raises(
        UserError, match=r"utterance 'valid-0': .*valid-0\.wav does not exist; corr"
    ):
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


def test_all_that_is_wrong_is_listed_at_once(rows: list[Row]) -> None:
    for row in rows[:2]:
        row.audio.write_bytes(b"no recording")
    rows[2] = replace(rows[2], audio=rows[2].audio.with_name("gone.wav"))
    rows[3] = replace(rows[3], text="agent 7")
    with pytest.raises(
        UserError, match=r"^4 of 6 utterances of corpus 'made-up' cannot be"
    ) as told:
        validate(listing(rows), CONFIG)
    for id in ("train-0", "train-1", "valid-0", "valid-1"):
        assert f"utterance '{id}'" in str(told.value)
    assert str(told.value).endswith("or leave such utterances out with --audio drop --text drop")


def test_of_many_faults_twenty_are_listed(rows: list[Row]) -> None:
    many = [replace(rows[0], id=f"u{n}", text=f"{n}") for n in range(23)]
    with pytest.raises(UserError, match=r"^23 of 29 .*'u19' has.*; and 3 more; spell") as told:
        validate(listing(rows + many), CONFIG)
    assert "'u20'" not in str(told.value)
    with pytest.raises(UserError, match=r"; and 3 more; rename or remove one of each"):
        validate(listing([rows[0]] * 24), CONFIG)


def test_faulty_audio_is_dropped_and_counted_on_request(
    rows: list[Row], record: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    rows[0].audio.write_bytes(b"no recording")
    rows[2].audio.unlink()
    record(rows[3].audio, num_channels=2)
    rows[4] = replace(rows[4], snippet=Snippet(start_seconds=5.0))
    corpus = validate(listing(rows), replace(CONFIG, audio="drop"))
    assert {item.id: item.reason for item in corpus.left_out} == {
        "train-0": "audio unreadable",
        "valid-0": "audio missing",
        "valid-1": "several channels",
        "test-0": "snippet outside its recording",
    }
    assert "left out 1, audio missing: valid-0" in caplog.text


def test_snippets_of_one_recording_are_utterances(
    rows: list[Row], record: Callable[..., Path], tmp_path: Path
) -> None:
    call = record(tmp_path / "call.wav", seconds=3.0)
    cuts = ((0.0, 1.0), (1.0, 1.5), (2.5, None), (0.0, 3.0))
    rows += [
        replace(rows[0], id=f"call-{start}-{seconds}", audio=call,
                snippet=Snippet(start_seconds=start, seconds=seconds))
        for start, seconds in cuts
    ]  # fmt: skip
    rows.append(replace(rows[0], id="whole", audio=call))
    corpus = validate(listing(rows), CONFIG)
    made = corpus.utterances[6:]
    assert [u.seconds for u in made] == [1.0, 1.5, 0.5, 3.0, 3.0]
    assert [u.snippet for u in made] == [row.snippet for row in rows[6:]]
    assert made[3].audio_digest == made[4].audio_digest, "the same samples"
    assert len({u.audio_digest for u in made}) == 4
    assert validate(listing(rows), CONFIG) == corpus, "as kept"


def test_snippets_that_overlap_share_audio(
    rows: list[Row], record: Callable[..., Path], tmp_path: Path
) -> None:
    call = record(tmp_path / "call.wav", seconds=3.0)
    for index, (start, seconds) in {0: (0.0, 1.5), 2: (1.0, 1.0), 4: (2.0, 1.0)}.items():
        snippet = Snippet(start_seconds=start, seconds=seconds)
        rows[index] = replace(rows[index], audio=call, snippet=snippet)
    assert validate(listing(rows), CONFIG).leakage == {"train/valid same audio": 1}


def test_durations_far_from_the_audio_are_reported(
    rows: list[Row], record: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    record(rows[0].audio, seconds=4.0)
    claims = (4.25, 0.5, 0.35, 0.3, None, 9.0)
    rows = [replace(row, claimed_seconds=claim) for row, claim in zip(rows, claims, strict=True)]
    corpus = validate(listing(rows), CONFIG)
    assert corpus.notes[0] == "a note"
    assert corpus.notes[1].endswith("utterances: 3 (train-0, train-1, test-1)")
    assert corpus.notes[1] in caplog.text
    near = [replace(row, claimed_seconds=row.claimed_seconds and 0.35) for row in rows[1:]]
    assert validate(listing(near), CONFIG).notes == ("a note",)


def test_attributes_are_kept_and_the_ratio_of_signal_to_noise_is_one(rows: list[Row]) -> None:
    rows[0] = replace(rows[0], attributes={"gender": "f", "age": "9"})
    rows[1] = replace(rows[1], attributes={"snr": "high"})
    first, second, *_ = validate(listing(rows), CONFIG).utterances
    estimate = first.attributes["snr"]
    assert first.attributes == {"snr": estimate, "gender": "f", "age": "9"}
    assert -10 <= int(estimate) <= 100
    assert second.attributes == {"snr": "high"}, "what the corpus says has precedence"


def test_each_recording_is_decoded_once_until_it_changes(
    rows: list[Row], record: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []
    real = examination.open_recording
    monkeypatch.setattr(
        examination, "open_recording", lambda path: opened.append(path) or real(path)
    )
    counts: list[tuple[int, int]] = []
    first = validate(listing(rows), CONFIG, lambda done, total: counts.append((done, total)))
    assert counts == [(n, 6) for n in range(1, 7)]
    assert len(opened) == 6
    assert validate(listing(rows), CONFIG) == first
    assert len(opened) == 6
    assert list((cache_root() / "corpora").glob("made-up-audio-*.json"))
    validate(listing(rows), replace(CONFIG, max_seconds=20))
    validate(listing(rows[:4]), CONFIG)
    assert len(opened) == 6, "other rules, and a part of the corpus, need no new look"
    record(rows[0].audio, seconds=0.4)
    assert validate(listing(rows), CONFIG).digest != first.digest
    assert opened[6:] == [rows[0].audio]
    two = [replace(rows[0], id=f"{n}", snippet=Snippet(start_seconds=n / 10)) for n in range(3)]
    validate(listing(two), CONFIG)
    assert len(opened) == 8, "once for all snippets"


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"version": 1}', b"\xff"])
def test_a_damaged_cache_costs_time_only(damage: bytes, rows: list[Row]) -> None:
    first = validate(listing(rows), CONFIG)
    for path in (cache_root() / "corpora").glob("made-up-audio-*.json"):
        path.write_bytes(damage)
    assert validate(listing(rows), CONFIG) == first


def test_what_was_decoded_before_an_interruption_is_kept(
    rows: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        validate(listing(rows), CONFIG, stop)
    counts: list[int] = []
    validate(listing(rows), CONFIG, lambda done, total: counts.append(done))
    assert counts[-1] == 6
    assert len(counts) < 7
