"""The feature store: the features of a whole corpus on disk, computed once and shared by every run.

A store is a folder ``features/<digest>`` of the cache: ``feats.f16`` (all utterances end to end,
float16 [frames, F]), ``num_frames.npy`` (int64 [utterances]), ``ids.json``, ``meta.json`` and,
written last, ``.completed``. It is read with pread, not memory-mapped: processes share the page
cache in both cases, but mapped pages would count as memory of the training process.
"""

import json
import logging
import math
import os
import shutil
import weakref
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.core.config import digest, from_dict, to_dict
from bench.core.console import ProgressCallback, ticker
from bench.core.cores import ordered_map, torch_threads
from bench.core.errors import UserError
from bench.core.files import exclusive_lock, write_json
from bench.core.paths import CACHE_VARIABLE, cache_root, writing_cache
from bench.data.audio import read_utterance
from bench.data.features import (
    FEATURES_VERSION,
    CorpusStats,
    FeatureConfig,
    compute,
    log_power,
)
from bench.data.utterance import Corpus, Utterance

log = logging.getLogger(__name__)


class FeatureStore:
    """Features of every utterance of a corpus, read from disk when asked for."""

    digest: str
    """Digest of the corpus, the feature config and the version of the features' code."""
    config: FeatureConfig
    stats: CorpusStats | None
    """The statistics of ``normalize="corpus"``; a recogniser needs them besides the config."""
    ids: tuple[str, ...]
    lengths: npt.NDArray[np.int64]
    """Frames of each utterance, in the order of `ids`."""

    def __init__(self, folder: Path) -> None:
        """Open the completed store in `folder`.

        Raises:
            ValueError and others: the folder does not hold a whole store.
        """
        if not (folder / ".completed").exists():
            raise ValueError("the marker .completed is missing")
        self._folder = folder
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        self.digest = folder.name
        self.config = from_dict(FeatureConfig, meta["config"])
        self.stats = from_dict(CorpusStats, meta["stats"]) if meta["stats"] else None
        self.ids = tuple(json.loads((folder / "ids.json").read_text(encoding="utf-8")))
        self.lengths = np.load(folder / "num_frames.npy")
        #     feats.f16    [ utterance 0, [T0, F] ][ utterance 1, [T1, F] ][ ...
        #     offsets      0                       T0                      T0 + T1      frames
        self._offsets = np.concatenate([[0], np.cumsum(self.lengths)])
        self._rows = {id: row for row, id in enumerate(self.ids)}
        self._file = os.open(folder / "feats.f16", os.O_RDONLY)
        weakref.finalize(self, os.close, self._file)
        size, expected = os.fstat(self._file).st_size, int(self._offsets[-1]) * self._frame_bytes
        if size != expected or len(self.lengths) != len(self.ids):
            raise ValueError(f"feats.f16 has {size} bytes where its index says {expected}")

    def __reduce__(self) -> tuple[type["FeatureStore"], tuple[Path]]:
        """Another process opens the folder again."""
        return FeatureStore, (self._folder,)

    def row(self, id: str) -> int:
        """The place of an utterance in `ids`, `lengths` and `read`."""
        return self._rows[id]

    def read(self, row: int) -> npt.NDArray[np.float16]:
        """Features [T, F] of one row, as stored."""
        size = int(self.lengths[row]) * self._frame_bytes
        data = os.pread(self._file, size, int(self._offsets[row]) * self._frame_bytes)
        return np.frombuffer(data, np.float16).reshape(self.lengths[row], self.config.num_bins)

    @property
    def _frame_bytes(self) -> int:
        return self.config.num_bins * 2


