"""One recurrence for all cells in Triton; imported only when it is needed.

Legend: B rows, T frames, D directions, H units, G gates. Tensors are contiguous:

    gates   [B, T, D, G H]  arguments of the gates without h W_hh; a GRU's new gate without its bias
    weight  [D, G H, H]     W_hh
    states  [B, T, D, H]    float32; 0 in the padding
    saved   [B, T, D, S H]  float32, what the backward pass reads: GRU r, z, n, U_n h + b; LSTM
                            i, f, g, o, c; none for plain cells

A program computes ROWS rows of one direction, frame after frame. The backward direction reads the
frames of each row from its last to its first, by index. The weights stream from the L2 cache; the
state passes from frame to frame through `states`, which all threads of a program see after its
barrier. States, sums and activations are float32; the factors of products are PRECISION. `units` is
H again, unknown to the compiler, which would otherwise unroll loops until registers are spilled.
"""

import triton
import triton.language as tl

PLAIN, RELU, CLIPPED, GRU, LSTM = 0, 1, 2, 3, 4


@triton.jit
def _sigmoid(x) -> tl.tensor:
    return 1.0 / (1.0 + tl.exp(-x))


@triton.jit
def _tanh(x) -> tl.tensor:
    rest = tl.exp(-2.0 * tl.abs(x))
    positive = (1.0 - rest) / (1.0 + rest)
    return tl.where(x < 0, -positive, positive)


@triton.jit
def _product(left, weight, total, PRECISION: tl.constexpr) -> tl.tensor:
    """total + left weight."""
    return tl.dot(
        left.to(PRECISION),
        weight.to(PRECISION),
        total,
        input_precision="ieee",
        out_dtype=tl.float32,
    )


@triton.jit
def _places(row, direction, length, number, T, D: tl.constexpr) -> tuple[tl.tensor, ...]:
    """Where step `number` of each row lies in [B, T, D], and the steps before and after it."""
    # Step `number` of a row of length n is frame `number`, or n - 1 - `number` backwards.
    frame = tl.where(direction == 1, length - 1 - number, number)
    here = ((row * T + frame) * D + direction)[:, None]
    step = tl.where(direction == 1, -D, D)
    return here, here - step, here + step


