"""One run on several ranks: two processes on the CPU, whose gradients and weights are those of one."""

import os
import signal
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from multiprocessing import active_children, get_context, parent_process
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from torch import Tensor, nn

from bench.core.config import updated
from bench.core.errors import UserError
from bench.data.augment import augment
from bench.data.batches import Batch, Dataset
from bench.data.corpora import CorpusConfig
from bench.data.units import LETTERS
from bench.data.utterance import Corpus
from bench.training import checkpoint
from bench.training.config import RunConfig, build_model, default_run_config
from bench.training.follower import join
from bench.training.inputs import InputPlan, StepInputs
from bench.training.loop import TrainingData, train
from bench.training.progress import Progress
from bench.training.ranks import RankDiedError, RankFailedError, Ranks
from bench.training.replica import Replica
from tests.training.conftest import CPU, EXTRAS
from variants.ops import ranks
from variants.ops.normalization import _KernelBatchNorm, _TorchBatchNorm

MakeRun = Callable[..., Any]
NO_DROPOUT = {"model.dropout": 0.0}
EXACT = {"model.norm": "layer"}
"""Computed in float64; batch normalisation is always float32 (see `normalised` for that)."""
CASES: dict[str, tuple[dict[str, Any], list[int]]] = {
    "a row of padding": ({}, [0, 1, 2, 3, 4]),
    "a rank of padding": ({}, [3]),
    # Statistics of micro-batches are of other rows than those of one process.
    "micro-batches": (EXACT | {"training.num_micro_batches": 2}, [0, 1, 2, 3, 4, 5, 6]),
    "two views": (EXTRAS, [5, 1, 2]),
    "both directions": ({"model.directions": "concat"}, [0, 1, 2, 3]),
    "layer normalisation": (EXACT, [0, 1, 2, 3]),
}
TWO = 2


def config_of(changes: dict[str, Any]) -> RunConfig:
    from tests.training.conftest import TINY

    usual = default_run_config("ds-gru", CorpusConfig(name="tones"))
    return updated(usual, TINY | NO_DROPOUT | changes)


def gradients(case: str, dataset: Dataset, rank: int, num_ranks: int) -> dict[str, Tensor]:
    """Gradients, buffers and the loss of one batch, of all ranks together."""
    changes, indices = CASES[case]
    config, precision = (
        config_of(changes),
        torch.float64 if EXACT.items() <= changes.items() else torch.float32,
    )
    torch.manual_seed(0)
    model = build_model(config).to(precision).train()
    plan = InputPlan(
        config=config, dataset=dataset, output_lengths=model.output_lengths, num_steps=10,
        num_micro_batches=config.training.num_micro_batches, device=CPU, shapes=None, rank=rank,
        num_ranks=num_ranks,
    )  # fmt: skip
    inputs, replica = plan.filled(3, indices), Replica(model, num_ranks)
    num_views = config.training.num_views
    feats_BTF = inputs.feats_NTF.to(precision).repeat_interleave(num_views, dim=0)
    feats_BTF = augment(
        feats_BTF,
        inputs.old_lens_B,
        inputs.new_lens_B,
        inputs.longest,
        config.augment,
        inputs.draws,
    )
    loss = torch.zeros((), dtype=torch.float64)
    for number, (rows, num_frames) in enumerate(inputs.parts, start=1):
        with replica.micro_batch(is_last=number == len(inputs.parts)):
            part = _loss(replica, feats_BTF[rows, :num_frames], inputs, rows)
            torch.autograd.backward(part)
        loss += part.detach()
    (total,) = replica.summed(loss)
    grads = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {**grads, **dict(model.named_buffers()), "loss": total}


def _loss(replica: Replica, feats_BTF: Tensor, inputs: StepInputs, rows: slice) -> Tensor:
    log_probs_BUV, out_lens_B = replica(feats_BTF, inputs.new_lens_B[rows])
    inside_BU1 = (torch.arange(log_probs_BUV.shape[1]) < out_lens_B[:, None])[..., None]
    return (log_probs_BUV.double().sin() * inside_BU1).sum() / inputs.num_rows


