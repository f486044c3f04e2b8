"""A small part of a corpus that trains as the whole does: the same lengths, in the same shares."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from torch import Tensor

from bench.core.errors import UserError
from bench.data.batches import Dataset, feasible_subset
from bench.data.store import FeatureStore
from bench.data.utterance import Corpus, Utterance
from bench.training.loop import TrainingData

T = TypeVar("T")


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
