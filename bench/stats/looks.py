"""Planned looks: seeds are added until a pair is decided, without more errors than one look makes.

Legend: K looks, V systems, P pairs of systems; a leading "..." stands for studies that are computed
at once.

A plan fixes, before the first look, after how many seeds a pair may be looked at, and how much of
alpha each look may spend (Lan & DeMets, Biometrika 1983). The nominal level of a look, what its p
is compared with, follows from the joint distribution of the looks' statistics, those of a Brownian
motion at times seeds / most seeds (Armitage, McPherson & Rowe, JRSS A 1969; p of Student's t in
place of the normal's is Jennison & Turnbull's significance level approach, 2000, section 3.8). The
speakers are the same at every look, so looks correlate more than that: the plan is conservative.

Many pairs: `step_down` shares out alpha, and what it gives a pair is spent by the plan (Maurer &
Bretz, Statistics in Biopharmaceutical Research 2013). It is run at every look, on the p of the
pair's stage turned into the alpha at which the stage's nominal level would be that p. A decision is
final: a pair found different stays so, with the interval that decided it, and one found equivalent
is not looked at again and gives no level to others.

Systems may have different numbers of seeds, since only those with an open pair get more. The stage
of a pair is the number in the plan that both its systems have reached, and its statistics are taken
once a stage, when it is reached: seeds that one of the two gets for the sake of another pair change
nothing until the other follows. At a stage that was looked at before, a pair is judged again only
where alpha that others have left has raised its level.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import special
from scipy.optimize import brentq

from bench.stats.clusters import Bools, Floats
from bench.stats.estimate import Estimate
from bench.stats.multiplicity import step_down
from bench.stats.variance import SystemEstimates, differences
from bench.stats.verdict import MARGIN, Verdicts

Ints = NDArray[np.int64]

LOOKS = (3, 5, 8, 12, 20)
"""Seeds of each system."""
OPEN, DIFFERENT, EQUIVALENT = 0, 1, 2

# Alphas for which the levels are computed; between them their logarithms are interpolated.
_ALPHAS = np.geomspace(1e-7, 0.6, 40)
_GRID = 401  # points of a density between the boundaries


@dataclass(frozen=True)
class Plan:
    """When a study is looked at, and what a look may spend; written down before the first."""

    looks: tuple[int, ...] = LOOKS
    spending: str = "pocock"
    """A key of SPENDING."""

    def __post_init__(self) -> None:
        if not self.looks or list(self.looks) != sorted(set(self.looks)) or self.looks[0] < 2:
            raise ValueError(
                f"looks are rising numbers of seeds, from 2 on, got {list(self.looks)}; write "
                f"for instance {list(LOOKS)}"
            )
        if self.spending not in SPENDING:
            raise ValueError(
                f"a spending function is one of {', '.join(SPENDING)}, got {self.spending!r}"
            )

    def nominal(self, stage: Ints | int, alpha: Floats) -> Floats:
        """The level at `stage`, from 0, of a pair that has `alpha` for all stages."""
        log_alpha = np.log(np.maximum(alpha, _ALPHAS[0]))
        found = np.full(np.shape(alpha), np.nan)
        for number, table in enumerate(_nominal_levels(self)):
            own = np.exp(np.interp(log_alpha, np.log(_ALPHAS), table))
            found = np.where(np.equal(stage, number), own, found)
        return found

    def alpha_for(self, stage: Ints | int, p: Floats) -> Floats:
        """The alpha of which `p` would be the nominal level; 1 beyond any that is of use."""
        found = np.full(np.shape(p), np.nan)
        for number, table in enumerate(_nominal_levels(self)):
            with np.errstate(divide="ignore"):
                own = np.exp(np.interp(np.log(p), table, np.log(_ALPHAS)))
            own = np.where(p > np.exp(table[-1]), 1.0, np.where(np.isnan(p), np.nan, own))
            found = np.where(np.equal(stage, number), own, found)
        return found

    def stages(self, seeds: Ints) -> Ints:
        """The stage [..., P] of each pair of systems with `seeds` [..., V], the first look's at
        least."""
        a_P, b_P = np.triu_indices(seeds.shape[-1], 1)
        fewest = np.minimum(seeds[..., a_P], seeds[..., b_P])
        reached: Ints = np.searchsorted(self.looks, fewest, side="right") - 1
        return reached

    def next_seeds(self, seeds: Ints, decisions: "Decisions", claims_P: Bools) -> Ints:
        """Seeds [..., V] of each system for the next look; `seeds` themselves if there is none.

        Open claims go on to their next stage, and where none is left the other open pairs do.
        """
        last = len(self.looks) - 1
        going = (decisions.outcome == OPEN) & (decisions.stage < last)
        claims = going & claims_P
        chosen = np.where(claims.any(axis=-1, keepdims=True), claims, going)
        # A system gets as many seeds as the pair that wants most of it; other systems keep theirs.
        #
        #     plan 3, 5, 8      seeds now      open pairs      next
        #     a                 3              a : b           5
        #     b                 3                              5
        #     c                 3                              3
        target_P = np.where(chosen, np.take(self.looks, np.minimum(decisions.stage + 1, last)), 0)
        a_P, b_P = np.triu_indices(seeds.shape[-1], 1)
        systems_V = np.arange(seeds.shape[-1])
        member_PV = (a_P[:, None] == systems_V) | (b_P[:, None] == systems_V)
        wanted = np.where(member_PV, target_P[..., None], 0).max(axis=-2, initial=0)
        more: Ints = np.maximum(seeds, wanted)
        return more


def _pocock(alpha: float, time: float) -> float:
    """Nearly even nominal levels (Lan & DeMets 1983)."""
    return alpha * float(np.log1p((np.e - 1) * time))


def _obrien_fleming(alpha: float, time: float) -> float:
    """Little at first, nearly all at the last look (Lan & DeMets 1983), two-sided."""
    return 4 * float(special.ndtr(special.ndtri(alpha / 4) / np.sqrt(time)))


def _linear(alpha: float, time: float) -> float:
    """In proportion to the seeds."""
    return alpha * time


SPENDING: Mapping[str, Callable[[float, float], float]] = {
    "pocock": _pocock,
    "obrien-fleming": _obrien_fleming,
    "linear": _linear,
}


@dataclass(frozen=True)
class Decisions:
    """What a study has found up to a look; [..., P] each."""

    look: int
    """The number of looks so far."""
    outcome: Ints
    """OPEN, DIFFERENT or EQUIVALENT."""
    stage: Ints
    """Index in the plan's looks; see `Plan.stages`."""
    decided_at: Ints
    """The look, from 0; of an open pair the last."""
    estimate: Estimate
    """Of the difference, WER of b minus WER of a, from the runs when the stage was reached."""
    p_adjusted: Floats
    """At the look that decided, and so are the rest."""
    level: Floats
    """Of the test for a difference: the stage's nominal level."""
    half_width: Floats
    """Of the interval behind the decision."""
    coverage: Floats
    """Of that interval: 1 - level, of an equivalence 1 - 2 level."""

    def verdicts(self, systems: SystemEstimates) -> Verdicts:
        """The decisions as verdicts on `systems`, from which the parts of the variance are."""
        _, splits = differences(systems)
        return Verdicts(
            estimate=self.estimate,
            splits=splits,
            p=self.estimate.p(),
            p_adjusted=self.p_adjusted,
            level=self.level,
            different=self.outcome == DIFFERENT,
            equivalent=self.outcome == EQUIVALENT,
            half_width=self.half_width,
            coverage=self.coverage,
            minimum_detectable_effect=self.estimate.minimum_detectable_effect(self.level),
        )


