"""The baselines compute the same network as the training loop, and they learn."""

import math
from collections.abc import Mapping
from itertools import islice
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bench.costs import baselines as module
from bench.costs.baselines import (
    BaselineSetting,
    BaselineTrainer,
    PackedLayer,
    baselines,
    family_batches,
    packed_copy,
    torch_baseline_batches,
)
from bench.data.batches import epoch_order
from bench.data.resident import ResidentFeatures
from bench.data.utterance import Corpus
from bench.training.config import build_model, default_run_config
from bench.training.ctc import ctc_losses
from bench.training.loop import TrainingData
from tests.costs.conftest import CPU, Configure
from variants.layers import CELLS, RecurrentLayer
from variants.ops import kernel
from variants.ops.padding import frame_mask
from variants.spec import AcousticModel


def valid_frames(x_BTC: Tensor, lens_B: Tensor) -> Tensor:
    return x_BTC[frame_mask(lens_B, x_BTC.shape[1])]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("directions", ["forward", "sum", "concat"])
@pytest.mark.parametrize("cell", CELLS)
def test_a_packed_layer_gives_the_same_output(cell: str, directions: str, bias: bool) -> None:
    torch.manual_seed(0)
    layer = RecurrentLayer(cell, 5, 7, directions, bias=bias)  # type: ignore[arg-type]
    x_BTC, lens_B = torch.randn(3, 9, 5), torch.tensor([4, 9, 1])
    own, packed = layer(x_BTC, lens_B), PackedLayer(layer)(x_BTC, lens_B)
    assert packed.shape == own.shape == (3, 9, layer.num_outputs)
    torch.testing.assert_close(valid_frames(packed, lens_B), valid_frames(own, lens_B))


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("directions", ["forward", "sum"])
def test_the_network_gives_the_same_log_probabilities_on_padded_input(
    tiny: Configure, cell: str, directions: str
) -> None:
    model = build_model(tiny(cell=cell, directions=directions, num_layers=2)).eval()
    family = copied_model(model)
    feats_BTF, lens_B = torch.randn(3, 40, 24), torch.tensor([40, 13, 26])
    with torch.no_grad():
        own_BUV, out_lens_B = model(feats_BTF, lens_B)
        with kernel.unused():
            torch_BUV, _ = model(feats_BTF, lens_B)
            family_BUV, _ = family(feats_BTF, lens_B)
    own = valid_frames(own_BUV, out_lens_B)
    torch.testing.assert_close(valid_frames(torch_BUV, out_lens_B), own)
    torch.testing.assert_close(valid_frames(family_BUV, out_lens_B), own)


def test_the_packed_copy_shares_no_weight_with_the_model(tiny: Configure) -> None:
    model = build_model(tiny(num_layers=2, directions="sum"))
    copy = copied_model(model)
    assert sum(isinstance(module, PackedLayer) for module in copy.modules()) == 2
    assert not any(isinstance(module, RecurrentLayer) for module in copy.modules())
    assert sum(isinstance(module, RecurrentLayer) for module in model.modules()) == 2
    assert not {p.data_ptr() for p in copy.parameters()} & {
        p.data_ptr() for p in model.parameters()
    }
    assert sum(p.numel() for p in copy.parameters()) == sum(p.numel() for p in model.parameters())


def test_a_network_without_recurrent_layers_has_no_baseline(tiny: Configure) -> None:
    config = default_run_config("deepspeech2", tiny().corpus)
    with torch.device("meta"):
        model = build_model(config)
    assert packed_copy(model) is None


def test_cells_that_torch_has_not_have_no_baseline(tiny: Configure) -> None:
    assert packed_copy(build_model(tiny(cell="mingru"))) is None


def copied_model(model: AcousticModel) -> AcousticModel:
    copy = packed_copy(model)
    assert copy is not None
    return copy


