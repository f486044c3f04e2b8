"""Batches: every utterance once, within the cap, the same for the same arguments."""

import threading
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.core.config import from_dict
from bench.core.errors import UserError
from bench.data.batches import (
    EVALUATION_FACTOR,
    Batch,
    BatchConfig,
    Dataset,
    batches_from,
    epoch_order,
    evaluation_order,
    feasible_subset,
    in_background,
    micro_batches,
    min_ctc_frames,
    padding_share,
    thinned,
)
from bench.data.features import FeatureConfig
from bench.data.store import FeatureStore, open_store
from bench.data.text import ALPHABET
from bench.data.units import LETTERS, Units
from bench.data.utterance import Corpus, Utterance


class LengthsOnly:
    """A store of utterances "0", "1", … that has lengths and no features."""

    def __init__(self, lengths: list[int]) -> None:
        self.config, self.lengths = FeatureConfig(), np.array(lengths, np.int64)

    def row(self, id: str) -> int:
        return int(id)


def dataset_of(lengths: list[int]) -> Dataset:
    utterances = [
        Utterance(
            id=str(index),
            audio=Path("none"),
            sample_rate_hz=16_000,
            channel=None,
            text="a",
            speaker="s",
            split="train",
            seconds=length / 100,
            audio_digest="",
        )
        for index, length in enumerate(lengths)
    ]
    return Dataset(utterances, cast(FeatureStore, LengthsOnly(lengths)), LETTERS)