def be_rank(rank: int, dataset: Dataset, folder: Path) -> None:
    torch.set_num_threads(1)
    join(rank, TWO, f"{folder}/place", CPU)
    found = {case: gradients(case, dataset, rank, TWO) for case in CASES}
    found["normalised"] = {
        f"{by.__name__} {name}": value
        for by, precision in NORMALISERS
        for name, value in normalised(by, precision, slice(3 * rank, 3 * rank + 3)).items()
    }
    torch.save(found, folder / f"{rank}.pt")


NORMALISERS = ((_TorchBatchNorm, torch.float64), (_KernelBatchNorm, torch.float32))


def normalised(
    by: Any, precision: torch.dtype, own: slice, *, alone: bool = False
) -> dict[str, Tensor]:
    """Batch normalisation of the rows `own` of six, and its gradients, with those of the weights
    summed over the ranks."""
    torch.manual_seed(0)
    x_BRC = torch.randn(6, 9, 17, dtype=precision) + 3
    counts_B = torch.tensor([9, 4, 7, 1, 3, 0])
    weight_C, bias_C = torch.randn(2, 17, dtype=precision)
    x, weight, bias = (
        x_BRC[own].requires_grad_(),
        weight_C.requires_grad_(),
        bias_C.requires_grad_(),
    )
    with nullcontext() if alone else ranks.batch_divided():
        y, mean, var, count = by.apply(x, counts_B[own], weight, bias)
    torch.autograd.backward((y.sin() * torch.arange(17)).sum())
    weights = [weight.grad, bias.grad]
    assert x.grad is not None
    weights = weights if alone else ranks.summed(*weights)  # type: ignore[arg-type]
    found = {"y": y.detach(), "x": x.grad, "mean": mean, "var": var, "count": count.to(precision)}
    return {**found, "weight": weights[0], "bias": weights[1]}


