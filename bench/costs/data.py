"""A small part of a corpus that trains as the whole does: the same lengths, in the same shares."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from torch import Tensor

from bench.core.errors import UserError
from bench.data.batches import Dataset, feasible_subset
from bench.data.store import FeatureStore, open_store
from bench.data.utterance import Corpus, Utterance
from bench.training.config import RunConfig, build_model
from bench.training.loop import TrainingData
from variants.spec import AcousticModel

T = TypeVar("T")


def network_and_excerpt(
    config: RunConfig, corpus: Corpus, minutes: float
) -> tuple[AcousticModel, TrainingData]:
    """What every contender and worker trains: the network as `config` has it at its first step,
    and the `excerpt` of `corpus`."""
    model = build_model(config)
    store = open_store(corpus, config.features)
    return model, excerpt(corpus, store, minutes=minutes, output_lengths=model.output_lengths)


def excerpt(
    corpus: Corpus,
    store: FeatureStore,
    *,
    minutes: float,
    output_lengths: Callable[[Tensor], Tensor],
) -> TrainingData:
    """About `minutes` of the training audio, and of valid and watch the same share.

    So an epoch of it ends in an evaluation that takes the share of time that it takes with the
    whole corpus. Utterances that the network cannot spell are left out of train (`output_lengths`
    gives its output frames for numbers of input frames).

    Raises:
        UserError: nothing to train on.
    """
    train, _ = feasible_subset(Dataset(corpus.split("train"), store), output_lengths)
    if not len(train):
        raise UserError(
            f"corpus {corpus.name} must have a train utterance with frames enough for its text, "
            "has none; take another corpus"
        )
    share = min(1.0, 60 * minutes / train.seconds)

    def part(utterances: Sequence[Utterance]) -> Dataset:
        by_length = sorted(utterances, key=lambda utterance: (utterance.seconds, utterance.id))
        return Dataset(spread(by_length, share), store)

    return TrainingData(
        train=part(train.utterances),
        valid=part(corpus.split("valid")),
        watch=part(corpus.split("watch")),
    )


def spread(items: Sequence[T], share: float) -> list[T]:
    """A share of `items`, at even distances; one at least if there is any."""
    num_taken = max(1, round(share * len(items))) if items else 0
    return [items[(2 * place + 1) * len(items) // (2 * num_taken)] for place in range(num_taken)]


def audio_seconds(dataset: Dataset, indices: Sequence[int]) -> float:
    """Audio of some utterances, without padding."""
    return sum(dataset.utterances[index].seconds for index in indices)
