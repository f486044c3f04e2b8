"""Recurrent cells that torch does not have.

minGRU, minLSTM and QRNN have gates that read the input alone, so they are linear in their state
(`linear_recurrence`). Gates of SRU read the state unit by unit (`simple_recurrence`). In both,
matrix products are over all frames at once. The light GRU is a GRU without reset gate, with a
matrix product in each frame (`light_recurrence`). On a CPU the compiled kernel computes what runs
over the frames, elsewhere torch: a linear recurrence by a scan, the others frame by frame.

Legend: B batch, T frames, C inputs, H width. sigma is the sigmoid, * the product of units.
"""

import math
from abc import abstractmethod
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from variants.ops import kernel, paths
from variants.ops.light_recurrence import light_recurrence
from variants.ops.linear_recurrence import linear_recurrence
from variants.ops.normalization import MaskedBatchNorm
from variants.ops.padding import zero_padding
from variants.ops.simple_recurrence import simple_recurrence

State = tuple[Tensor, ...]
"""The state of a cell, such as (h [B, H],), of an LSTM (h, c)."""

SCAN, BY_FRAME = "torch, scan", "torch, frame by frame"
"""What `paths` records of a cell whose recurrence the compiled kernel does not compute."""


class ComposedCell(nn.Module):
    """One layer and direction: (x [B, T, C], state) to (outputs [B, T, H], state after the last).

    The initial state is zero where None is given. Outputs have the type of matrix products,
    bfloat16 under autocast; recurrence and states are float32 (float64 if the weights are).
    ``lens_B`` are the valid frames of each row, for statistics over the batch; None: all T.
    """

    otherwise: str
    """SCAN or BY_FRAME: what computes the recurrence where the compiled kernel does not."""

    def __init__(self, num_inputs: int, width: int) -> None:
        super().__init__()
        self.input_size, self.hidden_size = num_inputs, width

    def forward(
        self, x_BTC: Tensor, state: State | None = None, lens_B: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Run over the frames; T is at least 1."""
        by_kernel = x_BTC.numel() and kernel.computes(x_BTC)
        paths.note(paths.RECURRENCE, kernel.description() if by_kernel else self.otherwise)
        return self._run(x_BTC, self._zeros(x_BTC) if state is None else state, lens_B)

    def _zeros(self, x_BTC: Tensor) -> State:
        return (_wide(x_BTC.new_zeros(len(x_BTC), self.hidden_size)),)

    @abstractmethod
    def _run(self, x_BTC: Tensor, state: State, lens_B: Tensor | None) -> tuple[Tensor, State]: ...


def _wide(x: Tensor) -> Tensor:
    """`x` in a type in which rounding does not add up over the frames."""
    return x if x.dtype == torch.float64 else x.float()


def _positive(x: Tensor) -> Tensor:
    """g of minGRU and minLSTM: x + 0.5 if x is at least 0, else sigma(x)."""
    return torch.where(x >= 0, x + 0.5, x.sigmoid())


class MinGRU(ComposedCell):
    """minGRU, Feng et al. 2024, https://arxiv.org/abs/2410.01201, section 3.

        z_t = sigma(W_z x_t + b_z)
        n_t = g(W_n x_t + b_n)                      h with a tilde in the paper
        h_t = (1 - z_t) * h_{t-1} + z_t * n_t

    g keeps states positive, as in the paper's code in logarithms; h_0 is 0, there g(0).
    """

    otherwise = SCAN

    def __init__(self, num_inputs: int, width: int) -> None:
        super().__init__(num_inputs, width)
        self.inputs = nn.Linear(num_inputs, 2 * width)

    def _run(self, x_BTC: Tensor, state: State, lens_B: Tensor | None) -> tuple[Tensor, State]:
        gates_BTG = self.inputs(x_BTC)
        z_BTH, n_BTH = _wide(gates_BTG).chunk(2, dim=-1)
        # 1 - sigma(z) would round to 0 too early.
        # h_t = sigma(-z) * h_{t-1} + sigma(z) * g(n).
        h_BTH = linear_recurrence((-z_BTH).sigmoid(), z_BTH.sigmoid() * _positive(n_BTH), state[0])
        return h_BTH.to(gates_BTG.dtype), (h_BTH[:, -1],)


class MinLSTM(ComposedCell):
    """minLSTM, Feng et al. 2024, https://arxiv.org/abs/2410.01201, section 3.

        f_t = sigma(W_f x_t + b_f)
        i_t = sigma(W_i x_t + b_i)
        n_t = g(W_n x_t + b_n)                      h with a tilde in the paper
        h_t = f_t / (f_t + i_t) * h_{t-1} + i_t / (f_t + i_t) * n_t

    g keeps states positive, as in the paper's code in logarithms; h_0 is 0, there g(0).
    """

    otherwise = SCAN

    def __init__(self, num_inputs: int, width: int) -> None:
        super().__init__(num_inputs, width)
        self.inputs = nn.Linear(num_inputs, 3 * width)

    def _run(self, x_BTC: Tensor, state: State, lens_B: Tensor | None) -> tuple[Tensor, State]:
        gates_BTG = self.inputs(x_BTC)
        f_BTH, i_BTH, n_BTH = _wide(gates_BTG).chunk(3, dim=-1)
        # f / (f + i) = sigma(log f - log i), which is right where both gates are closed, 0 / 0.
        odds_BTH = F.logsigmoid(f_BTH) - F.logsigmoid(i_BTH)
        new_BTH = (-odds_BTH).sigmoid() * _positive(n_BTH)
        h_BTH = linear_recurrence(odds_BTH.sigmoid(), new_BTH, state[0])
        return h_BTH.to(gates_BTG.dtype), (h_BTH[:, -1],)


class QRNN(ComposedCell):
    """Quasi-recurrent network, Bradbury et al. 2017, https://arxiv.org/abs/1611.01576.

    A convolution over this frame and the one before, and the paper's fo-pooling:

        z_t = tanh(W_z [x_{t-1}, x_t] + b_z)
        f_t = sigma(W_f [x_{t-1}, x_t] + b_f)
        o_t = sigma(W_o [x_{t-1}, x_t] + b_o)
        c_t = f_t * c_{t-1} + (1 - f_t) * z_t
        h_t = o_t * c_t

    Without the paper's zoneout. The state is (c, the last x); x_0 is 0.
    """

    otherwise = SCAN

    def __init__(self, num_inputs: int, width: int) -> None:
        super().__init__(num_inputs, width)
        self.inputs = nn.Linear(2 * num_inputs, 3 * width)

    def _zeros(self, x_BTC: Tensor) -> State:
        return (*super()._zeros(x_BTC), torch.zeros_like(x_BTC[:, 0]))

    def _run(self, x_BTC: Tensor, state: State, lens_B: Tensor | None) -> tuple[Tensor, State]:
        c_BH, last_BC = state
        before_BTC = torch.cat((last_BC[:, None], x_BTC[:, :-1]), dim=1)
        gates_BTG = self.inputs(torch.cat((before_BTC, x_BTC), dim=-1))
        z_BTH, f_BTH, o_BTH = _wide(gates_BTG).chunk(3, dim=-1)
        new_BTH = (-f_BTH).sigmoid() * z_BTH.tanh()
        c_BTH = linear_recurrence(f_BTH.sigmoid(), new_BTH, c_BH)
        return (o_BTH.sigmoid() * c_BTH).to(gates_BTG.dtype), (c_BTH[:, -1], x_BTC[:, -1])


class SRU(ComposedCell):
    """Simple recurrent unit, Lei et al. 2018, https://arxiv.org/abs/1709.02755.

        f_t = sigma(W_f x_t + v_f * c_{t-1} + b_f)
        c_t = f_t * c_{t-1} + (1 - f_t) * (W x_t)
        r_t = sigma(W_r x_t + v_r * c_{t-1} + b_r)
        h_t = r_t * c_t + (1 - r_t) * alpha * x_t

    alpha = sqrt(3), the paper's for b_r = 0. Where C and H differ, x_t in the last line is
    W_x x_t, as in the authors' code. Weights are drawn as there. The state is (c,).
    """

    otherwise = BY_FRAME
    ALPHA = math.sqrt(3)

    def __init__(self, num_inputs: int, width: int) -> None:
        super().__init__(num_inputs, width)
        self.gates = nn.Linear(num_inputs, 2 * width)
        self.new = nn.Linear(num_inputs, width, bias=False)
        self.skip: nn.Linear | None = None
        if num_inputs != width:
            self.skip = nn.Linear(num_inputs, width, bias=False)
        self.peephole_forget_H = nn.Parameter(torch.empty(width))
        self.peephole_reset_H = nn.Parameter(torch.empty(width))
        # Uniform in ± sqrt(3 v) has the variance v: 1 / C of the new values, half of that of gates,
        # 1 / 2 of peepholes.
        limit = math.sqrt(3 / num_inputs)
        nn.init.uniform_(self.gates.weight, -limit * math.sqrt(0.5), limit * math.sqrt(0.5))
        nn.init.zeros_(self.gates.bias)
        for linear in filter(None, (self.new, self.skip)):
            nn.init.uniform_(linear.weight, -limit, limit)
        for peephole_H in (self.peephole_forget_H, self.peephole_reset_H):
            nn.init.uniform_(peephole_H, -math.sqrt(1.5), math.sqrt(1.5))

    def _run(self, x_BTC: Tensor, state: State, lens_B: Tensor | None) -> tuple[Tensor, State]:
        gates_BTG, new_BTH = self.gates(x_BTC), self.new(x_BTC)
        f_BTH, r_BTH = _wide(gates_BTG).chunk(2, dim=-1)
        cells_BTH = simple_recurrence(f_BTH, _wide(new_BTH), self.peephole_forget_H, state[0])
        before_BTH = torch.cat((state[0][:, None], cells_BTH[:, :-1]), dim=1)
        r_BTH = torch.addcmul(r_BTH, self.peephole_reset_H, before_BTH).sigmoid()
        skip_BTH = self.ALPHA * _wide(x_BTC if self.skip is None else self.skip(x_BTC))
        h_BTH = torch.lerp(skip_BTH, cells_BTH, r_BTH)
        return h_BTH.to(gates_BTG.dtype), (cells_BTH[:, -1],)


class LightGRU(ComposedCell):
    """Light GRU, Ravanelli et al. 2018, https://arxiv.org/abs/1803.10225: no reset gate, ReLU, and
    batch normalisation BN of the products of the input.

        z_t = sigma(BN(W_z x_t) + U_z h_{t-1})
        n_t = relu(BN(W_n x_t) + U_n h_{t-1})       h with a tilde in the paper
        h_t = z_t * h_{t-1} + (1 - z_t) * n_t

    BN has a scale and a bias for each unit and statistics over all valid frames of the batch.
    Recurrent weights begin orthogonal, the others by Glorot's rule. Without the paper's dropout of
    the recurrence. States have no upper limit, so training relies on clipped gradients.
    """

    otherwise = BY_FRAME

    def __init__(self, num_inputs: int, width: int) -> None:
        super().__init__(num_inputs, width)
        self.inputs = nn.Linear(num_inputs, 2 * width, bias=False)
        self.norm = MaskedBatchNorm(2 * width)
        self.weight_hh_GH = nn.Parameter(torch.empty(2 * width, width))
        for gate_GC in self.inputs.weight.detach().chunk(2):
            nn.init.xavier_uniform_(gate_GC)
        for gate_HH in self.weight_hh_GH.detach().chunk(2):
            nn.init.orthogonal_(gate_HH)

    def _run(self, x_BTC: Tensor, state: State, lens_B: Tensor | None) -> tuple[Tensor, State]:
        if lens_B is None:
            lens_B = torch.full((len(x_BTC),), x_BTC.shape[1], device=x_BTC.device)
        gates_BTG = self.norm(self.inputs(zero_padding(x_BTC, lens_B)), lens_B)
        h_BTH = light_recurrence(gates_BTG, self.weight_hh_GH, state[0])
        return h_BTH.to(gates_BTG.dtype), (h_BTH[:, -1],)


COMPOSED: Mapping[str, type[ComposedCell]] = {
    "mingru": MinGRU,
    "minlstm": MinLSTM,
    "qrnn": QRNN,
    "sru": SRU,
    "ligru": LightGRU,
}
"""By the name of the cell."""
