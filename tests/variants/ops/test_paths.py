"""What computed is noted where it computes."""

import torch
from torch import nn

from bench.training.ctc import ctc_losses
from variants.deepspeech2 import ClippedRecurrence
from variants.ops import kernel, paths
from variants.ops.recurrence import recur


def test_each_path_is_noted_until_the_next_run() -> None:
    paths.forget()
    cell, x = nn.GRU(3, 4, batch_first=True), torch.randn(2, 5, 3)
    recur(cell, x)
    assert paths.taken() == {"recurrence": kernel.description()}
    with kernel.unused():
        recur(cell, x)
        log_probs = torch.randn(1, 5, 29).log_softmax(-1)
        ctc_losses(log_probs, torch.tensor([5]), torch.tensor([[3]]), torch.tensor([1]))
    both = " and ".join(sorted({kernel.description(), "torch"}))
    assert paths.taken() == {"ctc": "torch", "recurrence": both}
    paths.forget()
    ClippedRecurrence(3, 4, 1, 20.0)(x, torch.tensor([5, 2]))
    assert paths.taken() == {"recurrence": "torch, frame by frame"}