@pytest.fixture(scope="module")
def of_ranks(tone_corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """What each of two ranks found."""
    folder = tmp_path_factory.mktemp("ranks")
    dataset = _dataset(tone_corpus)
    context = get_context("spawn")
    both = [context.Process(target=be_rank, args=(r, dataset, folder)) for r in range(TWO)]
    for process in both:
        process.start()
    for process in both:
        process.join()
        assert process.exitcode == 0
    return [torch.load(folder / f"{rank}.pt") for rank in range(TWO)]


def _dataset(corpus: Corpus) -> Dataset:
    from bench.data.store import open_store

    return Dataset(corpus.split("train"), open_store(corpus, config_of({}).features), LETTERS)


@pytest.mark.parametrize("case", CASES)
def test_two_ranks_have_the_gradients_of_one(
    of_ranks: list[Any], tone_corpus: Corpus, case: str
) -> None:
    one = gradients(case, _dataset(tone_corpus), 0, 1)
    first, second = (found[case] for found in of_ranks)
    assert set(first) == set(one)
    for name, expected in one.items():
        assert torch.equal(first[name], second[name]), name
        is_exact = EXACT.items() <= CASES[case][0].items()
        close = (1e-10, 1e-12) if is_exact else (1e-3, 1e-4)
        torch.testing.assert_close(first[name], expected, rtol=close[0], atol=close[1])


@pytest.mark.parametrize("by, precision", NORMALISERS)
def test_batch_normalisation_is_that_of_the_whole_batch(
    of_ranks: list[Any], by: Any, precision: torch.dtype
) -> None:
    found = [
        {k.split()[1]: v for k, v in of["normalised"].items() if k.split()[0] == by.__name__}
        for of in of_ranks
    ]
    close = (1e-12, 1e-12) if precision == torch.float64 else (1e-5, 1e-4)
    for name, expected in normalised(by, precision, slice(0, 6), alone=True).items():
        of_one = torch.cat([of[name] for of in found]) if name in "yx" else found[0][name]
        torch.testing.assert_close(of_one, expected, rtol=close[0], atol=close[1])


TRAINED = {**NO_DROPOUT, "training.num_epochs": 1, "training.log_every_steps": 1}


def on_two_ranks(run: MakeRun, data: TrainingData | None = None, **changes: Any) -> Any:
    made = run(**TRAINED, **changes)
    made.num_ranks = TWO
    made.data = data or made.data
    return made


def test_two_ranks_train_as_one(run: MakeRun) -> None:
    """Augmented, with the average; and they leave no process."""
    together, alone = on_two_ranks(run, **EXTRAS), run(**TRAINED, **EXTRAS)
    result = together()
    alone()
    assert result.state == "finished"
    assert not active_children()
    assert sorted(together.curves) == sorted(alone.curves)
    for step, expected in alone.curves.items():
        assert together.curves[step] == pytest.approx(expected, rel=2e-3, abs=1e-6), step
    for name in ("last.pt", "best.pt"):
        paths = [of.directory / "checkpoints" / name for of in (together, alone)]
        found, expected = (checkpoint.load(path, CPU)["model"] for path in paths)
        for key, value in expected.items():
            torch.testing.assert_close(found[key], value, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_two_ranks_that_were_stopped_go_on_bit_for_bit(run: MakeRun) -> None:
    stopped, whole = on_two_ranks(run), on_two_ranks(run)
    stopped.dying_after(2)
    assert not active_children()
    stopped()
    whole()
    assert stopped.left() == whole.left()


def lead_and_die(data: TrainingData, config: RunConfig, folder: Path) -> None:
    """A leader that a signal ends while its follower waits for it or computes."""
    torch.set_num_threads(1)

    def report(_: Progress) -> bool:
        (folder / "follower").write_text(str(active_children()[0].pid))
        os.kill(os.getpid(), signal.SIGKILL)
        return False

    train(
        config,
        build_model(config),
        data,
        device=CPU,
        directory=folder,
        report=report,
        num_ranks=TWO,
    )


@pytest.mark.slow
def test_a_follower_ends_with_its_leader(data: TrainingData, tmp_path: Path) -> None:
    leader = get_context("spawn").Process(
        target=lead_and_die, args=(data, config_of(TRAINED), tmp_path)
    )
    leader.start()
    leader.join()
    assert leader.exitcode == -signal.SIGKILL
    follower = int((tmp_path / "follower").read_text())
    for _ in range(600):
        if not psutil.pid_exists(follower):
            return
        time.sleep(0.1)
    pytest.fail(f"process {follower} is left")


class Fragile(Dataset):
    """Fails at the third batch of a follower, once; can be pickled."""

    kind = ""
    flag = Path()

    def collate(self, indices: Any, **form: bool) -> Batch:
        self.count = getattr(self, "count", 0) + 1
        if parent_process() is not None and self.count == 3 and not self.flag.exists():
            self.flag.touch()
            if self.kind == "memory":
                raise torch.OutOfMemoryError("CUDA out of memory")
            if self.kind == "error":
                raise ValueError("no such thing")
            os.kill(os.getpid(), signal.SIGKILL)
        return super().collate(indices, **form)


def fragile(data: TrainingData, kind: str, folder: Path) -> TrainingData:
    train = Fragile(data.train.utterances, data.train.store, LETTERS)
    train.kind, train.flag = kind, folder / "failed"
    return replace(data, train=train)


@pytest.mark.slow  # pytest -m slow tests/training/test_ranks.py
def test_memory_that_runs_out_in_a_follower_is_recovered_from(
    run: MakeRun, data: TrainingData, tmp_path: Path
) -> None:
    made = on_two_ranks(run, fragile(data, "memory", tmp_path), **{"model.norm": "layer"})
    result = made()
    assert (result.state, result.num_micro_batches) == ("finished", 2)
    assert not active_children()


@pytest.mark.parametrize(
    "kind, error, said",
    [
        pytest.param(
            "error", RankFailedError, "rank 1: ValueError: no such thing", marks=pytest.mark.slow
        ),
        ("death", RankDiedError, "rank 1 ended with exit code -9; the same command goes on"),
    ],
)
def test_a_follower_that_ends_ends_the_run(
    run: MakeRun, data: TrainingData, tmp_path: Path, kind: str, error: type[Exception], said: str
) -> None:
    made = on_two_ranks(run, fragile(data, kind, tmp_path))
    with pytest.raises(error, match=said):
        made()
    assert not active_children()
    assert not torch.distributed.is_initialized()


def test_statistics_of_torchs_own_batch_normalisation_are_refused() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    with pytest.raises(UserError, match=r"got BatchNorm1d in 1; .* leave --gpus-per-run out"):
        Ranks(TWO, CPU).gather(network, None)  # type: ignore[arg-type]
