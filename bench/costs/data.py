"""The data that measurements train on: a representative excerpt of a corpus, and corpora with
longer utterances, since the cost of training depends on their length."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import soundfile
import torch
from torch import Tensor

from bench.core.config import digest
from bench.core.errors import UserError
from bench.data.audio import read_utterance
from bench.data.batches import Dataset, feasible_subset
from bench.data.store import FeatureStore, open_store
from bench.data.units import Units, units_of
from bench.data.utterance import Corpus, Utterance
from bench.training.config import RunConfig, build_model
from bench.training.loop import TrainingData
from variants.spec import AcousticModel

T = TypeVar("T")

CONCATENATED_RATE_HZ = 16_000
"""Sample rate of concatenated recordings."""


def network_and_excerpt(
    config: RunConfig, corpus: Corpus, minutes: float
) -> tuple[AcousticModel, TrainingData]:
    """The network of `config` with its initial weights, and the `excerpt` of `corpus`.

    Each process of a measurement calls this, so all train the same network on the same data.
    """
    model = build_model(config)
    units = units_of(config.units, (u.text for u in corpus.split("train")))
    store = open_store(corpus, config.features)
    return model, excerpt(
        corpus, store, minutes=minutes, output_lengths=model.output_lengths, units=units
    )


def excerpt(
    corpus: Corpus,
    store: FeatureStore,
    *,
    minutes: float,
    output_lengths: Callable[[Tensor], Tensor],
    units: Units,
) -> TrainingData:
    """About `minutes` of the training audio, with the same distribution of lengths as the whole.

    The valid and watch splits shrink by the same factor, so an evaluation takes the same share of
    an epoch as with the whole corpus. Training utterances with fewer output frames than CTC needs
    are excluded; `output_lengths` maps numbers of input frames to numbers of output frames.

    Raises:
        UserError: no training utterance remains.
    """
    train, _ = feasible_subset(Dataset(corpus.split("train"), store, units), output_lengths)
    if not len(train):
        raise UserError(
            f"corpus {corpus.name} must have a train utterance with at least as many output frames "
            "as CTC needs for its text, has none; choose another corpus"
        )
    share = min(1.0, 60 * minutes / train.seconds)

    def part(utterances: Sequence[Utterance]) -> Dataset:
        by_length = sorted(utterances, key=lambda utterance: (utterance.seconds, utterance.id))
        return Dataset(evenly_spaced(by_length, share), store, units)

    return TrainingData(
        train=part(train.utterances),
        valid=part(corpus.split("valid")),
        watch=part(corpus.split("watch")),
    )


def evenly_spaced(items: Sequence[T], share: float) -> list[T]:
    """A `share` of `items` at equal distances; at least one unless `items` is empty."""
    num_taken = max(1, round(share * len(items))) if items else 0
    # Item k is the middle of the k-th of num_taken equal segments.
    return [items[(2 * k + 1) * len(items) // (2 * num_taken)] for k in range(num_taken)]


def concatenated_utterances(corpus: Corpus, seconds: float, folder: Path) -> Corpus:
    """`corpus` with consecutive utterances of a split concatenated to at least `seconds` each.

    The recordings are written to `folder`. The watch split is unchanged. A shorter remainder at
    the end of a split is dropped, unless it is the whole split.
    """
    folder.mkdir(parents=True)
    utterances: list[Utterance] = []
    for split in ("train", "valid", "test"):
        for number, group in enumerate(_groups(corpus.split(split), seconds)):
            utterances.append(_concatenated(group, folder / f"{split}-{number:05d}.flac"))
    utterances += corpus.split("watch")
    return replace(
        corpus,
        utterances=tuple(utterances),
        digest=digest([corpus.digest, "concatenated", seconds]),
    )


def _groups(utterances: Sequence[Utterance], seconds: float) -> Iterator[list[Utterance]]:
    group: list[Utterance] = []
    any_complete = False
    for utterance in utterances:
        group.append(utterance)
        if sum(u.seconds for u in group) >= seconds:
            yield group
            group, any_complete = [], True
    if group and not any_complete:
        yield group


def _concatenated(group: Sequence[Utterance], path: Path) -> Utterance:
    """One utterance with the audio and text of `group`; its recording is written to `path`."""
    samples_N = torch.cat([read_utterance(u, CONCATENATED_RATE_HZ) for u in group])
    soundfile.write(path, samples_N.numpy(), CONCATENATED_RATE_HZ, subtype="PCM_16")
    return Utterance(
        id=path.stem,
        audio=path,
        sample_rate_hz=CONCATENATED_RATE_HZ,
        channel=None,
        text=" ".join(u.text for u in group),
        speaker=group[0].speaker,
        split=group[0].split,
        seconds=len(samples_N) / CONCATENATED_RATE_HZ,
        audio_digest=hashlib.sha256(path.read_bytes()).hexdigest()[:16],
    )
