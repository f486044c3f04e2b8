"""The plan is tested without a synthesiser; samples on spoken-tiny, where the wheel is."""

import importlib.metadata
import os
import random
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import soundfile

from bench.core.config import digest
from bench.core.errors import OutOfHostMemoryError, UnwritableError, UserError
from bench.data.corpora import CorpusConfig, load_corpus, spoken
from bench.data.corpora.grammar import Grammar, draw_sentences, trigrams
from bench.data.corpora.spoken import SIZES, corpus_folder, plan
from bench.data.corpora.voices import ACCENTS, VARIANTS, Line
from bench.data.text import normalize, unknown_symbols

HUMAN_THINGS = "i am a human saying human things"


def by_split(name: str) -> dict[str, list[Line]]:
    lines = plan(SIZES[name])
    return {s: [x for x in lines if x.split == s] for s in ("train", "valid", "test", "watch")}


def words_of(lines: list[Line]) -> Counter[str]:
    return Counter(word for line in lines for word in line.text.split())


@pytest.mark.parametrize("name", SIZES)
def test_splits_share_neither_sentence_nor_voice_nor_timbre(name: str) -> None:
    splits = by_split(name)
    lines = [line for chosen in splits.values() for line in chosen]
    assert len({line.id for line in lines}) == len({line.text for line in lines}) == len(lines)
    for key in (lambda x: x.text, lambda x: x.voice.name, lambda x: x.voice.variant):
        sets = [{key(line) for line in chosen} for chosen in splits.values()]
        assert sum(map(len, sets)) == len(set.union(*sets))


@pytest.mark.parametrize("name", SIZES)
def test_every_word_that_is_tested_is_trained_on(name: str) -> None:
    splits = by_split(name)
    trained = words_of(splits["train"])
    least = {"valid": SIZES[name].min_train_count, "test": SIZES[name].min_train_count, "watch": 3}
    for split, count in least.items():
        assert not [word for word in words_of(splits[split]) if trained[word] < count]


@pytest.mark.parametrize("name", SIZES)
def test_the_watch_utterance_is_never_trained_on(name: str) -> None:
    splits = by_split(name)
    (watched,) = (x for x in splits["watch"] if x.id == "watch-human-things")
    assert watched.text == HUMAN_THINGS
    elsewhere = [x for split, lines in splits.items() if split != "watch" for x in lines]
    assert not any(trigrams(HUMAN_THINGS) & trigrams(x.text) for x in elsewhere)
    assert watched.voice.variant not in {x.voice.variant for x in elsewhere}


@pytest.mark.parametrize("name", SIZES)
def test_sentences_are_spelled_as_they_are_scored(name: str) -> None:
    for line in plan(SIZES[name]):
        assert normalize(line.text) == line.text
        assert not unknown_symbols(line.text)
        assert 3 <= len(line.text.split()) <= 12


def test_spoken_has_the_documented_size() -> None:
    splits = by_split("spoken")
    assert {split: len(lines) for split, lines in splits.items()} == {
        "train": 1040, "valid": 160, "test": 288, "watch": 3,
    }  # fmt: skip
    voices = {split: len({x.voice.name for x in lines}) for split, lines in splits.items()}
    assert voices == {"train": 232, "valid": 16, "test": 48, "watch": 1}
    assert len(words_of([x for lines in splits.values() for x in lines])) >= 400
    assert {x.voice.accent for x in splits["train"]} == set(ACCENTS)
    rates = {x.voice.words_per_minute for x in splits["train"]}
    assert 120 <= min(rates) < 130
    assert 160 < max(rates) <= 170


def test_a_fifth_of_valid_and_test_is_from_templates_that_train_has_not() -> None:
    splits = by_split("spoken")
    known = set[tuple[str, ...]]().union(*(trigrams(x.text) for x in splits["train"]))
    for split in ("valid", "test"):
        unseen = [x for x in splits[split] if x.templates == "unseen"]
        assert len(unseen) == round(0.2 * len(splits[split]))
        assert len({x.voice.name for x in unseen}) > len({x.voice.name for x in splits[split]}) / 2
        shared = {
            kind: np.mean(
                [
                    len(trigrams(x.text) & known) / len(trigrams(x.text))
                    for x in splits[split]
                    if x.templates == kind
                ]
            )
            for kind in ("trained", "unseen")
        }
        assert shared["unseen"] < 0.2 < 0.5 < shared["trained"]
    assert {x.templates for x in splits["train"]} == {"trained"}