def decide(
    estimate: Estimate,
    seeds: Ints,
    plan: Plan,
    before: Decisions | None,
    claims_P: Bools,
    margin: float = MARGIN,
) -> Decisions:
    """The decisions at the look after `before` (None: at the first).

    Args:
        estimate: of each pair's difference [..., P] from all runs so far (`differences`).
        seeds: of each system [..., V], by which a pair's stage goes.
        plan: written down before the first look.
        before: the look before this one.
        claims_P: the pairs registered before the study.
        margin: of equivalence.
    """
    look, stage = 0, plan.stages(seeds)
    was = np.full(stage.shape, OPEN)
    if before is not None:
        look, was = before.look, before.outcome
        estimate = estimate.where(stage > before.stage, before.estimate)
    p = plan.alpha_for(stage, estimate.p())
    # Decisions are final. p = 0 puts a pair that was found different first, so it is rejected again
    # and frees its level; p = 1 puts one that was found equivalent last, so it keeps its level.
    levels = step_down(
        np.where(was == DIFFERENT, 0.0, np.where(was == EQUIVALENT, 1.0, p)), claims_P
    )
    nominal = plan.nominal(stage, levels.level)
    ends = estimate.ends(nominal, margin)
    now = Decisions(
        look=look + 1,
        outcome=np.select([ends.different, ends.equivalent], [DIFFERENT, EQUIVALENT], OPEN),
        stage=stage,
        decided_at=np.full(stage.shape, look),
        estimate=estimate,
        p_adjusted=levels.p_adjusted,
        level=nominal,
        half_width=ends.half_width,
        coverage=ends.coverage,
    )
    return now if before is None else _final(before, now)


