import itertools
import json
import logging
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from bench.core.errors import UserError
from bench.data.batches import Dataset, epoch_order
from bench.data.units import LETTERS
from bench.scoring import METRICS
from bench.training import checkpoint, loop
from bench.training.clocks import Clocks
from bench.training.config import build_model
from bench.training.evaluate import evaluate
from bench.training.loop import TrainingData
from bench.training.progress import Progress
from variants.spec import AcousticModel

CPU = torch.device("cpu")
MakeRun = Callable[..., Any]


# --- it learns ---------------------------------------------------------------------------------


def test_learns_its_data_by_heart(run: MakeRun, data: TrainingData) -> None:
    easy = run(
        **{"training.num_epochs": 12, "training.eval_every_epochs": 4, "model.width": 48},
        **{"model.dropout": 0.0, "augment.num_freq_masks": 0, "augment.num_time_masks": 0},
    )
    easy.data = replace(data, valid=data.train)
    result = easy()
    assert result.state == "finished"
    assert [p.epoch for p in easy.evaluations] == [4, 8, 12]
    assert result.final["valid/wer"] <= 0.05
    losses = [p.metrics["train/loss"] for p in easy.reports]
    assert losses[-1] < 0.1 < 2 < losses[0]
    # Between silence and all it knows, the unheard sentence of the watch split takes shape.
    (watched,) = easy.evaluations[-1].watch
    assert (watched.id, watched.ref) == ("watch-0", "a bad dad")
    assert watched.hyp.startswith("a bad")


def test_seeds_decide_everything(run: MakeRun) -> None:
    first, again, other = run(), run(), run(seed=1)
    first()
    again()
    other(build_model(first.config))  # even from the same initial weights
    assert first.left() == again.left()
    assert first.curves == again.curves
    assert first.left()["model"] != other.left()["model"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model.dropout", 0.0),
        ("augment.num_time_masks", 0),
        ("batches.sortagrad", False),
        ("optim.schedule", "constant"),
        ("optim.max_grad_norm", 0.01),
    ],
)
def test_each_part_of_the_config_reaches_the_steps(run: MakeRun, key: str, value: Any) -> None:
    usual, changed = (
        run(**{"training.num_epochs": 1}),
        run(**{"training.num_epochs": 1, key: value}),
    )
    usual()
    changed()
    assert usual.left()["model"] != changed.left()["model"]


def test_bfloat16_has_a_twin_on_the_cpu(run: MakeRun) -> None:
    full, half = run(), run()
    full(precision=torch.float32)
    half(precision=torch.bfloat16)
    dtypes = {dtype for dtype, _, _ in half.left()["model"].values()}
    assert "torch.float32" in dtypes
    assert "torch.bfloat16" not in dtypes
    assert full.left()["model"] != half.left()["model"]
    a, b = full.reports[0].metrics["train/loss"], half.reports[0].metrics["train/loss"]
    assert a == pytest.approx(b, rel=0.05)


# --- it ends -----------------------------------------------------------------------------------


