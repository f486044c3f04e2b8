"""Many pairs at once: at which level each is judged, so that false differences stay rare.

Legend: V systems, P pairs of them in the order of `np.triu_indices`, N partitions of the systems
into groups of equals; a leading "..." stands for studies that are computed at once.

Hypotheses are rejected one at a time, that with the smallest p for its weight first, as in Holm's
procedure (Scandinavian Journal of Statistics 1979). The weights say how alpha is shared out among
the pairs that could all be without a difference at this point. Two things make them larger than
1 / P:

- Claims first. Pairs that were registered as claims before the study share all of alpha but
  RESERVE, the other pairs share RESERVE; whichever family has nothing left that could be true
  leaves its level to the other (gatekeeping; Bretz et al., Statistics in Medicine 2009).
- Logic. If a and b differ, c cannot equal both (Shaffer, JASA 1986). Only partitions that part all
  pairs found different so far are still possible, and a pair's weight is its smallest over the
  possible partitions in which it is equal.

The probability of any false difference is at most alpha, whichever hypotheses are true (in the
strong sense): the true partition stays possible until the first true hypothesis is rejected, whose
p is then at most alpha times its weight in that partition, and those weights sum to at most one.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from bench.stats.clusters import Bools, Floats

ALPHA = 0.05
RESERVE = 0.1
"""The share of alpha that pairs without a claim have as long as a claim is undecided."""
MOST_PARTITIONED = 9
"""Systems; the partitions of more are too many, and logic is left out (Holm)."""


@dataclass(frozen=True)
class Levels:
    """The outcome of the procedure."""

    p_adjusted: Floats
    """[..., P]: the smallest alpha at which the pair is found different; NaN where p is."""
    level: Floats
    """[..., P]: what p was compared with, or would be next."""


def step_down(p: Floats, claims_P: Bools) -> Levels:
    """Judge pairs by their p [..., P], an unknown p as one. `claims_P` marks the pairs that were
    registered before the study; without any, all pairs are one family."""
    num_pairs = p.shape[-1]
    flat_EP = np.where(np.isnan(p), 1.0, p).reshape(-1, num_pairs)
    num_systems = round((1 + np.sqrt(1 + 8 * num_pairs)) / 2)  # P = V (V - 1) / 2, solved for V
    weigh = _ByLogic if num_systems <= MOST_PARTITIONED else _ByNumber
    weights = weigh(claims_P, num_systems, len(flat_EP))
    adjusted_EP, level_EP = np.ones_like(flat_EP), np.zeros_like(flat_EP)
    open_EP = np.ones(flat_EP.shape, dtype=bool)
    reached_E = np.zeros(len(flat_EP))
    rows = np.arange(len(flat_EP))
    for _ in range(num_pairs):
        weight_EP = weights.now(open_EP)
        # In each round of each study the open pair with the smallest p / weight is next. Its
        # adjusted p is the largest such ratio so far: a later pair is found only if all before it
        # are (Holm, three pairs, weights 1/3, 1/2, 1):
        #
        #     p            0.01    0.04    0.03
        #     round        1       3       2
        #     p / weight   0.03    0.04    0.06
        #     adjusted     0.03    0.06    0.06
        #
        # A pair whose level is fixed keeps it: nothing that is tested later was ever tested.
        going = open_EP & (reached_E <= ALPHA)[:, None]
        level_EP = np.where(going, ALPHA * weight_EP, level_EP)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio_EP = np.where(open_EP, flat_EP / weight_EP, np.inf)
        first_E = ratio_EP.argmin(axis=1)
        reached_E = np.maximum(reached_E, ratio_EP[rows, first_E])
        adjusted_EP[rows, first_E] = np.minimum(1.0, reached_E)
        open_EP[rows, first_E] = False
        weights.part(first_E)
    adjusted = np.where(np.isnan(p), np.nan, adjusted_EP.reshape(p.shape))
    return Levels(adjusted, level_EP.reshape(p.shape))


def holm(p_M: Floats) -> Levels:
    """Holm's procedure for hypotheses that are no pairs of systems; an unknown p counts as one."""
    if not p_M.size:
        return Levels(p_M, p_M)
    known_M = np.where(np.isnan(p_M), 1.0, p_M)
    order = np.argsort(known_M, kind="stable")
    left_M = np.arange(p_M.size, 0, -1)
    reached_M = np.maximum.accumulate(known_M[order] * left_M)
    # The first that is not found stops the procedure, and all that follow share its level.
    stop = int((reached_M <= ALPHA).sum())
    tested_M = left_M[np.minimum(np.arange(p_M.size), min(stop, p_M.size - 1))]
    adjusted_M, level_M = np.empty_like(known_M), np.empty_like(known_M)
    adjusted_M[order] = np.minimum(1.0, reached_M)
    level_M[order] = ALPHA / tested_M
    return Levels(np.where(np.isnan(p_M), np.nan, adjusted_M), level_M)


