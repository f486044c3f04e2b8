"""The feature store: what it holds, when it is built, and what happens to a broken one."""

import errno
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile
import torch

import bench.data.store
from bench.core.errors import UserError
from bench.data.audio import read_audio
from bench.data.features import STD_FLOOR, FeatureConfig, compute, log_power
from bench.data.store import FeatureStore, open_store
from bench.data.utterance import Corpus, Snippet

CONFIG = FeatureConfig(num_bins=20)

BUILDER = """
import os, pickle, sys, time
import soundfile
import torch
torch.set_num_threads(1)
import bench.data.store as store
from bench.data.features import FeatureConfig

compute, pause = store.compute, float(sys.argv[2])

def slow(*arguments):
    time.sleep(pause)
    os.write(log, b".")
    return compute(*arguments)

log = os.open(os.environ["COMPUTED"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
store.compute = slow
with open(sys.argv[1], "rb") as file:
    corpus = pickle.load(file)
print("asking", flush=True)
opened = store.open_store(corpus, FeatureConfig(num_bins=20))
print(len(opened.ids), opened.read(opened.row(corpus.utterances[-1].id)).sum())
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "features"


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one for each utterance whose features are computed."""
    calls: list[int] = []

    def counting(*arguments: object) -> torch.Tensor:
        calls.append(1)
        return compute(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(bench.data.store, "compute", counting)
    return calls


def waveform(corpus: Corpus, index: int) -> torch.Tensor:
    return read_audio(corpus.utterances[index].audio, channel=None, sample_rate_hz=16_000)


def start_builder(corpus: Corpus, folder: Path, pause: float) -> subprocess.Popen[str]:
    """A process that opens the store, `pause` seconds for each utterance."""
    (folder / "corpus").write_bytes(pickle.dumps(corpus))
    return subprocess.Popen(
        [sys.executable, "-c", BUILDER, str(folder / "corpus"), str(pause)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "COMPUTED": str(folder / "computed")},
        cwd=Path(bench.data.store.__file__).parents[2],
    )


def test_holds_what_compute_gives(tone_corpus: Corpus) -> None:
    store = open_store(tone_corpus, CONFIG)
    assert store.ids == tuple(utterance.id for utterance in tone_corpus.utterances)
    for index, utterance in enumerate(tone_corpus.utterances):
        expected = compute(waveform(tone_corpus, index), CONFIG).numpy()
        feats = store.read(store.row(utterance.id))
        assert feats.dtype == np.float16
        assert store.lengths[store.row(utterance.id)] == store.lengths[index] == len(expected)
        np.testing.assert_allclose(feats, expected, rtol=2**-10, atol=1e-6)


def snippets_of(corpus: Corpus, path: Path) -> Corpus:
    """The corpus with its recordings end to end in one file, each utterance a part of it."""
    start, cut, pieces = 0, [], []
    for utterance in corpus.utterances:
        pieces.append(soundfile.read(utterance.audio, dtype="int16")[0])
        snippet = Snippet(start_seconds=start / 16_000, seconds=utterance.seconds)
        cut.append(replace(utterance, audio=path, snippet=snippet))
        start += len(pieces[-1])
    soundfile.write(path, np.concatenate(pieces), 16_000)
    return replace(corpus, utterances=tuple(cut), digest="snippets")


def test_the_features_of_snippets_are_those_of_the_parts(
    tone_corpus: Corpus, tmp_path: Path
) -> None:
    whole = open_store(tone_corpus, FeatureConfig())
    cut = open_store(snippets_of(tone_corpus, tmp_path / "all.flac"), FeatureConfig())
    for utterance in tone_corpus.utterances:
        np.testing.assert_array_equal(
            cut.read(cut.row(utterance.id)), whole.read(whole.row(utterance.id))
        )


def test_given_statistics_need_no_train_split(tone_corpus: Corpus) -> None:
    config = FeatureConfig(normalize="corpus")
    stats = open_store(tone_corpus, config).stats
    assert stats
    test = replace(tone_corpus, utterances=tone_corpus.split("test"), digest="test only")
    store = open_store(test, config, stats=stats)
    whole = open_store(tone_corpus, config)
    for id in store.ids:
        np.testing.assert_array_equal(store.read(store.row(id)), whole.read(whole.row(id)))
    other = replace(stats, std=tuple(2 * value for value in stats.std))
    assert open_store(test, config, stats=other).digest != store.digest


def test_is_built_once_and_opened_again(tone_corpus: Corpus, computed: list[int]) -> None:
    first = open_store(tone_corpus, CONFIG)
    again = open_store(tone_corpus, CONFIG)
    assert len(computed) == len(tone_corpus.utterances)
    assert (first.digest, first.config, first.ids) == (again.digest, again.config, again.ids)


def test_is_keyed_by_corpus_config_and_version(
    tone_corpus: Corpus, monkeypatch: pytest.MonkeyPatch, computed: list[int], cache: Path
) -> None:
    names = {open_store(tone_corpus, CONFIG).digest}
    names.add(open_store(tone_corpus, replace(CONFIG, hop_ms=20.0)).digest)
    fewer = replace(tone_corpus, utterances=tone_corpus.utterances[:3], digest="tones-2")
    names.add(open_store(fewer, CONFIG).digest)
    monkeypatch.setattr(bench.data.store, "FEATURES_VERSION", 999)
    names.add(open_store(tone_corpus, CONFIG).digest)
    assert len(names) == 4
    assert {path.name for path in cache.iterdir() if path.is_dir()} == names
    assert len(computed) == 3 * len(tone_corpus.utterances) + 3


def test_corpus_statistics_are_those_of_the_train_split(tone_corpus: Corpus) -> None:
    config = replace(CONFIG, normalize="corpus")
    store = open_store(tone_corpus, config)
    train = [i for i, u in enumerate(tone_corpus.utterances) if u.split == "train"]
    raw = torch.cat([log_power(waveform(tone_corpus, index), config) for index in train]).double()
    std, mean = torch.std_mean(raw, dim=0, correction=0)
    assert store.stats is not None
    np.testing.assert_allclose(store.stats.mean, mean, rtol=1e-6)
    np.testing.assert_allclose(store.stats.std, std, rtol=1e-6)
    stored = np.concatenate([store.read(index) for index in train])
    np.testing.assert_allclose(stored, (raw - mean) / std.clamp(min=STD_FLOOR), atol=5e-3)
    reopened = open_store(tone_corpus, config)
    assert reopened.stats == store.stats


def test_corpus_statistics_need_a_train_split(tone_corpus: Corpus, cache: Path) -> None:
    tests_only = replace(tone_corpus, utterances=tone_corpus.split("test"))
    with pytest.raises(UserError, match=r"needs a train split.*set features.normalize=utterance"):
        open_store(tests_only, replace(CONFIG, normalize="corpus"))
    assert not [path for path in cache.iterdir() if path.is_dir()]


@pytest.mark.parametrize("normalize, total", [("utterance", 19), ("corpus", 29)])
def test_progress_counts_to_the_total(tone_corpus: Corpus, normalize: str, total: int) -> None:
    told: list[tuple[int, int]] = []
    config = FeatureConfig(num_bins=20, normalize=normalize)  # type: ignore[arg-type]
    open_store(tone_corpus, config, progress=lambda done, of: told.append((done, of)))
    assert told == [(done, total) for done in range(1, total + 1)]


def cut_short(folder: Path) -> None:
    with (folder / "feats.f16").open("r+b") as file:
        file.truncate(1000)


def drop_marker(folder: Path) -> None:
    (folder / ".completed").unlink()


def ruin_meta(folder: Path) -> None:
    (folder / "meta.json").write_text("{")


def ruin_config(folder: Path) -> None:
    (folder / "meta.json").write_text(json.dumps({"config": {"colour": 1}, "stats": None}))


def ruin_index(folder: Path) -> None:
    (folder / "num_frames.npy").write_bytes(b"")


def rename_utterance(folder: Path) -> None:
    text = (folder / "ids.json").read_text()
    (folder / "ids.json").write_text(text.replace("train-0", "train-x"))


@pytest.mark.parametrize(
    "damage", [cut_short, drop_marker, ruin_meta, ruin_config, ruin_index, rename_utterance]
)
def test_a_damaged_store_is_built_anew(
    tone_corpus: Corpus,
    computed: list[int],
    cache: Path,
    damage: object,
    caplog: pytest.LogCaptureFixture,
) -> None:
    whole = open_store(tone_corpus, CONFIG)
    feats = whole.read(whole.row("test-0"))
    damage(cache / whole.digest)  # type: ignore[operator]
    mended = open_store(tone_corpus, CONFIG)
    assert caplog.text.count("is damaged; it is built anew") == 1
    assert len(computed) == 2 * len(tone_corpus.utterances)
    assert mended.ids == whole.ids
    assert np.array_equal(mended.read(mended.row("test-0")), feats)


def test_a_store_cut_short_while_in_use_gives_no_frames_less(
    tone_corpus: Corpus, cache: Path
) -> None:
    store = open_store(tone_corpus, CONFIG)
    cut_short(cache / store.digest)
    with pytest.raises(ValueError, match="reshape"):
        store.read(store.row("test-0"))


def test_two_processes_at_once_build_one_store(tone_corpus: Corpus, tmp_path: Path) -> None:
    builders = [start_builder(tone_corpus, tmp_path, pause=0.1) for _ in range(2)]
    outputs = [builder.communicate(timeout=60)[0].splitlines() for builder in builders]
    assert [builder.returncode for builder in builders] == [0, 0]
    assert outputs[0] == outputs[1]
    assert outputs[0][1].startswith("19 ")
    assert (tmp_path / "computed").stat().st_size == len(tone_corpus.utterances)


def test_what_a_killed_build_left_is_built_anew(
    tone_corpus: Corpus, tmp_path: Path, cache: Path, computed: list[int]
) -> None:
    builder = start_builder(tone_corpus, tmp_path, pause=0.3)
    deadline = time.monotonic() + 60
    while not list(cache.glob("*.partial/feats.f16")):
        assert time.monotonic() < deadline
        assert builder.poll() is None
        time.sleep(0.02)
    os.kill(builder.pid, signal.SIGKILL)
    builder.communicate()
    assert list(cache.glob("*.partial"))
    store = open_store(tone_corpus, CONFIG)
    assert len(computed) == len(tone_corpus.utterances)
    expected = compute(waveform(tone_corpus, 0), CONFIG).numpy()
    np.testing.assert_allclose(store.read(store.row("train-0")), expected, rtol=2**-10, atol=1e-6)
    assert not list(cache.glob("*.partial"))


def test_audio_that_cannot_be_read_leaves_nothing_behind(
    tone_corpus: Corpus, tmp_path: Path, cache: Path
) -> None:
    bad = replace(tone_corpus.utterances[5], audio=tmp_path / "gone.wav")
    corpus = replace(tone_corpus, utterances=(*tone_corpus.utterances[:5], bad))
    with pytest.raises(UserError, match=r"gone\.wav"):
        open_store(corpus, CONFIG)
    assert not [path for path in cache.iterdir() if path.is_dir()]


def test_a_disk_too_small_is_an_error_before_the_work(
    tone_corpus: Corpus, computed: list[int]
) -> None:
    long = replace(tone_corpus.utterances[0], seconds=1e12)
    with pytest.raises(UserError, match=r"take 4\d{6}\.\d GB, and .* free; set BENCH_CACHE"):
        open_store(replace(tone_corpus, utterances=(long,)), CONFIG)
    assert not computed


def test_a_disk_that_fills_up_is_the_users_to_mend(
    tone_corpus: Corpus, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(bench.data.store.os, "fsync", full)
    with pytest.raises(UserError, match=r"cannot be written .*No space left.*set BENCH_CACHE"):
        open_store(tone_corpus, CONFIG)
    assert not [path for path in cache.iterdir() if path.is_dir()]


def test_a_cache_that_cannot_be_made_is_the_users_to_mend(
    tone_corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"cannot be written .*Not a directory"):
        open_store(tone_corpus, CONFIG)


def test_torch_threads_are_as_before(tone_corpus: Corpus) -> None:
    torch.set_num_threads(2)
    try:
        open_store(tone_corpus, CONFIG)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def test_reading_leaves_memory_alone(tone_corpus: Corpus, cache: Path) -> None:
    """A sparse store of 1 GB is read whole; its pages never count as this process's own."""
    small = open_store(tone_corpus, FeatureConfig(num_bins=80))
    folder = cache / small.digest
    lengths = np.full(len(small.ids), 1_000_000_000 // len(small.ids) // 160, np.int64)
    np.save(folder / "num_frames.npy", lengths)
    with (folder / "feats.f16").open("wb") as file:
        file.truncate(int(lengths.sum()) * 160)
    store = FeatureStore(folder)
    store.read(0)  # what malloc keeps of one row is no growth
    before = psutil.Process().memory_info().rss
    for row in range(len(lengths)):
        feats = store.read(row)
        assert feats.shape == (lengths[row], 80)
        assert not feats.view(np.uint16).any()
    del feats
    assert psutil.Process().memory_info().rss - before < 100e6
