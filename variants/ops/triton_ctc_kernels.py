"""The CTC loss in Triton (Graves et al. 2006, section 4); imported only when it is needed.

Legend: B rows, U frames, V symbols, L labels, S = 2 L + 1 states: labels with a blank around each.
All arithmetic is float32 in logarithms; every sum has a fixed order, so results are deterministic.
"""

import triton
import triton.language as tl


@triton.jit
def _log_add(a, b, c) -> tl.tensor:
    """log(exp(a) + exp(b) + exp(c)); -inf of nothing but -inf, NaN of a NaN."""
    most = tl.maximum(tl.maximum(a, b), c)
    safe = tl.where(most == float("-inf"), 0.0, most)
    return safe + tl.log(tl.exp(a - safe) + tl.exp(b - safe) + tl.exp(c - safe))


@triton.jit
def _state_symbols(
    targets, row, num_labels, target_len, is_backward, L, BLANK, state
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """The symbol of each state, of the text reversed where `is_backward`, and of the label before
    it (BLANK if there is none)."""
    #     state     0      1        2      3        4          place of state 2 i + 1: i
    #     symbol    blank  label 0  blank  label 1  blank
    place = (state - 1) // 2
    is_label = ((state % 2) == 1) & (place < target_len)
    here = tl.where(is_backward, target_len - 1 - place, place)
    before = tl.where(is_backward, here + 1, here - 1)
    base = targets + row * L
    symbol = tl.load(base + here, mask=is_label, other=BLANK)
    previous = tl.load(base + before, mask=is_label & (place > 0), other=BLANK)
    return symbol, previous, is_label


@triton.jit
def sweep(
    log_probs, lens, targets, target_lens, paths, losses,
    U, V, L, BLANK: tl.constexpr, S: tl.constexpr,
) -> None:  # fmt: skip
    """Forward variables (program 1 of a row: those of row and text reversed, which are the backward
    ones) into `paths` [B, 2, U, S], and the loss of the row.

    A row is one program. A state takes its predecessors from its neighbours by `tl.gather`.
    """
    row, direction = tl.program_id(0).to(tl.int64), tl.program_id(1)
    is_backward = direction == 1
    num_frames, target_len = tl.load(lens + row), tl.load(target_lens + row)
    state = tl.arange(0, S)
    symbol, previous, is_label = _state_symbols(
        targets, row, L, target_len, is_backward, L, BLANK, state
    )
    is_state = state <= 2 * target_len
    may_skip = is_label & (symbol != previous) & (state > 1)
    emissions = log_probs + row * U * V + symbol
    out = paths + (row * 2 + direction) * U * S + state
    first = tl.where(is_backward, num_frames - 1, 0)
    step = tl.where(is_backward, -1, 1)
    path = tl.full((S,), float("-inf"), tl.float32)
    # A path begins on the first blank or on the first label.
    begins = (state < 2) & is_state & (num_frames > 0)
    path = tl.where(begins, tl.load(emissions + first * V, mask=begins, other=0.0), path)
    tl.store(out + first * S, path, mask=is_state & (num_frames > 0))
    one, two = tl.maximum(state - 1, 0), tl.maximum(state - 2, 0)
    for number in range(1, num_frames):
        frame = first + number * step
        emitted = tl.load(emissions + frame * V, mask=is_state, other=0.0)
        from_one = tl.where(state > 0, tl.gather(path, one, 0), float("-inf"))
        from_two = tl.where(may_skip, tl.gather(path, two, 0), float("-inf"))
        path = tl.where(is_state, _log_add(path, from_one, from_two) + emitted, float("-inf"))
        tl.store(out + frame * S, path, mask=is_state)
    if direction == 0:
        # The last label or the blank after it; each sum has at most two terms that are not -inf.
        is_end = is_state & (state >= 2 * target_len - 1)
        ends = tl.where(is_end, path, float("-inf"))
        most = tl.max(ends, 0)
        safe = tl.where(most == float("-inf"), 0.0, most)
        total = tl.sum(tl.where(is_end, tl.exp(ends - safe), 0.0), 0)
        loss = -(safe + tl.log(total))
        # A row without frames has one path if its text is empty, of probability 1.
        empty = tl.where(target_len == 0, 0.0, float("inf"))
        tl.store(losses + row, tl.where(num_frames == 0, empty, loss))


@triton.jit
def collect(
    log_probs, lens, targets, target_lens, paths, losses, grads,
    U, V, L, BLANK: tl.constexpr, S: tl.constexpr, CHUNK: tl.constexpr, VS: tl.constexpr,
) -> None:  # fmt: skip
    """The gradient of a row's loss for VS log-probabilities of one frame: minus the probability
    that the path is at a symbol. Zero in the padding, and in rows without a path."""
    row, frame = tl.program_id(0).to(tl.int64), tl.program_id(1)
    num_frames, target_len = tl.load(lens + row), tl.load(target_lens + row)
    loss = tl.load(losses + row)
    symbols = tl.program_id(2) * VS + tl.arange(0, VS)
    shares = tl.zeros((VS,), tl.float32)
    if (frame < num_frames) & (loss != float("inf")):
        for start in range(0, 2 * target_len + 1, CHUNK):
            state = start + tl.arange(0, CHUNK)
            is_state = state <= 2 * target_len
            symbol, _, _ = _state_symbols(targets, row, L, target_len, False, L, BLANK, state)
            emitted = tl.load(log_probs + (row * U + frame) * V + symbol, mask=is_state, other=0.0)
            path = paths + (row * 2 * U + frame) * S
            there = 2 * target_len - state  # the same state in the reversed text
            alpha = tl.load(path + state, mask=is_state, other=float("-inf"))
            beta = tl.load(path + U * S + there, mask=is_state, other=float("-inf"))
            # Both include the emission of this frame. Nothing passes through a state of -inf.
            is_passed = (alpha != float("-inf")) & (beta != float("-inf"))
            # log of beginnings times ends, over this emission, which both hold, and over p(text).
            logs = tl.where(is_passed, alpha + beta - emitted + loss, float("-inf"))
            hits = symbol[:, None] == symbols[None, :]
            shares += tl.sum(tl.where(hits, tl.exp(logs)[:, None], 0.0), 0)
    tl.store(grads + (row * U + frame) * V + symbols, -shares, mask=symbols < V)