@pytest.fixture(scope="module")
def tones(tone_corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        return Dataset(
            tone_corpus.split("train"), open_store(tone_corpus, FeatureConfig()), LETTERS
        )


LENGTHS = st.lists(st.integers(1, 3_000), min_size=1, max_size=80)


@settings(deadline=None)
@given(LENGTHS, st.floats(0.5, 100), st.integers(0, 5), st.integers(0, 3), st.booleans())
def test_each_index_once_within_the_cap(
    lengths: list[int], batch_seconds: float, seed: int, epoch: int, sortagrad: bool
) -> None:
    dataset = dataset_of(lengths)
    config = BatchConfig(batch_seconds=batch_seconds, sortagrad=sortagrad)
    for order, most in (
        (epoch_order(dataset, config, seed=seed, epoch=epoch), batch_seconds),
        (evaluation_order(dataset, config), EVALUATION_FACTOR * batch_seconds),
    ):
        assert sorted(index for batch in order for index in batch) == list(range(len(lengths)))
        for batch in order:
            padded = max(lengths[index] for index in batch) * len(batch)
            assert len(batch) == 1 or padded <= most * 100
    again = epoch_order(dataset_of(lengths), config, seed=seed, epoch=epoch)
    assert again == epoch_order(dataset, config, seed=seed, epoch=epoch)


def test_epochs_and_seeds_differ_in_batches_and_in_their_order() -> None:
    dataset = dataset_of(np.random.default_rng(0).integers(50, 500, 200).tolist())
    config = BatchConfig(batch_seconds=30)
    orders = [
        epoch_order(dataset, config, seed=seed, epoch=epoch)
        for seed, epoch in [(0, 0), (0, 1), (1, 0)]
    ]
    contents = [{frozenset(batch) for batch in order} for order in orders]
    for first, second in [(0, 1), (0, 2), (1, 2)]:
        assert len(contents[first] & contents[second]) < len(contents[first]) / 2
    for order in orders:
        means = [dataset.num_frames[batch].mean() for batch in order]
        assert abs(np.corrcoef(means, range(len(order)))[0, 1]) < 0.6


@settings(deadline=None)
@given(LENGTHS)
def test_sortagrad_goes_from_short_to_long_in_the_first_epoch_only(lengths: list[int]) -> None:
    dataset = dataset_of(lengths)
    config = BatchConfig(batch_seconds=20, sortagrad=True)
    order = epoch_order(dataset, config, seed=0, epoch=0)
    seen = [lengths[index] for batch in order for index in batch]
    assert seen == sorted(lengths)
    plain = epoch_order(dataset, replace(config, sortagrad=False), seed=0, epoch=1)
    assert epoch_order(dataset, config, seed=0, epoch=1) == plain


@given(LENGTHS)
def test_training_begins_with_the_largest_batch(lengths: list[int]) -> None:
    dataset = dataset_of(lengths)
    order = epoch_order(dataset, BatchConfig(batch_seconds=20.0), seed=0, epoch=0)
    sizes = [len(batch) * dataset.num_frames[batch].max() for batch in order]
    assert sizes[0] == max(sizes)


@given(st.integers(1, 200), st.integers(1, 20))
def test_micro_batches_are_the_rows_in_order(num_rows: int, num_parts: int) -> None:
    parts = micro_batches(num_rows, num_parts)
    assert [row for part in parts for row in range(num_rows)[part]] == [*range(num_rows)]
    assert len(parts) <= num_parts
    assert max(len(range(num_rows)[part]) for part in parts) == -(-num_rows // num_parts)


@given(st.integers(1, 100), st.integers(1, 20))
def test_views_stay_together_in_a_part(num_utterances: int, num_parts: int) -> None:
    single = micro_batches(num_utterances, num_parts)
    parts = micro_batches(2 * num_utterances, num_parts, num_views=2)
    rows = range(2 * num_utterances)
    assert [[*rows[part]] for part in parts] == [
        [row for index in range(num_utterances)[part] for row in (2 * index, 2 * index + 1)]
        for part in single
    ]


def test_evaluation_goes_from_long_to_short() -> None:
    order = evaluation_order(
        dataset_of([5, 9, 1, 7]), BatchConfig(batch_seconds=0.16 / EVALUATION_FACTOR)
    )
    assert order == [[1], [3, 0], [2]] or order == [[1], [3], [0, 2]]


def test_padding_is_low_on_lengths_like_those_of_speech() -> None:
    """Log-normal around 3 s, 2,500 s in all, as AN4's train part."""
    lengths = np.exp(np.random.default_rng(0).normal(np.log(270), 0.5, 900)).astype(int)
    dataset = dataset_of(lengths.tolist())
    order = epoch_order(dataset, BatchConfig(), seed=0, epoch=0)
    assert padding_share(order, dataset.num_frames) < 0.08
    assert (
        padding_share(
            evaluation_order(dataset, BatchConfig(batch_seconds=20.0)), dataset.num_frames
        )
        < 0.05
    )


def test_padding_share_by_hand() -> None:
    share = padding_share([[0, 1], [2]], np.array([10, 6, 4], np.int64))
    assert share == pytest.approx(1 - 20 / 24)


def test_collate(tones: Dataset) -> None:
    indices = [7, 2, 4]
    batch = tones.collate(indices)
    chosen = [tones.utterances[index] for index in indices]
    assert batch.ids == tuple(utterance.id for utterance in chosen)
    assert batch.feats_BTF.shape == (3, max(batch.feat_lens_B), 64)
    assert batch.feats_BTF.dtype == torch.float32
    lens = (batch.feat_lens_B, batch.targets, batch.target_lens_B)
    assert {tensor.dtype for tensor in lens} == {torch.int64}
    for place, utterance in enumerate(chosen):
        frames, labels = int(batch.feat_lens_B[place]), int(batch.target_lens_B[place])
        expected = torch.tensor(tones.store.read(tones.store.row(utterance.id)).astype(np.float32))
        assert torch.equal(batch.feats_BTF[place, :frames], expected)
        assert not batch.feats_BTF[place, frames:].any()
        assert LETTERS.decode(batch.targets[place, :labels].tolist()) == utterance.text
        assert not batch.targets[place, labels:].any()
    assert batch.targets.shape[1] == max(batch.target_lens_B)


def test_batch_moves_whole(tones: Dataset) -> None:
    batch = tones.collate([0, 1])
    moved = batch.to(torch.device("meta"))
    for name in ("feats_BTF", "feat_lens_B", "targets", "target_lens_B"):
        before, after = getattr(batch, name), getattr(moved, name)
        assert after.is_meta
        assert (after.shape, after.dtype) == (before.shape, before.dtype)
    assert moved.ids == batch.ids


@pytest.mark.cuda
def test_batch_moves_whole_to_cuda(tones: Dataset) -> None:
    batch = tones.collate([0, 1])
    moved = batch.to(torch.device("cuda"))
    for name in ("feats_BTF", "feat_lens_B", "targets", "target_lens_B"):
        assert torch.equal(getattr(moved, name).cpu(), getattr(batch, name))


def test_batches_go_on_from_anywhere(tones: Dataset) -> None:
    config = BatchConfig(batch_seconds=2.0)
    orders = [epoch_order(tones, config, seed=3, epoch=epoch) for epoch in range(3)]
    every = [batch for order in orders for batch in order]
    assert list(islice(batches_from(tones, config, seed=3), len(every))) == every
    rest = len(orders[1]) - 1 + len(orders[2])
    later = batches_from(tones, config, seed=3, epoch=1, batch=1)
    assert list(islice(later, rest)) == every[-rest:]


def test_the_next_batch_is_collated_while_one_is_used(
    tones: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    order, begun = [[3, 1], [0], [2]], [threading.Event() for _ in range(3)]
    collate = tones.collate

    def watched(indices: list[int]) -> Batch:
        begun[order.index(indices)].set()
        return collate(indices)

    monkeypatch.setattr(tones, "collate", watched)
    for place, batch in enumerate(in_background(tones.collate, order)):
        torch.testing.assert_close(batch.feats_BTF, collate(order[place]).feats_BTF)
        assert all(event.wait(10) for event in begun[: place + 2])
        assert not any(event.is_set() for event in begun[place + 2 :])


def test_features_as_stored_are_the_same_numbers(tones: Dataset) -> None:
    stored, wide = tones.collate([3, 1], as_stored=True), tones.collate([3, 1])
    assert (stored.feats_BTF.dtype, wide.feats_BTF.dtype) == (torch.float16, torch.float32)
    assert torch.equal(stored.feats_BTF.float(), wide.feats_BTF)


def test_what_goes_wrong_in_a_batch_is_raised_where_it_is_due(tones: Dataset) -> None:
    batches = in_background(tones.collate, [[0], [len(tones)]])
    assert next(batches).ids == ("train-0",)
    with pytest.raises(IndexError):
        next(batches)


def test_batches_given_up_leave_no_thread(tones: Dataset) -> None:
    before = threading.active_count()
    batches = in_background(tones.collate, [[0], [1], [2]])
    next(batches)
    assert threading.active_count() == before + 1
    del batches
    assert threading.active_count() == before


def test_dataset_has_its_length_and_seconds(tones: Dataset) -> None:
    assert len(tones) == 10
    assert tones.seconds == pytest.approx(sum(u.seconds for u in tones.utterances))
    frames = tones.store.lengths[[tones.store.row(u.id) for u in tones.utterances]].tolist()
    assert tones.num_frames.tolist() == frames


@pytest.mark.parametrize("text, frames", [("a", 1), ("aa", 3), ("abba", 5), ("aaa b", 7), ("", 1)])
def test_min_frames(text: str, frames: int) -> None:
    assert min_ctc_frames(text) == frames


@pytest.mark.parametrize("text", ["cab", "add", "bee b", "aaaa"])
def test_min_frames_is_where_ctc_loss_becomes_finite(text: str) -> None:
    labels = torch.tensor([LETTERS.encode(text)])
    for frames in (min_ctc_frames(text) - 1, min_ctc_frames(text)):
        loss = torch.nn.functional.ctc_loss(
            torch.zeros(frames, 1, 29).log_softmax(2),
            labels,
            torch.tensor([frames]),
            torch.tensor([labels.shape[1]]),
        )
        assert bool(loss.isfinite()) is (frames == min_ctc_frames(text))


def test_infeasible_utterances_are_left_out_with_both_numbers(tones: Dataset) -> None:
    texts = {"train-0": "a" * 50, "train-3": "ab" * 60}
    utterances = [replace(u, text=texts.get(u.id, u.text)) for u in tones.utterances]
    dataset = Dataset(utterances, tones.store, LETTERS)
    exact = {u.id: min_ctc_frames(u.text) for u in utterances}
    available = torch.tensor([exact[u.id] - (u.id in texts) for u in utterances])
    calls = SimpleNamespace(lengths=None)

    def output_lengths(num_frames: torch.Tensor) -> torch.Tensor:
        calls.lengths = num_frames.numpy()
        return available

    kept, left_out = feasible_subset(dataset, output_lengths)
    assert np.array_equal(calls.lengths, dataset.num_frames)
    assert [u.id for u in kept.utterances] == [u.id for u in utterances if u.id not in texts]
    assert [(out.id, out.split, out.reason) for out in left_out] == [
        ("train-0", "train", "its text needs 99 output frames and its audio gives 98"),
        ("train-3", "train", "its text needs 120 output frames and its audio gives 119"),
    ]
    rows = [kept.store.row(utterance.id) for utterance in kept.utterances]
    assert kept.num_frames.tolist() == kept.store.lengths[rows].tolist()


def test_labels_are_in_the_units_of_the_dataset(tones: Dataset) -> None:
    units = Units((" a", " b", "ee", *ALPHABET))
    utterances = [
        replace(u, text=text) for u, text in zip(tones.utterances, ("a bee", "b e"), strict=False)
    ]
    dataset = Dataset(utterances, tones.store, units)
    batch = dataset.collate([0, 1])
    assert batch.targets.tolist() == [[1, 2, 3], [2, *units.encode("e")]]
    assert (batch.target_lens_B.tolist(), batch.min_ctc_frames_B.tolist()) == ([3, 3], [3, 3])
    kept, left_out = feasible_subset(dataset, lambda lens: torch.tensor([3, 2]))
    assert kept.units is units
    assert [u.text for u in kept.utterances] == ["a bee"]
    assert left_out[0].reason == "its text needs 3 output frames and its audio gives 2"


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("inf"), float("nan")])
def test_batch_seconds_out_of_range(seconds: float) -> None:
    with pytest.raises(UserError, match="batch_seconds must be above 0"):
        from_dict(BatchConfig, {"batch_seconds": seconds})


def test_a_share_of_the_training_data_is_nested_drawn_by_id_and_in_order() -> None:
    utterances = dataset_of([100] * 400).utterances
    shares = [{u.id for u in thinned(utterances, share)} for share in (0.125, 0.25, 0.5, 1.0)]
    assert [len(ids) for ids in shares] == [50, 100, 200, 400]
    assert all(small < large for small, large in pairwise(shares))
    kept = thinned(utterances, 0.5)
    assert [int(u.id) for u in kept] == sorted(int(u.id) for u in kept)
    assert set(thinned(utterances[::-1], 0.5)) == set(kept)
    assert len({int(u.id) < 200 for u in kept}) == 2, "not simply the first"
    assert len(thinned(utterances[:3], 0.01)) == 1


@pytest.mark.parametrize("share", [0.0, -0.5, 1.1, float("nan")])
def test_a_share_out_of_range_is_named(share: float) -> None:
    with pytest.raises(UserError, match="train_share must be above 0 and at most 1, got"):
        from_dict(BatchConfig, {"train_share": share})
