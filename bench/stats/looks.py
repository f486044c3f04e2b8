"""Planned looks: seeds are added until a pair is decided, without more errors than one look makes.

Legend: K looks, P pairs of systems; a leading "..." stands for studies that are computed at once.

A plan fixes, before the first look, after how many seeds a study may be looked at, and how much of
alpha each look may spend (Lan & DeMets, Biometrika 1983). The nominal level of a look, what its p
is compared with, follows from the joint distribution of the looks' statistics, those of a Brownian
motion at times seeds / most seeds (Armitage, McPherson & Rowe, JRSS A 1969; p of Student's t in
place of the normal's is Jennison & Turnbull's significance level approach, 2000, section 3.8). The
speakers are the same at every look, which makes looks more alike than that: the plan errs on the
safe side.

Many pairs: `step_down` shares out alpha, and what it gives a pair is spent by the plan (Maurer &
Bretz, Statistics in Biopharmaceutical Research 2013). It is run at every look, on the p of the
look turned into the alpha at which the look's nominal level would be that p. A decision is final:
a pair found different stays so, with the interval that decided it, and one found equivalent is not
looked at again and gives no level to others.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import special
from scipy.optimize import brentq

from bench.stats.clusters import Bools, Floats
from bench.stats.estimate import Estimate
from bench.stats.multiplicity import ALPHA, step_down
from bench.stats.variance import SystemEstimates, differences
from bench.stats.verdict import MARGIN

LOOKS = (3, 5, 8, 12, 20)
"""Seeds of each system."""
OPEN, DIFFERENT, EQUIVALENT = 0, 1, 2

_ALPHAS = np.geomspace(1e-7, 0.6, 40)
_GRID = 401


@dataclass(frozen=True)
class Plan:
    """When a study is looked at, and what a look may spend; written down before the first."""

    looks: tuple[int, ...] = LOOKS
    spending: str = "pocock"
    """A key of SPENDING."""

    def __post_init__(self) -> None:
        if not self.looks or list(self.looks) != sorted(set(self.looks)) or self.looks[0] < 2:
            raise ValueError(
                f"looks are rising numbers of seeds, two at least, got {list(self.looks)}; write "
                f"for instance {list(LOOKS)}"
            )
        if self.spending not in SPENDING:
            raise ValueError(
                f"a spending function is one of {', '.join(SPENDING)}, got {self.spending!r}"
            )

    def nominal(self, look: int, alpha: Floats) -> Floats:
        """The level of look number `look`, from 0, of a pair that has `alpha` for all of them."""
        table = _nominal_levels(self)[look]
        log_alpha = np.log(np.maximum(alpha, _ALPHAS[0]))
        found: Floats = np.exp(np.interp(log_alpha, np.log(_ALPHAS), table))
        return found

    def alpha_for(self, look: int, p: Floats) -> Floats:
        """The alpha of which `p` would be the nominal level; 1 beyond any that is of use."""
        table = _nominal_levels(self)[look]
        with np.errstate(divide="ignore"):
            found = np.exp(np.interp(np.log(p), table, np.log(_ALPHAS)))
        return np.where(p > np.exp(table[-1]), 1.0, np.where(np.isnan(p), np.nan, found))


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
    outcome: NDArray[np.int8]
    """OPEN, DIFFERENT or EQUIVALENT."""
    decided_at: NDArray[np.int8]
    """The look, from 0; of an open pair the last."""
    delta: Floats
    """At that look, and so are the rest."""
    half_width: Floats
    coverage: Floats
    p_adjusted: Floats

    def open_systems(self, num_systems: int) -> Bools:
        """Which systems [..., V] have an open pair: those that go on to the next look."""
        a_P, b_P = np.triu_indices(num_systems, 1)
        member_PV = (a_P[:, None] == np.arange(num_systems)) | (
            b_P[:, None] == np.arange(num_systems)
        )
        found: Bools = ((self.outcome == OPEN)[..., None] & member_PV).any(axis=-2)
        return found


def decide(
    systems: SystemEstimates,
    plan: Plan,
    before: Decisions | None,
    claims_P: Bools,
    margin: float = MARGIN,
    alpha: float = ALPHA,
) -> Decisions:
    """The decisions at the look after `before` (None: at the first), whose runs `systems` are from.
    At the last look an open pair is undecided for good."""
    look = 0 if before is None else before.look
    delta, splits = differences(systems)
    estimate = Estimate(delta, [split.total for split in splits])
    was = np.full(delta.shape, OPEN, dtype=np.int8) if before is None else before.outcome
    p = plan.alpha_for(look, estimate.p())
    levels = step_down(
        np.where(was == DIFFERENT, 0.0, np.where(was == EQUIVALENT, 1.0, p)), claims_P, alpha
    )
    nominal = plan.nominal(look, levels.level)
    half_width, inner = estimate.half_width(nominal), estimate.half_width(2 * nominal)
    different = np.abs(delta) > half_width
    equivalent = ~different & (np.abs(delta) + inner < margin)
    outcome = np.where(different, DIFFERENT, np.where(equivalent, EQUIVALENT, OPEN))
    now = Decisions(
        look=look + 1,
        outcome=outcome.astype(np.int8),
        decided_at=np.full(delta.shape, look, dtype=np.int8),
        delta=delta,
        half_width=np.where(equivalent, inner, half_width),
        coverage=1 - nominal * np.where(equivalent, 2, 1),
        p_adjusted=levels.p_adjusted,
    )
    return now if before is None else _final(before, now)


def _final(before: Decisions, now: Decisions) -> Decisions:
    """`now`, with what had been decided before."""
    fixed = before.outcome != OPEN

    names = ("outcome", "decided_at", "delta", "half_width", "coverage", "p_adjusted")
    kept = {name: np.where(fixed, getattr(before, name), getattr(now, name)) for name in names}
    return Decisions(look=now.look, **kept)


@cache
def _nominal_levels(plan: Plan) -> Floats:
    """Logarithms [K, A] of the two-sided nominal level of each look for each of _ALPHAS."""
    times = np.array(plan.looks) / plan.looks[-1]
    found = np.array([_levels_of(alpha, times, plan.spending) for alpha in _ALPHAS]).T
    levels: Floats = np.log(np.maximum(found, 1e-300))
    return levels


def _levels_of(alpha: float, times: Floats, spending: str) -> list[float]:
    """The nominal level of each look, one after the other."""
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
        edge = min(boundary, 9.0) * np.sqrt(time)
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
    # Logarithms, since levels range over many powers of ten.
    return float(
        brentq(lambda z: np.log(paths.crossing(time, z) + 1e-320) - np.log(spend), 0.0, 38.0)
    )


def _normal_density(x: Floats, sd: float) -> Floats:
    found: Floats = np.exp(-((x / sd) ** 2) / 2) / (sd * np.sqrt(2 * np.pi))
    return found
