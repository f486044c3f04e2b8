"""Equal size: the width at which a network has a number of parameters or multiply-adds."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal

from bench.core.config import Layer, Origin, Setting, updated
from bench.core.errors import UserError
from bench.core.lookup import look_up
from bench.study.space import Dimension
from bench.training.config import NETWORK_KEYS, RunConfig, model_shape
from variants.cost import macs_per_second, num_parameters
from variants.spec import AcousticModel

TOLERANCE = 0.01
"""Sizes within this share of what was asked for count as equal."""

WIDTH = "model.width"
MAX_WIDTH = 2**16
_NUM_GUESSES = 6
_SUFFIXES = {"G": 1_000_000_000, "M": 1_000_000, "k": 1_000, "": 1}
_NUMBER = re.compile(r"(\d+(?:\.\d+)?)([kMG]?)")


@dataclass(frozen=True)
class _Quantity:
    title: str
    count: Callable[[AcousticModel, RunConfig], float]


def _macs(model: AcousticModel, config: RunConfig) -> float:
    return macs_per_second(model, config.features.num_bins, config.features.frames_per_second)


QUANTITIES: Mapping[str, _Quantity] = {
    "params": _Quantity("parameters", lambda model, _: num_parameters(model)),
    "macs": _Quantity("multiply-adds per second of audio", _macs),
}


@dataclass(frozen=True, kw_only=True)
class Match:
    """A size that all systems of a study have, to within TOLERANCE."""

    quantity: Literal["params", "macs"]
    target: int

    @classmethod
    def parse(cls, text: str, where: str = "--match") -> "Match":
        """From ``params=2M`` or ``macs=50M``; k, M and G are thousands, millions and billions.
        `where` says in errors what holds `text`.

        Raises:
            UserError: another form, or an unknown quantity.
        """
        name, _, number = text.partition("=")
        found = _NUMBER.fullmatch(number)
        asked = 0.0 if found is None else float(found[1]) * _SUFFIXES[found[2]]
        target = round(asked) if math.isfinite(asked) else 0
        if target < 1:
            raise UserError(
                f"{where} reads params=NUMBER or macs=NUMBER, got {text!r}; "
                "write for instance params=2M"
            )
        look_up(QUANTITIES, name, "quantity to match")
        return cls(quantity=name, target=target)  # type: ignore[arg-type]  # looked up above

    def __str__(self) -> str:
        """As ``--match`` reads it: ``params=2M``."""
        # The largest unit that divides it, since the table goes from large to small.
        suffix, unit = next((s, u) for s, u in _SUFFIXES.items() if self.target % u == 0)
        return f"{self.quantity}={self.target // unit}{suffix}"

    @property
    def title(self) -> str:
        """In words: "2,000,000 parameters"."""
        return f"{self.target:,} {QUANTITIES[self.quantity].title}"

    def layer(self, width: Setting, source: str) -> Layer:
        """The `width` that was solved for it; `source` asked for the match: a file, or a flag."""
        return Layer(Origin("match", f"{source}, {self}"), {WIDTH: width})

    def holds(self, found: float) -> bool:
        """Whether the size `found` counts as equal to the target."""
        return abs(found - self.target) <= TOLERANCE * self.target


def size(quantity: str, config: RunConfig) -> float:
    """The `quantity`, one of QUANTITIES, of the network of `config`; allocates no weights.

    Raises:
        UserError: the network cannot be built.
    """
    return QUANTITIES[quantity].count(model_shape(config), config)


def solve_width(config: RunConfig, match: Match, label: str) -> int:
    """The width nearest to the target of `match`, all else as in `config`.

    Sizes grow with the width, so bisection finds the two widths around the target. `label` names
    the system in errors.

    Raises:
        UserError: the network has no width; no width comes within TOLERANCE (says what does come
            nearest).
    """
    if not hasattr(config.model, "width"):
        raise UserError(
            f"--match solves {WIDTH}, which variant {config.variant} has not; compare it unmatched"
        )

    @cache
    def size_at(width: int) -> float:
        return size(match.quantity, updated(config, {WIDTH: width}))

    low, high = _bracket(size_at, match.target, config.model.width)
    # size(low) < target <= size(high) at every turn, as _bracket left it.
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if size_at(middle) >= match.target else (middle, high)
    around = sorted({max(low, 1), high})
    nearest = min(around, key=lambda width: abs(size_at(width) - match.target))
    if match.holds(size_at(nearest)):
        return nearest
    reached = " and ".join(f"{size_at(width):,.0f} at width {width:,}" for width in around)
    raise UserError(
        f"--match {match}: {label} cannot have {match.title} within {100 * TOLERANCE:g} %, but has "
        f"{reached}; ask for a number near that, or leave {label} out"
    )


def _bracket(size_at: Callable[[int], float], target: float, width: int) -> tuple[int, int]:
    """Widths around the target: sizes below it up to the first, from 0 on, and at least it from the
    second on, unless that is MAX_WIDTH.

    Weights grow about with the square of the width, so a square through the size at one width says
    where the next is to be tried. A size takes up to a quarter of a second to count.
    """
    for _ in range(_NUM_GUESSES):
        before, width = width, round(width * math.sqrt(target / size_at(width)))
        width = min(max(1, width), MAX_WIDTH)
        if abs(width - before) <= 1:
            break
    # The guess is near; steps that double reach both sides of the target from it.
    #
    #     width    0 ...... low          high .................. MAX_WIDTH
    #     size     below    below    at least the target
    low = high = width
    step = 1
    while low > 0 and size_at(low) >= target:
        low, high, step = max(0, low - step), low, 2 * step
    step = 1
    while size_at(high) < target and high < MAX_WIDTH:
        low, high, step = high, min(high + step, MAX_WIDTH), 2 * step
    return low, high


def check_size_is_fixed(
    config: RunConfig, searched: Mapping[str, Dimension], match: Match, label: str
) -> None:
    """Refuse a search that would change the size which `match` holds equal.

    Raises:
        UserError: names the key.
    """
    for key, dimension in searched.items():
        if not key.startswith(NETWORK_KEYS):
            continue
        sizes = [size(match.quantity, updated(config, {key: v})) for v in dimension.values()]
        if not all(map(match.holds, sizes)):
            raise UserError(
                f"--match {match}: the space of {label} searches {key}, which changes that number; "
                f"fix it with --set {key}=…, or leave --match out"
            )