@triton.jit
def forward(
    gates, weight, new_bias, lens, states, saved, num_rows, T, units, clip,
    H: tl.constexpr, D: tl.constexpr, CELL: tl.constexpr, G: tl.constexpr, S: tl.constexpr,
    ROWS: tl.constexpr, NB: tl.constexpr, KB: tl.constexpr, PRECISION: tl.constexpr,
) -> None:  # fmt: skip
    """States, and what `backward` reads."""
    row = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)
    direction = tl.program_id(1)
    length = tl.load(lens + row, mask=row < num_rows, other=0)
    longest = tl.max(length, 0)
    weight += direction * G * H * H
    for number in range(0, longest):
        is_valid = number < length
        # Rows that are shorter than the longest have ended: their lanes load zeros and store
        # nothing.
        here, there, _ = _places(row, direction, length, number, T, D)
        is_later = (is_valid & (number > 0))[:, None]
        # A tile of NB units of all gates: the state is read once, in pieces of KB units, for all of
        # them.
        for start in range(0, units, NB):
            unit = start + tl.arange(0, NB)
            is_unit = is_valid[:, None] & (unit < H)[None, :]
            sum_0 = tl.zeros((ROWS, NB), tl.float32)
            sum_1, sum_2, sum_3 = sum_0, sum_0, sum_0
            for first in range(0, units, KB):
                inner = first + tl.arange(0, KB)
                state = tl.load(
                    states + there * H + inner[None, :],
                    mask=is_later & (inner < H)[None, :], other=0.0,
                )  # fmt: skip
                is_weight = (inner < H)[:, None] & (unit < H)[None, :]
                place = weight + unit[None, :] * H + inner[:, None]
                sum_0 = _product(state, tl.load(place, is_weight, 0.0), sum_0, PRECISION)
                if G > 1:
                    part = tl.load(place + H * H, is_weight, 0.0)
                    sum_1 = _product(state, part, sum_1, PRECISION)
                    part = tl.load(place + 2 * H * H, is_weight, 0.0)
                    sum_2 = _product(state, part, sum_2, PRECISION)
                if G > 3:
                    part = tl.load(place + 3 * H * H, is_weight, 0.0)
                    sum_3 = _product(state, part, sum_3, PRECISION)
            gate = gates + here * (G * H) + unit[None, :]
            kept = saved + here * (S * H) + unit[None, :]
            arg_0 = tl.load(gate, is_unit, 0.0).to(tl.float32) + sum_0
            if CELL == 3:  # with the equations of gru_gates in kernel.c
                old = tl.load(states + there * H + unit[None, :], is_later & is_unit, 0.0)
                bias = tl.load(new_bias + direction * H + unit, unit < H, 0.0)
                reset = _sigmoid(arg_0)
                update = _sigmoid(tl.load(gate + H, is_unit, 0.0).to(tl.float32) + sum_1)
                recurrent = sum_2 + bias[None, :]
                new = _tanh(tl.load(gate + 2 * H, is_unit, 0.0).to(tl.float32) + reset * recurrent)
                value = new + update * (old - new)
                tl.store(kept, reset, is_unit)
                tl.store(kept + H, update, is_unit)
                tl.store(kept + 2 * H, new, is_unit)
                tl.store(kept + 3 * H, recurrent, is_unit)
            elif CELL == 4:  # those of lstm_gates
                old = tl.load(
                    saved + there * (S * H) + 4 * H + unit[None, :], is_later & is_unit, 0.0
                )
                entry = _sigmoid(arg_0)
                forget = _sigmoid(tl.load(gate + H, is_unit, 0.0).to(tl.float32) + sum_1)
                new = _tanh(tl.load(gate + 2 * H, is_unit, 0.0).to(tl.float32) + sum_2)
                exit = _sigmoid(tl.load(gate + 3 * H, is_unit, 0.0).to(tl.float32) + sum_3)
                cell = forget * old + entry * new
                value = exit * _tanh(cell)
                tl.store(kept, entry, is_unit)
                tl.store(kept + H, forget, is_unit)
                tl.store(kept + 2 * H, new, is_unit)
                tl.store(kept + 3 * H, exit, is_unit)
                tl.store(kept + 4 * H, cell, is_unit)
            elif CELL == 0:
                value = _tanh(arg_0)
            else:
                # Not maximum, which would turn NaN into 0.
                value = tl.where(arg_0 < 0, 0.0, arg_0)
                if CELL == 2:
                    value = tl.where(value > clip, clip, value)
            tl.store(states + here * H + unit[None, :], value, is_unit)
        tl.debug_barrier()  # the next frame reads states that other threads have stored