def _final(before: Decisions, now: Decisions) -> Decisions:
    """`now`, with what had been decided before."""
    is_open = before.outcome == OPEN
    names = (
        "outcome", "stage", "decided_at", "p_adjusted", "level", "half_width", "coverage",
    )  # fmt: skip
    kept = {n: np.where(is_open, getattr(now, n), getattr(before, n)) for n in names}
    return replace(now, estimate=now.estimate.where(is_open, before.estimate), **kept)


@cache
def _nominal_levels(plan: Plan) -> Floats:
    """Logarithms [K, A] of the two-sided nominal level of each look for each of _ALPHAS."""
    times = np.array(plan.looks) / plan.looks[-1]
    found = np.array([_levels_of(alpha, times, plan.spending) for alpha in _ALPHAS]).T
    levels: Floats = np.log(np.maximum(found, 1e-300))
    return levels


def _levels_of(alpha: float, times: Floats, spending: str) -> list[float]:
    """The nominal level of each look, one after the other."""
    # Each look has the boundary at which first crossings use up what the spending function adds:
    #
    #     time               t1       t2                 ...    1
    #     spent by then      a(t1)    a(t2)              ...    a(1) = alpha
    #     first crossings    a(t1)    a(t2) - a(t1)      ...
    spent, levels = 0.0, []
    paths: _Paths | None = None
    for time in times:
        total = SPENDING[spending](alpha, float(time))
        z = _boundary(paths, float(time), max(total - spent, 1e-300))
        paths = _Paths.at(float(time), z, paths)
        spent = total
        levels.append(2 * float(special.ndtr(-z)))
    return levels


@dataclass(frozen=True)
class _Paths:
    """The paths of a Brownian motion that have crossed no boundary up to `time`."""

    time: float
    grid_G: Floats
    density_G: Floats

    @classmethod
    def at(cls, time: float, boundary: float, before: "_Paths | None") -> "_Paths":
        """Those of `before` that are within `boundary` standard deviations at `time`."""
        # Paths that were inside at the time before take a normal step of variance `time -
        # before.time`; those that are outside the new boundary then are dropped, and no later look
        # counts them.
        edge = min(boundary, 9.0) * np.sqrt(time)  # beyond 9 nothing of a normal density is left
        grid_G = np.linspace(-edge, edge, _GRID)
        if before is None:
            return cls(time, grid_G, _normal_density(grid_G, np.sqrt(time)))
        steps = _normal_density(grid_G[:, None] - before.grid_G, np.sqrt(time - before.time))
        density_G = np.asarray(np.trapezoid(steps * before.density_G, before.grid_G))
        return cls(time, grid_G, density_G)

    def crossing(self, time: float, boundary: float) -> float:
        """The share of paths that are beyond `boundary` standard deviations at `time`."""
        step, edge = np.sqrt(time - self.time), boundary * np.sqrt(time)
        beyond = special.ndtr((self.grid_G - edge) / step)
        beyond += special.ndtr((-self.grid_G - edge) / step)
        return float(np.trapezoid(self.density_G * beyond, self.grid_G))


def _boundary(paths: _Paths | None, time: float, spend: float) -> float:
    """Beyond which `spend` of all paths cross at `time` for the first time."""
    if paths is None:
        return float(-special.ndtri(spend / 2))
    # From 0, beyond which all paths are, to 38, where the normal tail leaves the range of floats.
    # In logarithms, since levels range over many powers of ten.
    return float(
        brentq(lambda z: np.log(paths.crossing(time, z) + 1e-320) - np.log(spend), 0.0, 38.0)
    )


def _normal_density(x: Floats, sd: float) -> Floats:
    found: Floats = np.exp(-((x / sd) ** 2) / 2) / (sd * np.sqrt(2 * np.pi))
    return found