class _ByLogic:
    """Weights over the partitions that are still possible."""

    def __init__(self, claims_P: Bools, num_systems: int, num_studies: int) -> None:
        self.equal_NP = _partitions(num_systems)
        self.weight_NP = np.where(self.equal_NP, _shares(self.equal_NP, claims_P), np.inf)
        self.possible_EN = np.ones((num_studies, len(self.equal_NP)), dtype=bool)

    def now(self, open_EP: Bools) -> Floats:
        """The smallest weight [E, P] over the partitions that are still possible; 1 for pairs that
        were parted before, which are equal in none."""
        found_EP = np.full(open_EP.shape, np.inf)
        for pair, weight_N in enumerate(self.weight_NP.T):
            own = np.isfinite(weight_N)
            found_EP[:, pair] = np.where(self.possible_EN[:, own], weight_N[own], np.inf).min(
                axis=1, initial=1.0
            )
        return found_EP

    def part(self, pair_E: NDArray[np.intp]) -> None:
        """`pair_E` are different: no partition that has them equal is possible."""
        self.possible_EN &= ~self.equal_NP.T[pair_E]


class _ByNumber:
    """Weights by how many pairs are left: any of them may be equal."""

    def __init__(self, claims_P: Bools, num_systems: int, num_studies: int) -> None:
        self.claims_P = claims_P

    def now(self, open_EP: Bools) -> Floats:
        """[E, P]."""
        return _shares(open_EP, self.claims_P)

    def part(self, pair_E: NDArray[np.intp]) -> None:
        """Nothing follows for other pairs."""


def _shares(equal_NP: Bools, claims_P: Bools) -> Floats:
    """How alpha is shared out [N, P] if the pairs `equal_NP` are those without a difference."""
    num_claims = (equal_NP & claims_P).sum(axis=1, keepdims=True)
    num_others = (equal_NP & ~claims_P).sum(axis=1, keepdims=True)
    claim = np.where(num_others > 0, 1 - RESERVE, 1.0) / np.maximum(1, num_claims)
    other = np.where(num_claims > 0, RESERVE, 1.0) / np.maximum(1, num_others)
    shares: Floats = np.where(claims_P, claim, other)
    return shares


@cache
def _partitions(num_systems: int) -> Bools:
    """Which pairs [N, P] are equal in each partition of the systems into groups: Bell's number of
    them, without the one in which no two are equal."""
    # As restricted growth strings: the first system is in group 0, each next one in a group that is
    # there or in the next new one. Of three systems: 000, 001, 010, 011, 012; the last, in which no
    # two are equal, is left out below.
    groups: list[tuple[int, ...]] = [()]
    for _ in range(num_systems):
        groups = [(*g, k) for g in groups for k in range(max(g, default=-1) + 2)]
    group_NV = np.array(groups)
    a_P, b_P = np.triu_indices(num_systems, 1)
    equal_NP: Bools = group_NV[:, a_P] == group_NV[:, b_P]
    return equal_NP[equal_NP.any(axis=1)]