def test_a_step_of_a_baseline_is_computed_by_torch(
    tiny: Configure, data: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a baseline used the kernel")

    config = tiny()
    trainer = BaselineTrainer(
        config, build_model(config), torch_baseline_batches(data.train, config), CPU
    )
    monkeypatch.setattr(kernel, "call", refuse)
    trainer.step()
    with pytest.raises(AssertionError, match="used the kernel"):
        ctc_losses(torch.zeros(1, 2, 3), torch.tensor([2]), torch.ones(1, 1), torch.tensor([1]))


def test_the_torch_baseline_learns_from_the_batches_of_the_training_loop(
    tiny: Configure, data: TrainingData
) -> None:
    config = tiny()
    order = epoch_order(data.train, config.batches, seed=0, epoch=0)
    timed = list(islice(torch_baseline_batches(data.train, config), len(order)))
    assert [t.batch.ids for t in timed] == [data.train.collate(batch).ids for batch in order]
    assert sum(t.audio_seconds for t in timed) == pytest.approx(data.train.seconds)
    trainer = BaselineTrainer(
        config, build_model(config), torch_baseline_batches(data.train, config), CPU
    )
    assert trainer.step() == timed[0].audio_seconds
    first = trainer.loss
    for _ in range(60):
        trainer.step()
    assert trainer.loss < first / 2


def test_resident_features_make_the_same_steps(tiny: Configure, data: TrainingData) -> None:
    """The path of the torch baseline on a GPU, on the CPU."""
    config = tiny()
    losses = []
    for resident in (None, ResidentFeatures(data.train, CPU)):
        torch.manual_seed(0)
        batches = torch_baseline_batches(data.train, config, are_resident=resident is not None)
        trainer = BaselineTrainer(config, build_model(config), batches, CPU, resident=resident)
        found = []
        for _ in range(6):
            trainer.step()
            found.append(trainer.loss)
        losses.append(found)
    assert losses[0] == losses[1]


def test_family_learns_and_sends_every_metric_of_every_step(
    tiny: Configure, data: TrainingData
) -> None:
    config, logged = tiny(), []

    def log(metrics: Mapping[str, float], step: int) -> None:
        logged.append((step, metrics))

    family = BaselineTrainer(
        config,
        copied_model(build_model(config)),
        family_batches(data.train, config, 0),
        CPU,
        log,
    )
    assert all(family.step() > 0 for _ in range(60))
    assert [step for step, _ in logged] == list(range(1, 61))
    assert all(list(metrics) == ["loss", "learning_rate", "grad_norm"] for _, metrics in logged)
    assert logged[-1][1]["loss"] == family.loss < logged[0][1]["loss"] / 2


def test_family_reads_each_utterance_once_an_epoch_with_the_features_of_the_store(
    tiny: Configure, data: TrainingData
) -> None:
    config, size = tiny(), round(2.0 * len(data.train) / data.train.seconds)
    batches = family_batches(data.train, config, 0)
    epoch = list(islice(batches, math.ceil(len(data.train) / size)))
    ids = [id for timed in epoch for id in timed.batch.ids]
    assert sorted(ids) == sorted(u.id for u in data.train.utterances)
    assert max(len(timed.batch.ids) for timed in epoch) == size
    again = [id for timed in islice(batches, len(epoch)) for id in timed.batch.ids]
    assert sorted(again) == sorted(ids) != again != ids
    indices = {u.id: index for index, u in enumerate(data.train.utterances)}
    for timed in epoch:
        cached = data.train.collate([indices[id] for id in timed.batch.ids])
        torch.testing.assert_close(timed.batch.feats_BTF, cached.feats_BTF, atol=2e-3, rtol=2e-3)
        for name in ("feat_lens_B", "targets", "target_lens_B", "min_ctc_frames_B"):
            assert torch.equal(getattr(timed.batch, name), getattr(cached, name)), name


@pytest.fixture
def setting(tiny: Configure, tone_corpus: Corpus, tmp_path: Path) -> BaselineSetting:
    return BaselineSetting(
        config=tiny(),
        corpus=tone_corpus,
        minutes=60,
        device="cpu",
        tracking_uri=f"sqlite:///{tmp_path}/mlflow.db",
    )


def test_each_trains_for_its_slice_in_a_child_process(setting: BaselineSetting) -> None:
    with baselines(setting, build_model(setting.config)) as others:
        assert list(others) == ["family", "torch_baseline"]
        for train_for in others.values():
            result = train_for(0.01)
            assert result.audio_seconds > 0
            assert result.seconds >= 0.01
    assert not module._trainers
