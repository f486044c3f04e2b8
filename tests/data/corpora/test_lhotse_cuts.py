"""Manifests are made here, by the library whose format is read."""

import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.core.errors import UserError
from bench.data.audio import read_utterance
from bench.data.corpora import CORPORA, CorpusConfig, load_corpus
from bench.data.corpora.spec import Listing
from bench.data.utterance import Corpus, Snippet

lhotse = pytest.importorskip("lhotse")

Record = Callable[..., Path]


def said(id: str, text: str, start: float = 0.0, seconds: float = 1.0, **more: Any) -> Any:
    return lhotse.SupervisionSegment(
        id=id, recording_id="r", start=start, duration=seconds, text=text, **more
    )


def cut(audio: Path, *supervisions: Any, start: float = 0.0, seconds: float = 1.0) -> Any:
    recording = lhotse.Recording.from_file(audio)
    return lhotse.MonoCut(
        id=f"cut-{audio.stem}-{start:g}", start=start, duration=seconds, channel=0,
        recording=recording, supervisions=list(supervisions),
    )  # fmt: skip


def write(file: Path, *cuts: Any) -> Path:
    lhotse.CutSet.from_cuts(cuts).to_file(file)
    return file


def listed(path: Path) -> Listing:
    return CORPORA["lhotse"].listing(CorpusConfig.parse(f"lhotse:{path}"))


def loaded(path: Path, **flags: str) -> Corpus:
    return load_corpus(CorpusConfig.parse(f"lhotse:{path}", **flags))


@pytest.fixture
def root(tmp_path: Path, record: Record) -> Path:
    long = record(tmp_path / "long.wav", 3.0)
    other, third = record(tmp_path / "b.wav", 1.0), record(tmp_path / "c.wav", 1.0)
    write(
        tmp_path / "cuts_train.jsonl.gz",
        cut(long, said("t1", "Red, we said.", 0.25, 0.5, speaker="ann", gender="f",
                       custom={"age": 30, "words": [1, 2]}),
            said("t2", "And under", 0.75, 0.5, speaker="bob"), start=0.5, seconds=1.0),
        cut(long, start=2.0),
    )  # fmt: skip
    write(tmp_path / "cuts_dev.jsonl", cut(other, said("v1", "the red", language="English")))
    write(tmp_path / "cuts_test.jsonl.gz", cut(third, said("e1", "boat", speaker="ann")))
    return tmp_path


def test_supervisions_are_utterances(root: Path) -> None:
    listing = listed(root)
    assert [(r.id, r.split, r.speaker, r.text, dict(r.attributes)) for r in listing.rows] == [
        ("t1", "train", "ann", "Red, we said.", {"gender": "f", "age": "30"}),
        ("t2", "train", "bob", "And under", {}),
        ("v1", "valid", "unknown-v1", "the red", {"language": "English"}),
        ("e1", "test", "ann", "boat", {}),
    ]
    # The second supervision goes on after its cut, which ends at 1.5 s.
    assert [row.snippet for row in listing.rows] == [
        Snippet(start_seconds=0.75, seconds=0.5), Snippet(start_seconds=1.25, seconds=0.25),
        None, None,
    ]  # fmt: skip
    assert [row.claimed_seconds for row in listing.rows] == [None, None, 1.0, 1.0]
    assert listing.notes == (
        "1 utterances name no speaker: each counts as a speaker of its own",
        "1 cuts have no supervision and are not read",
    )


def test_samples_are_those_that_lhotse_cuts_out(root: Path) -> None:
    corpus = loaded(root)
    assert corpus.leakage == {"train/test same speaker": 1}
    whole = next(iter(lhotse.CutSet.from_jsonl_lazy(root / "cuts_train.jsonl.gz")))
    theirs = whole.truncate(offset=0.25, duration=0.5)
    ours = read_utterance(corpus.split("train")[0], 16_000)
    np.testing.assert_array_equal(ours.numpy(), theirs.load_audio()[0])


def test_the_channel_of_a_cut(tmp_path: Path, record: Record) -> None:
    stereo, mono = record(tmp_path / "two.wav", 1.0, 2), record(tmp_path / "one.wav", 1.0)
    both = lhotse.Recording.from_file(stereo)
    # A third channel of the recording is a file of its own.
    source = lhotse.AudioSource(type="file", channels=[2], source=str(mono))
    three = replace(both, sources=[*both.sources, source], channel_ids=[0, 1, 2])
    cuts = [
        replace(
            cut(stereo, said(f"u{channel}", "red")),
            recording=three,
            channel=channel,
            id=f"c{channel}",
        )
        for channel in (1, 2)
    ]
    corpus = loaded(write(tmp_path / "train.jsonl", *cuts))
    assert [(u.audio.name, u.channel) for u in corpus.utterances] == [
        ("two.wav", 1), ("one.wav", None),
    ]  # fmt: skip
    np.testing.assert_array_equal(
        read_utterance(corpus.utterances[0], 16_000).numpy(), cuts[0].load_audio()[0]
    )