def test_patience_ends_a_run_that_no_longer_improves(run: MakeRun) -> None:
    # Too small a rate to say anything: every evaluation is as bad as the first.
    idle = run(**{"optim.learning_rate": 1e-9, "training.num_epochs": 9, "training.patience": 2})
    result = idle()
    assert [p.epoch for p in idle.evaluations] == [1, 2, 3]
    assert (result.state, result.best_epoch, result.num_epochs) == ("finished", 1, 3)


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each block takes a second of this thread's computing, and an hour of wall time: the machine
    is busy."""
    ticks = itertools.count()
    monkeypatch.setattr(time, "thread_time", lambda: next(ticks))
    hours = itertools.count(step=3600)
    monkeypatch.setattr(time, "perf_counter", lambda: next(hours))


@pytest.mark.usefixtures("ticking")
def test_the_cap_counts_computing_over_all_resumes_and_cuts_the_run(run: MakeRun) -> None:
    seldom = {"training.log_every_steps": 100, "training.checkpoint_every_seconds": 1e9}
    capped = run(**seldom, **{"training.max_train_seconds": 36.0})
    assert capped(stop=lambda progress: progress.evaluated).num_steps == 4
    result = capped()
    # Each step has six blocks. Four steps and the reading of their window were 25 seconds; then
    # two steps more, and the reading of theirs.
    assert (result.state, result.num_steps, result.num_epochs) == ("cut", 6, 2)
    assert result.train_seconds == capped.reports[-1].seconds == 38
    assert [round(p.epoch, 2) for p in capped.evaluations] == [1, 1.5]
    assert [p.is_last for p in capped.evaluations] == [False, True]
    assert result.final == {
        k: v for k, v in capped.evaluations[-1].metrics.items() if k.startswith("valid/")
    }
    assert capped() == replace(result, seconds=capped().seconds), "it is over"


@pytest.mark.usefixtures("ticking")
@pytest.mark.parametrize(
    "changes",
    [
        {"training.num_epochs": 2, "training.max_train_seconds": 49.0},
        {"training.patience": 1, "optim.learning_rate": 1e-9, "training.max_train_seconds": 49.0},
    ],
    ids=["last epoch", "patience"],
)
def test_a_run_that_ends_by_itself_at_the_cap_is_finished(
    run: MakeRun, changes: dict[str, float]
) -> None:
    result = run(**changes, **{"training.log_every_steps": 100})()
    assert (result.state, result.num_epochs, result.train_seconds) == ("finished", 2, 50)


def test_keeps_the_best_weights_by_wer_then_cer_then_time(
    run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = [(0.9, 0.5), (0.4, 0.3), (0.4, 0.2), (0.4, 0.2), (0.6, 0.1)]
    told = iter(rates)

    def fake(*args: Any, **kwargs: Any) -> Any:
        found = evaluate(*args, **kwargs)
        if args[1] is not best.data.valid:
            return found
        wer, cer = next(told)
        return replace(found, totals=replace(found.totals, wer=wer, cer=cer))

    monkeypatch.setattr(loop, "evaluate", fake)
    best = run(**{"training.num_epochs": 5})
    kept: list[dict[str, Any]] = []

    def keep(_: Progress) -> bool:
        kept.append(best.left("best.pt"))
        return False

    result = best(stop=lambda progress: progress.evaluated and keep(progress))
    assert (result.best_epoch, result.best["valid/cer"]) == (3, 0.2)
    assert result.final["valid/wer"] == 0.6
    same = [a == b for a, b in itertools.pairwise(kept)]
    assert same == [False, False, True, True]
    assert result.best_checkpoint.exists()


@pytest.mark.parametrize("average_decay", [0.0, 0.9])
def test_the_best_checkpoint_scores_what_the_run_logged(run: MakeRun, average_decay: float) -> None:
    whole = run(**{"training.num_epochs": 5, "training.average_decay": average_decay})
    result = whole()
    trained = checkpoint.load_model(result.best_checkpoint, CPU)
    model, config = trained.network, trained.config
    found = evaluate(model, whole.data.valid, config.batches, CPU)
    assert found.totals.wer == result.best["valid/wer"]
    assert found.loss == result.best["valid/loss"]


# --- it tells the truth ------------------------------------------------------------------------


def test_curves_are_whole_and_every_metric_is_in_the_table(run: MakeRun) -> None:
    told = run()
    result = told()
    order = [
        len(epoch_order(told.data.train, told.config.batches, seed=0, epoch=e)) for e in (0, 1, 2)
    ]
    ends = list(itertools.accumulate(order))
    assert [p.step for p in told.reports] == sorted({*range(3, ends[-1] + 1, 3), *ends})
    assert [p.step for p in told.evaluations] == ends
    for p in told.reports:
        assert {name.split("/")[-1] for name in p.metrics} <= METRICS.keys()
        assert {"epoch", "train/loss", "train/grad_norm", "train/learning_rate"} <= p.metrics.keys()
        assert p.evaluated == ("valid/wer" in p.metrics) == bool(p.watch)
        assert p.epoch == p.metrics["epoch"]
    json.dumps([p.metrics for p in told.reports], allow_nan=False)
    wall_seconds = Clocks(result.seconds, CPU).train
    assert result.audio_seconds_per_second * wall_seconds == pytest.approx(
        3 * told.data.train.seconds
    )
    assert 0 < result.train_seconds == told.reports[-1].seconds
    hours = [p.metrics["train/audio_hours"] for p in told.evaluations]
    assert hours == pytest.approx([n * told.data.train.seconds / 3600 for n in (1, 2, 3)])
    assert result.peak_memory_bytes > 0
    assert result.final == {k: v for k, v in told.reports[-1].metrics.items() if "valid" in k}


def test_a_window_is_averaged_over_its_own_steps(run: MakeRun) -> None:
    """The mean of windows of one step is the window of several."""
    fine, coarse = run(**{"training.log_every_steps": 1}), run(**{"training.log_every_steps": 99})
    fine()
    coarse()
    singles = [p.metrics["train/loss"] for p in fine.reports[: coarse.reports[0].step]]
    assert coarse.reports[0].metrics["train/loss"] == pytest.approx(sum(singles) / len(singles))


class Fragile(AcousticModel):
    """A tiny network whose output is NaN in the forward passes of `bad` (counted from 0)."""

    def __init__(self, bad: Iterable[int]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = torch.nn.Linear(24, 29)
        self.bad = bad
        self.count = itertools.count()

    def output_lengths(self, feat_lens_B: Tensor) -> Tensor:
        return feat_lens_B

    def forward(self, feats_BTF: Tensor, feat_lens_B: Tensor) -> tuple[Tensor, Tensor]:
        log_probs = self.linear(feats_BTF).log_softmax(dim=-1)
        if self.training and next(self.count) in self.bad:
            log_probs = log_probs * math.nan
        return log_probs, feat_lens_B


@pytest.mark.parametrize("consistency_weight", [0.0, 0.2])
def test_a_step_that_is_not_finite_is_left_out_counted_and_named(
    run: MakeRun, caplog: pytest.LogCaptureFixture, consistency_weight: float
) -> None:
    stumbling = run(**{"training.consistency_weight": consistency_weight})
    model = Fragile(bad=[5])
    with caplog.at_level(logging.WARNING):
        result = stumbling(model)
    assert (result.state, result.num_nonfinite) == ("finished", 1)
    (_, batch, *_) = epoch_order(stumbling.data.train, stumbling.config.batches, seed=0, epoch=1)
    ids = ", ".join(stumbling.data.train.utterances[index].id for index in batch)
    (record,) = caplog.records
    assert record.getMessage() == (
        f"step 6 is left out: loss nan, gradient norm nan; its batch: {ids}"
    )
    assert [p.metrics["train/num_nonfinite"] for p in stumbling.reports] == [0, 0, 1, 1, 1, 1]
    assert all(p.isfinite().all() for p in model.parameters())
    json.dumps([p.metrics for p in stumbling.reports], allow_nan=False)


def test_ten_such_steps_in_a_row_are_a_divergence(run: MakeRun) -> None:
    diverging = run(**{"training.num_epochs": 9})
    result = diverging(Fragile(bad=range(6, 10**9)))
    assert (result.state, result.best_epoch) == ("diverged", 1)
    assert 10 <= result.num_nonfinite <= 12
    assert "train/loss" not in diverging.reports[-1].metrics
    assert diverging(Fragile(bad=())).state == "diverged"


def test_nine_in_a_row_are_not(run: MakeRun) -> None:
    recovering = run(**{"training.num_epochs": 6})
    result = recovering(Fragile(bad=set(range(24)) - {9, 19}))
    assert (result.state, result.num_nonfinite) == ("finished", 22)


def test_nothing_infeasible_reaches_the_loss(run: MakeRun) -> None:
    short = run(**{"model.convs": [[24, 5, 20]]})
    with pytest.raises(UserError) as caught:
        short()
    assert "'train-0' cannot be learned by this network: its text needs 5 output" in str(
        caught.value
    )
    assert not short.directory.exists()


def test_nothing_to_train_on_is_refused(run: MakeRun) -> None:
    empty = run()
    empty.data = replace(empty.data, train=Dataset((), empty.data.train.store, LETTERS))
    with pytest.raises(UserError, match="training needs utterances in split 'train', got none"):
        empty()


def test_without_a_valid_split_the_last_weights_are_kept(run: MakeRun) -> None:
    blind = run(**{"training.num_epochs": 2})
    blind.data = replace(blind.data, valid=Dataset((), blind.data.train.store, LETTERS))
    result = blind()
    assert result.state == "finished"
    assert (result.best, result.best_epoch) == ({}, 2)
    assert not any(name.startswith("valid/") for p in blind.reports for name in p.metrics)
    assert blind.left("best.pt")["model"] == blind.left("last.pt")["model"]


def test_a_run_on_a_cpu_keeps_the_memory_it_frees(
    run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[None] = []
    monkeypatch.setattr(loop, "keep_freed_memory", lambda: calls.append(None))
    run(**{"training.num_epochs": 1})()
    assert calls == [None]


def test_a_corpus_without_a_watch_split_is_trained_on(run: MakeRun) -> None:
    unwatched = run(**{"training.num_epochs": 1})
    unwatched.data = replace(unwatched.data, watch=Dataset((), unwatched.data.train.store, LETTERS))
    unwatched()
    assert unwatched.evaluations[0].watch == ()


class Readings(TorchDispatchMode):
    """Counts the operations that make the host wait for a device's value or for a shape."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        self.count += name in ("_local_scalar_dense", "nonzero", "masked_select", "equal")
        if name in ("index", "index_put_"):  # by a mask: as many rows as the device finds
            self.count += any(i is not None and i.dtype == torch.bool for i in args[1])
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "extras", [{}, {"training.average_decay": 0.9, "training.consistency_weight": 0.2}]
)
def test_steps_never_wait_for_the_device(run: MakeRun, extras: dict[str, float]) -> None:
    """The twin on the CPU of a count of synchronisations: more steps of an epoch, no more
    readings."""
    counts = []
    for num_steps in (1, 4):
        seldom = {"training.log_every_steps": 99, "training.checkpoint_every_seconds": 1e9}
        quiet = run(**seldom, **extras, **{"batches.batch_seconds": 0.9})
        with Readings() as readings:
            quiet.dying_after(num_steps)
        counts.append(readings.count)
    assert counts[0] == counts[1]