@triton.jit
def backward(
    out_grads, weight, lens, states, saved, grads, new_grads, carry, num_rows, T, units, clip,
    H: tl.constexpr, D: tl.constexpr, CELL: tl.constexpr, G: tl.constexpr, S: tl.constexpr,
    ROWS: tl.constexpr, NB: tl.constexpr, KB: tl.constexpr, PRECISION: tl.constexpr,
) -> None:  # fmt: skip
    """Gradients `grads` [B, T, D, G H] of h W_hh, and for a GRU `new_grads` [B, T, D, H] of its new
    gate's argument. `carry` [B, D, H] is scratch: what reaches the state before past W_hh."""
    row = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)
    direction = tl.program_id(1)
    length = tl.load(lens + row, mask=row < num_rows, other=0)
    longest = tl.max(length, 0)
    weight += direction * G * H * H
    for step in range(0, longest):
        number = length - 1 - step  # of the frame in the order of `forward`
        is_valid = number >= 0
        here, there, next = _places(row, direction, length, number, T, D)
        has_before = (is_valid & (number > 0))[:, None]
        has_after = is_valid[:, None] & (step > 0)
        for start in range(0, units, NB):
            unit = start + tl.arange(0, NB)
            is_unit = is_valid[:, None] & (unit < H)[None, :]
            # What the next step of this row sends back through W_hh: the gradients of all its
            # gates, times W_hh.
            total = tl.zeros((ROWS, NB), tl.float32)
            for first in range(0, G * units, KB):
                inner = first + tl.arange(0, KB)
                is_inner = inner < G * H
                grad = tl.load(
                    grads + next * (G * H) + inner[None, :],
                    mask=has_after & is_inner[None, :],
                    other=0.0,
                )
                place = weight + inner[:, None] * H + unit[None, :]
                part = tl.load(place, is_inner[:, None] & (unit < H)[None, :], 0.0)
                total = _product(grad, part, total, PRECISION)
            # And what it sends back past W_hh: of the old state of a GRU, of an LSTM's cell.
            past = carry + (row * D + direction)[:, None] * H + unit[None, :]
            grad = tl.load(out_grads + here * H + unit[None, :], is_unit, 0.0).to(tl.float32)
            grad += total
            kept = saved + here * (S * H) + unit[None, :]
            out = grads + here * (G * H) + unit[None, :]
            if CELL == 3:  # as gru_slopes in kernel.c
                grad += tl.load(past, has_after & is_unit, 0.0)
                old = tl.load(states + there * H + unit[None, :], has_before & is_unit, 0.0)
                reset, update = tl.load(kept, is_unit, 0.0), tl.load(kept + H, is_unit, 0.0)
                new = tl.load(kept + 2 * H, is_unit, 0.0)
                recurrent = tl.load(kept + 3 * H, is_unit, 0.0)
                new_grad = grad * (1.0 - update) * (1.0 - new * new)
                tl.store(out, new_grad * recurrent * reset * (1.0 - reset), is_unit)
                tl.store(out + H, grad * (old - new) * update * (1.0 - update), is_unit)
                tl.store(out + 2 * H, new_grad * reset, is_unit)
                tl.store(new_grads + here * H + unit[None, :], new_grad, is_unit)
                tl.store(past, grad * update, is_unit)
            elif CELL == 4:  # as lstm_slopes
                entry, forget = tl.load(kept, is_unit, 0.0), tl.load(kept + H, is_unit, 0.0)
                new = tl.load(kept + 2 * H, is_unit, 0.0)
                exit = tl.load(kept + 3 * H, is_unit, 0.0)
                bent = _tanh(tl.load(kept + 4 * H, is_unit, 0.0))
                old = tl.load(
                    saved + there * (S * H) + 4 * H + unit[None, :], has_before & is_unit, 0.0
                )
                cell_grad = grad * exit * (1.0 - bent * bent)
                cell_grad += tl.load(past, has_after & is_unit, 0.0)
                tl.store(out, cell_grad * new * entry * (1.0 - entry), is_unit)
                tl.store(out + H, cell_grad * old * forget * (1.0 - forget), is_unit)
                tl.store(out + 2 * H, cell_grad * entry * (1.0 - new * new), is_unit)
                tl.store(out + 3 * H, grad * bent * exit * (1.0 - exit), is_unit)
                tl.store(past, cell_grad * forget, is_unit)
            else:
                value = tl.load(states + here * H + unit[None, :], is_unit, 0.0)
                if CELL == 0:
                    tl.store(out, grad * (1.0 - value * value), is_unit)
                else:
                    passes = value > 0
                    if CELL == 2:
                        passes = passes & (value < clip)
                    # NaN passes nowhere: the loss of such a row is NaN itself.
                    tl.store(out, tl.where(passes, grad, 0.0), is_unit)
        tl.debug_barrier()