def test_one_file_whose_supervisions_name_their_split(tmp_path: Path, record: Record) -> None:
    audio = record(tmp_path / "a.wav", 2.0)
    parts = [
        cut(audio, said(split, "red", custom={"split": split}), start=start)
        for split, start in (("train", 0.0), ("Dev", 1.0))
    ]
    rows = listed(write(tmp_path / "all.jsonl", *parts)).rows
    assert [(row.id, row.split) for row in rows] == [("train", "train"), ("Dev", "valid")]
    plain = write(tmp_path / "some.jsonl", cut(audio, said("x", "red")))
    with pytest.raises(UserError, match=r"some\.jsonl:1: the row names no split"):
        listed(plain)


def test_relative_paths_begin_at_the_manifest(
    tmp_path: Path, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(tmp_path / "corpus/wav/a.wav", 1.0)
    record(tmp_path / "here/wav/b.wav", 1.0)
    monkeypatch.chdir(tmp_path / "corpus")
    first = cut(Path("wav/a.wav"), said("a", "red"))
    monkeypatch.chdir(tmp_path / "here")
    second = cut(Path("wav/b.wav"), said("b", "boat"))
    write(tmp_path / "corpus/train.jsonl", first, second)
    assert [u.id for u in loaded(tmp_path / "corpus/train.jsonl").utterances] == ["a", "b"]


def test_faults_of_audio_and_text_are_listed(root: Path) -> None:
    (root / "b.wav").write_bytes(b"no audio")
    (root / "c.wav").unlink()
    with pytest.raises(UserError, match=r"2 of 4 utterances .* cannot be used: .*'v1'.*'e1'"):
        loaded(root)
    assert [u.id for u in loaded(root, audio="drop").utterances] == ["t1", "t2"]


def odd_cuts(whole: Any) -> dict[str, tuple[Any, str]]:
    def sourced(**changes: Any) -> Any:
        source = replace(whole.recording.sources[0], **changes)
        return replace(whole, recording=replace(whole.recording, sources=[source]))

    def spoken(**changes: Any) -> Any:
        return replace(whole, supervisions=[replace(whole.supervisions[0], **changes)])

    return {
        "mixed": (whole.mix(whole, snr=3), r":1: a cut is one channel .*, got MixedCut '.*; make"),
        "padded": (whole.pad(4.0), ", got MixedCut"),
        "faster": (whole.perturb_speed(1.1), r"is changed \(1 transforms\); make cuts of"),
        "command": (sourced(type="command", source="rm -r x"), "is a command, which is not run"),
        "address": (sourced(type="url", source="https://a/b.wav"), "is a url, which is not run"),
        "channel": (sourced(channels=[3]), "has no channel 0; correct the cut"),
        "no text": (spoken(text=None), "supervision 's' has no text, got None; transcribe or"),
        "outside": (spoken(start=7.0), "'s' lies outside its cut, from 7 to 8 of 1 s; correct"),
        "features": (replace(whole, recording=None), "has no recording, only features"),
    }


@pytest.mark.parametrize("case", ["mixed", "padded", "faster", "command", "address", "channel",
                                  "no text", "outside", "features"])  # fmt: skip
def test_what_is_no_recording_as_it_was_made(case: str, tmp_path: Path, record: Record) -> None:
    whole = cut(record(tmp_path / "a.wav", 1.0), said("s", "red"))
    odd, pattern = odd_cuts(whole)[case]
    with pytest.raises(UserError, match=pattern) as caught:
        listed(write(tmp_path / "train.jsonl", odd))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("line", ['{"a": 1}', "nonsense", '{"type": "MonoCut"}', "[]"])
def test_a_damaged_line_is_named(line: str, root: Path) -> None:
    file = root / "cuts_train.jsonl.gz"
    good = gzip.decompress(file.read_bytes()).decode().splitlines()[0]
    file.write_bytes(gzip.compress(f"{good}\n{line}\n".encode()))
    with pytest.raises(UserError, match=r"cuts_train\.jsonl\.gz:2: (Lhotse cannot read|a cut is)"):
        listed(root)


def test_a_folder_without_manifests(tmp_path: Path) -> None:
    (tmp_path / "librispeech_cuts_train-clean-5.jsonl.gz").touch()
    with pytest.raises(UserError, match=r"no cuts_train, .* holds librispeech_cuts_.*; rename the"):
        listed(tmp_path)
    write(tmp_path / "cuts_train.jsonl")
    with pytest.raises(UserError, match="has no cuts with a supervision"):
        listed(tmp_path)


def test_the_extra_is_named_where_it_is_missing(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lhotse", None)
    with pytest.raises(
        UserError, match=r"not installed .*pip install 'deepspeech-bench\[lhotse\]'"
    ):
        listed(root)


def test_columns_go_with_tables(root: Path) -> None:
    config = CorpusConfig.parse(f"lhotse:{root}", columns="text=words")
    with pytest.raises(UserError, match=r"--columns goes with .* \(manifest, hf\), got lhotse"):
        load_corpus(config)


def test_the_command_checks_it(root: Path) -> None:
    command = [sys.executable, "-m", "bench.check", "--corpus", f"lhotse:{root}", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["splits"]["train"]["utterances"] == 2
