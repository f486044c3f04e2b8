"""Corpora joined with a plus: trained on all, chosen and tested on the first."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from bench.core.config import from_dict, to_dict
from bench.core.errors import UserError
from bench.data import examination
from bench.data.corpora import CORPORA, CorpusConfig, load_corpus, parse_corpus, require_splits
from bench.data.corpora.joined import split_joined
from bench.data.utterance import CORPUS, SPLITS, task_digest

Write = Callable[..., str]


@pytest.fixture
def table(record: Callable[..., Path], tmp_path: Path) -> Write:
    """A writer of manifests, each with recordings of its own, two utterances a split."""

    def write(name: str, splits: tuple[str, ...] = ("train", "valid", "test"), **more: Any) -> str:
        rows = [
            {
                "audio_filepath": str(record(tmp_path / "audio" / f"{name}-{split}-{number}.wav")),
                "id": f"{split}-{number}",
                "text": f"{split} {'ab'[number]}",
                "speaker": f"{split}-{number}",
                "split": split,
                **more,
            }
            for split in splits
            for number in range(2)
        ]
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return f"manifest:{path}"

    return write


def test_the_first_is_chosen_and_tested_on_and_all_are_trained_on(table: Write) -> None:
    first, second = table("first"), table("second", (*SPLITS,))
    alone, corpus = load_corpus(parse_corpus(first)), load_corpus(parse_corpus(f"{first}+{second}"))
    assert corpus.name == "manifest+manifest-2"
    assert [(u.id, u.speaker) for u in corpus.split("train")] == [
        ("train-0", "train-0"),
        ("train-1", "train-1"),
        ("manifest-2:train-0", "manifest-2:train-0"),
        ("manifest-2:train-1", "manifest-2:train-1"),
    ]
    for split in ("valid", "test", "watch"):
        own = [(u.id, u.speaker, u.audio) for u in alone.split(split)]
        assert [(u.id, u.speaker, u.audio) for u in corpus.split(split)] == own
    labels = [u.attributes[CORPUS] for u in corpus.utterances]
    assert labels == ["manifest"] * 6 + ["manifest-2"] * 2
    assert CORPUS not in alone.utterances[0].attributes
    assert corpus.notes[0] == (
        "trained on the utterances of manifest (2) and manifest-2 (2); valid and test are those of "
        "manifest alone"
    )


def test_the_digest_begins_with_that_of_the_first_alone(table: Write) -> None:
    first, second, third = map(table, ("first", "second", "third"))
    alone, two, other, three = (
        load_corpus(parse_corpus("+".join(parts))).digest
        for parts in ((first,), (first, second), (first, third), (first, second, third))
    )
    assert {task_digest(d) for d in (alone, two, other, three)} == {alone}
    assert len({alone, two, other, three}) == 4
    assert len(two) == 33  # MLflow takes 36 characters
    scored = load_corpus(parse_corpus(f"{first}+{second}"), splits=("test",))
    assert scored.digest == load_corpus(parse_corpus(first), splits=("test",)).digest
    assert scored.notes == ()


def test_text_of_test_in_an_added_corpus_is_leakage(table: Write) -> None:
    first, second = table("first"), table("second", ("train",), text="Test b")
    found = load_corpus(parse_corpus(f"{first}+{second}"))
    assert found.leakage == {"train/test same text": 1}


def test_speakers_of_one_name_are_told_of(table: Write) -> None:
    first, second = table("first"), table("second", ("train",), speaker="test-1")
    found = load_corpus(parse_corpus(f"{first}+{second}"))
    assert found.leakage == {}, "two corpora know nothing of each other's names"
    assert found.notes[1:] == (
        "manifest-2: 1 of its speakers are named like speakers of valid or test, and count as "
        "other people",
    )


def test_an_attribute_of_the_corpus_is_stronger(table: Write) -> None:
    first, second = table("first", corpus="own"), table("second")
    found = load_corpus(parse_corpus(f"{first}+{second}"))
    assert found.utterances[0].attributes[CORPUS] == "own"


def test_what_one_corpus_alone_has_shown_is_not_examined_again(
    table: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = table("first"), table("second")
    joined = load_corpus(parse_corpus(f"{first}+{second}"))
    monkeypatch.setattr(examination, "_examined", None)
    assert load_corpus(parse_corpus(f"{first}+{second}")) == joined
    load_corpus(parse_corpus(first))
    load_corpus(parse_corpus(second), splits=("train",))


def test_the_first_may_be_without_a_train_split(table: Write) -> None:
    corpus = load_corpus(parse_corpus(f"{table('first', ('valid', 'test'))}+{table('second')}"))
    require_splits(corpus, ("train", "valid", "test"), "a study")


def test_one_without_a_train_split_adds_nothing(table: Write) -> None:
    first, second = table("first"), table("second", ("valid", "test"))
    with pytest.raises(UserError, match=r"^manifest-2 adds its train split to manifest, and has n"):
        load_corpus(parse_corpus(f"{first}+{second}"))


def test_a_first_without_a_test_split_is_told_apart_from_the_others(table: Write) -> None:
    corpus = load_corpus(parse_corpus(f"{table('first', ('train', 'valid'))}+{table('second')}"))
    with pytest.raises(
        UserError,
        match=r"^a study needs a test split, but corpus manifest\+manifest-2 has none \(got train "
        r"4, valid 2; left out of test: 0\); name a corpus that has one first",
    ):
        require_splits(corpus, ("train", "valid", "test"), "a study")


def test_faults_of_an_added_corpus_are_named_with_it(table: Write) -> None:
    first, second = table("first"), table("second", text="7")
    with pytest.raises(UserError, match=r"corpus 'manifest\+manifest-2'.*'manifest-2:train-0' has"):
        load_corpus(parse_corpus(f"{first}+{second}"))
    kept = load_corpus(parse_corpus(f"{first}+{second}", text="drop"))
    assert [item.id for item in kept.left_out] == ["manifest-2:train-0", "manifest-2:train-1"]
    assert kept.digest == load_corpus(parse_corpus(first)).digest


def test_columns_are_those_of_every_table(table: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = table("first", said="x"), table("second", said="y")
    plain = CORPORA["manifest"]
    no_table = type(plain)(name="kaldi", summary="s", source="s", read=plain.read)
    config = parse_corpus(f"{first}+{second}", columns="text=said")
    assert {u.text for u in load_corpus(config).split("train")} == {"x", "y"}
    monkeypatch.setitem(CORPORA, "kaldi", no_table)
    other = second.replace("manifest", "kaldi", 1)
    config = parse_corpus(f"{first}+{other}", columns="text=said")
    texts = [u.text for u in load_corpus(config).split("train")]
    assert texts == ["x", "x", "train a", "train b"]
    with pytest.raises(UserError, match=r"^--columns goes with corpora that are tables"):
        load_corpus(parse_corpus(f"{other}+spoken-tiny", columns="text=said"))


def test_a_joined_config_survives_json_and_its_own_words(tmp_path: Path) -> None:
    given = f"kaldi:{tmp_path}+spoken+an4:/data/an4+kaldi:/x"
    config = parse_corpus(given, channel=1)
    assert config == CorpusConfig(
        name="kaldi",
        path=str(tmp_path),
        added=("spoken", "an4:/data/an4", "kaldi:/x"),
        channel=1,
    )
    assert config.given == given
    assert from_dict(CorpusConfig, to_dict(config)) == config
    assert list(config.parts) == ["kaldi", "spoken", "an4", "kaldi-2"]
    assert config.parts["kaldi-2"] == CorpusConfig(name="kaldi", path="/x", channel=1)
    assert config.title == "kaldi+spoken+an4+kaldi-2"
    assert CorpusConfig(name="an4").title == "an4"


READINGS: Mapping[str, list[str]] = {
    "spoken": ["spoken"],
    "spoken+an4": ["spoken", "an4"],
    "manifest:{}/a": ["manifest:{}/a"],
    "manifest:{}/none": ["manifest:{}/none"],
    "manifest:{}/a+b": ["manifest:{}/a+b"],
    "manifest:{}/a+b+spoken": ["manifest:{}/a+b", "spoken"],
    "spoken+manifest:{}/a+b": ["spoken", "manifest:{}/a+b"],
    "manifest:{}/a+spoken": ["manifest:{}/a", "spoken"],
    "manifest:{}/c+spoken": ["manifest:{}/c+spoken"],
    "manifest:{}/none+spoken": ["manifest:{}/none", "spoken"],
    "manifest:{}/c+spoken+kaldi:{}/a": ["manifest:{}/c+spoken", "kaldi:{}/a"],
    "foo:{}/a+spoken": ["foo:{}/a", "spoken"],
}


@pytest.mark.parametrize("given", READINGS)
def test_a_plus_in_a_path_stays_in_it(given: str, tmp_path: Path) -> None:
    for name in ("a", "a+b", "c+spoken"):
        (tmp_path / name).touch()
    expected = [part.format(tmp_path) for part in READINGS[given]]
    assert split_joined(given.replace("{}", str(tmp_path)), CORPORA) == expected


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ("manifest:{}/d+spoken", "means manifest:.*/d and spoken or manifest:.*/d.spoken, and all"),
        ("manifest:{}/none+b", "'b' is no corpus, and no path with that plus exists; known: an4"),
        ("manifest:{}/d+spokn", "'spokn' is no corpus, .* exists; did you mean spoken"),
        ("spoken+", "'' is no corpus"),
        ("spoken++an4", "'' is no corpus"),
        ("+spoken", r"reads NAME\[:PATH\], got ''"),
        ("spoken+/data/mine", "'/data/mine' is no corpus"),
        ("foo+spoken", "unknown corpus 'foo'"),
        ("spoken+an4+spoken", "a corpus is joined once, got spoken twice; leave one out"),
        ("manifest:{}/d+manifest:{}/d", "joined once, got manifest:.*/d twice"),
        ("spoken+hf:https://x.y/z", "names a file or folder of this machine, got the address"),
    ],
)
def test_what_cannot_be_read_is_one_line(given: str, error: str, tmp_path: Path) -> None:
    for name in ("d", "d+spoken"):
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=error) as caught:
        parse_corpus(given.replace("{}", str(tmp_path)))
    assert "\n" not in str(caught.value)