def open_store(
    corpus: Corpus,
    config: FeatureConfig,
    *,
    stats: CorpusStats | None = None,
    progress: ProgressCallback | None = None,
) -> FeatureStore:
    """The store of `corpus` under `config`, built first if the cache has none.

    Of several processes at the same time one builds the store and the others wait. An incomplete or
    damaged store is built anew.

    Args:
        corpus: the utterances.
        config: the features to compute.
        stats: statistics for ``normalize="corpus"``, for a network that was trained on another
            corpus; None: those of this corpus's train split.
        progress: called with (done, total) utterances.

    Raises:
        UserError: audio that cannot be read, too little disk space.
        UnwritableError: a cache that cannot be written, or that was full before all was written.
    """
    given = [] if stats is None else [asdict(stats)]
    key = digest([corpus.digest, to_dict(config), FEATURES_VERSION, *given])
    folder = cache_root() / "features" / key
    if (store := _open(folder, corpus)) is not None:
        return store
    with writing_cache(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = folder.with_suffix(".lock")
        say = partial(log.info, "another process is computing these features; waiting for it")
        with exclusive_lock(lock, patience_seconds=math.inf, on_wait=say):
            # The process that held the lock before may have built it meanwhile.
            if (store := _open(folder, corpus)) is None:
                if folder.exists():
                    log.warning("the feature store %s is damaged; it is built anew", folder)
                build_store(folder, corpus, config, stats, progress)
                store = _open(folder, corpus)
    assert store is not None, f"the store just built in {folder} cannot be opened"
    return store


def _open(folder: Path, corpus: Corpus) -> FeatureStore | None:
    if not folder.exists():
        return None
    try:
        # Everything that a damaged or half-copied folder may raise while it is read: it is rebuilt.
        store = FeatureStore(folder)
        if store.ids != tuple(utterance.id for utterance in corpus.utterances):
            raise ValueError("its utterances are not those of the corpus")
    except (ValueError, KeyError, TypeError, EOFError, OSError, UserError) as error:
        log.debug("the feature store %s is damaged: %s", folder, error)
        return None
    return store


def build_store(
    folder: Path,
    corpus: Corpus,
    config: FeatureConfig,
    stats: CorpusStats | None = None,
    progress: ProgressCallback | None = None,
) -> None:
    """Write the store of `corpus` to ``<folder>.partial`` utterance by utterance, then move it to
    `folder`; no other process may do so at the same time. Arguments as for `open_store`.

    Raises:
        UserError: audio that cannot be read, too little disk space.
        OSError: the folder cannot be written.
    """
    _check_space(folder.parent, corpus, config)
    unfinished = folder.with_suffix(".partial")
    # The caller has the lock, so an existing folder was left by a process that was killed.
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    try:
        needs_stats = config.normalize == "corpus" and stats is None
        train = corpus.split("train") if needs_stats else ()
        tick = ticker(progress, len(train) + len(corpus.utterances))
        # One thread: those of `ordered_map` occupy all cores already, and a single utterance is too
        # small to divide.
        with torch_threads(1):
            if needs_stats:
                stats = _corpus_stats(train, config, tick)
            with (unfinished / "feats.f16").open("wb") as file:
                lengths = _write_feats(file, corpus.utterances, config, stats, tick)
        np.save(unfinished / "num_frames.npy", np.array(lengths, np.int64))
        write_json(unfinished / "ids.json", [utterance.id for utterance in corpus.utterances])
        meta = {
            "corpus": corpus.name,
            "corpus_digest": corpus.digest,
            "config": to_dict(config),
            "version": FEATURES_VERSION,
            "stats": asdict(stats) if stats else None,
        }
        write_json(unfinished / "meta.json", meta)
        # Last, and moved as a whole: what is found under the final name is complete.
        (unfinished / ".completed").touch()
        shutil.rmtree(folder, ignore_errors=True)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _write_feats(
    file: IO[bytes],
    utterances: tuple[Utterance, ...],
    config: FeatureConfig,
    stats: CorpusStats | None,
    tick: Callable[[int], None],
) -> list[int]:
    """Append the features of each utterance to `file`; return their numbers of frames."""

    def compute_one(utterance: Utterance) -> npt.NDArray[np.float16]:
        return (
            compute(read_utterance(utterance, config.sample_rate_hz), config, stats).half().numpy()
        )

    lengths = []
    for feats in ordered_map(compute_one, utterances):
        file.write(feats.data)
        lengths.append(len(feats))
        tick(1)
    # The other files are small, and damaged ones are noticed when they are read; of this one only
    # the size is checked.
    file.flush()
    os.fsync(file.fileno())
    return lengths


def _corpus_stats(
    train: tuple[Utterance, ...], config: FeatureConfig, tick: Callable[[int], None]
) -> CorpusStats:
    """One pass over the train split for the mean and deviation of each bin."""

    def sums_of(utterance: Utterance) -> tuple[int, Tensor, Tensor]:
        feats_TF = log_power(read_utterance(utterance, config.sample_rate_hz), config).double()
        return len(feats_TF), feats_TF.sum(0), feats_TF.square().sum(0)

    if not train:
        raise UserError(
            "corpus normalisation needs a train split, and this corpus has none; "
            "set features.normalize=utterance"
        )
    count, sum_F, square_F = 0, torch.zeros(()).double(), torch.zeros(()).double()
    for num_frames, sums, squares in ordered_map(sums_of, train):
        count, sum_F, square_F = count + num_frames, sum_F + sums, square_F + squares
        tick(1)
    # Var(x) = E[x²] - E[x]². In float64: the sums run over millions of frames, and float32 would
    # lose the difference. Below 0 only by rounding, for a bin that is constant.
    mean_F = sum_F / count
    std_F = (square_F / count - mean_F.square()).clamp(min=0).sqrt()
    return CorpusStats(mean=tuple(mean_F.tolist()), std=tuple(std_F.tolist()))


def _check_space(folder: Path, corpus: Corpus, config: FeatureConfig) -> None:
    seconds = sum(utterance.seconds for utterance in corpus.utterances)
    needed = int(seconds * config.frames_per_second * config.num_bins * 2)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"the features of {seconds / 3600:.1f} h of audio take {needed / 1e9:.1f} GB, and "
            f"{folder} has {free / 1e9:.1f} GB free; set {CACHE_VARIABLE} to a larger disk"
        )