def test_a_plan_changes_only_with_intent() -> None:
    """Results on another plan do not compare: a change here goes into CHANGELOG.md."""
    names = {name: digest([asdict(line) for line in plan(size)]) for name, size in SIZES.items()}
    assert names == {"spoken": "3dfe66b74eb47fde", "spoken-tiny": "c4a75607b34cd31d"}


def test_decks_use_every_phrase_before_any_twice() -> None:
    grammar = Grammar(
        templates=("{x} and {x}",), slots={"x": ("a", "b", "c", "d")}, watch={"no": "a and b"}
    )
    sentences = draw_sentences(grammar, 11, random.Random(0))
    assert len(set(sentences)) == 11
    assert "a and b" not in sentences
    assert not any(s.split(" and ")[0] == s.split(" and ")[1] for s in sentences)
    assert draw_sentences(grammar, 11, random.Random(0)) == sentences
    assert draw_sentences(grammar, 11, random.Random(1)) != sentences


def test_without_the_wheel_the_error_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(spoken, "version", missing)
    with pytest.raises(UserError, match=r"pip install 'deepspeech-bench\[spoken\]'"):
        load_corpus(CorpusConfig(name="spoken-tiny"))


def test_a_path_is_refused() -> None:
    with pytest.raises(UserError, match="takes no path, got '/data'; write --corpus spoken"):
        load_corpus(CorpusConfig(name="spoken", path="/data"))


def test_every_voice_is_in_the_wheel() -> None:
    loader = pytest.importorskip("espeakng_loader", reason="the extra `spoken` is not installed")
    files = {path.name for path in Path(loader.get_data_path(), "voices", "!v").iterdir()}
    assert {v for variants in VARIANTS.values() for v in variants} <= files


def test_tiny_is_audible_speech_of_plausible_length() -> None:
    pytest.importorskip("espeakng_loader", reason="the extra `spoken` is not installed")
    corpus = load_corpus(CorpusConfig(name="spoken-tiny"))
    counts = Counter(u.split for u in corpus.utterances)
    assert counts == {"train": 48, "valid": 10, "test": 10, "watch": 1}
    assert (corpus.left_out, corpus.leakage) == ((), {})
    assert 60 < sum(u.seconds for u in corpus.split("train")) < 100
    for u in corpus.utterances:
        samples, rate = soundfile.read(u.audio)
        assert (rate, u.seconds) == (16_000, len(samples) / rate)
        assert 0.01 < np.sqrt(np.mean(samples**2)) < 0.2
        assert np.abs(samples).max() < 1
        assert 5 < len(u.text) / u.seconds < 25  # slower than CTC at 33 frames per second


def test_synthesis_is_byte_identical_and_done_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("espeakng_loader", reason="the extra `spoken` is not installed")
    first = corpus_folder("spoken-tiny")
    spoken_lines: list[tuple[int, int]] = []
    corpus_folder("spoken-tiny", lambda done, total: spoken_lines.append((done, total)))
    assert spoken_lines == []
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path))
    second = corpus_folder("spoken-tiny", lambda done, total: spoken_lines.append((done, total)))
    assert spoken_lines == [(n, 69) for n in range(1, 70)]
    files = sorted(path.name for path in first.iterdir())
    assert files == sorted(path.name for path in second.iterdir())
    assert len(files) == 69 + 2
    for name in files:
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_a_failure_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("espeakng_loader", reason="the extra `spoken` is not installed")
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path))
    monkeypatch.setattr(spoken.sys, "executable", "/bin/false")
    with pytest.raises(
        UserError, match=r"could not speak the corpus \(status 1, last: no output\)"
    ):
        corpus_folder("spoken-tiny")
    assert not [path for path in (tmp_path / "spoken").iterdir() if path.is_dir()]


@pytest.mark.parametrize(
    ("code", "last", "error", "message"),
    [
        (os.EX_IOERR, "28", UnwritableError, r"No space left on device\); set BENCH_CACHE"),
        (os.EX_OSERR, "MemoryError: ", OutOfHostMemoryError, "while eSpeak NG spoke: MemoryError"),
        (1, "boom", UserError, r"could not speak the corpus \(status 1, last: boom\)"),
    ],
)
def test_a_synthesis_that_lacks_room_does_not_blame_its_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: int, last: str,
    error: type[UserError], message: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path))
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\necho 1\necho '{last}'\nexit {code}\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    with pytest.raises(error, match=message):
        corpus_folder("spoken-tiny")
    assert [path.suffix for path in (tmp_path / "spoken").iterdir()] == [".lock"]
