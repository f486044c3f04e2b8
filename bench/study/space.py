"""Search spaces and budgets: the TOML files under ``sweeps/``, read and checked."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from bench.core.config import dotted, from_dict, updated
from bench.core.errors import UserError
from bench.core.lookup import look_up
from bench.core.parsing import parse_toml
from bench.training.config import RunConfig

SWEEPS = Path(__file__).resolve().parents[2] / "sweeps"
BASE = "base"

Value = bool | int | float | str


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What every variant of a study gets, the same for each."""

    name: str
    summary: str
    num_trials: int
    search_epochs: int
    """Epochs of a trial."""
    confirm_epochs: int
    """Epochs of a confirm run."""
    max_train_seconds: float
    """Cap on the computing time of one run's training steps, across resumes: CPU seconds on a
    CPU."""
    num_seeds: int
    startup_trials: int
    """Trials that must have finished before the median pruner prunes one."""
    warmup_epochs: int
    """Epochs that every trial may train before it can be pruned."""
    sampler: str = "random"
    """How the next setting is chosen; a name of SAMPLERS in bench/study/search.py."""
    pruner: str = "halving"
    """When a trial is given up; a name of PRUNERS there."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            least = 0 if field.name in ("startup_trials", "warmup_epochs") else 1
            if not isinstance(value, str) and not value >= least:
                raise ValueError(f"{field.name} must be at least {least}, got {value}")

    @property
    def num_random_trials(self) -> int:
        """Trials that are drawn at random: those after them learn from what has ended. The first of
        them has the defaults instead."""
        return self.num_trials if self.sampler == "random" else max(2, self.num_trials // 4)

    def search_settings(self) -> dict[str, Any]:
        """The config values that the budget fixes in a trial."""
        return self._settings(self.search_epochs)

    def confirm_settings(self) -> dict[str, Any]:
        """The config values that the budget fixes in a confirm run."""
        return self._settings(self.confirm_epochs)

    def _settings(self, num_epochs: int) -> dict[str, Any]:
        return {
            "training.num_epochs": num_epochs,
            "training.max_train_seconds": self.max_train_seconds,
        }


@dataclass(frozen=True, kw_only=True)
class Dimension:
    """One searched config key: a range of floats or ints, or a list of choices."""

    low: int | float | None = None
    high: int | float | None = None
    log: bool = False
    choices: tuple[Value, ...] = ()
    default: Value
    """The value of the first trial, so that every search holds the setting its author believed
    in."""

    def __post_init__(self) -> None:
        if self.choices:
            if self.low is not None or self.high is not None or self.log:
                raise ValueError("give either choices or low and high, not both")
            if self.default not in self.choices:
                raise ValueError(
                    f"default {self.default!r} is not among the choices {self.choices}"
                )
            return
        if self.low is None or self.high is None:
            raise ValueError("give low and high, or choices")
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            raise ValueError(f"low and high are finite, got {self.low} and {self.high}")
        if not self.low < self.high or (self.log and self.low <= 0):
            raise ValueError(f"needs low < high (above 0 if log), got {self.low} and {self.high}")
        if isinstance(self.default, str) or not self.low <= self.default <= self.high:
            raise ValueError(f"default {self.default!r} lies outside {self.low} to {self.high}")

    def values(self) -> tuple[Value, ...]:
        """Every choice, or the ends of the range and the default."""
        if self.low is None or self.high is None:
            return self.choices
        return self.low, self.high, self.default


@dataclass(frozen=True, kw_only=True)
class Space:
    """What a variant's trials share, and what is searched."""

    fixed: Mapping[str, Any]
    search: Mapping[str, Dimension]

    def defaults(self) -> dict[str, Value]:
        """The setting of the first trial."""
        return {key: dimension.default for key, dimension in self.search.items()}


def load_budgets(folder: Path = SWEEPS) -> dict[str, Budget]:
    """Every budget of ``budgets.toml``, by name.

    Raises:
        UserError: as `read_toml`; no table; a value missing or out of range.
    """
    path = folder / "budgets.toml"
    rows = read_toml(path)
    for name, row in rows.items():
        if not isinstance(row, Mapping):
            raise UserError(f"{path.name}: {name} is a budget, a table, got {row!r}; correct it")
    return {
        name: from_dict(Budget, {**row, "name": name}, f"{name}.") for name, row in rows.items()
    }


def load_budget(name: str, folder: Path = SWEEPS) -> Budget:
    """The budget `name`.

    Raises:
        UserError: unknown name, or a value out of range.
    """
    return look_up(load_budgets(folder), name, "budget")


def load_space(variant: str, base: RunConfig, folder: Path = SWEEPS) -> Space:
    """The space of `variant`: ``<variant>.toml`` over ``base.toml``, checked against its config
    `base`.

    A table ``[search."key"]`` replaces the one of the base whole;
    ``"key" = false`` under ``[search]`` removes it.

    Raises:
        UserError: unknown config key, a value its config refuses, or an attempt to set what the
        budget sets.
    """
    path = folder / f"{variant}.toml"
    own = read_toml(path) if path.exists() else {}
    shared = read_toml(folder / f"{BASE}.toml")
    where = path.name if own else f"{BASE}.toml"
    for part, value in (*own.items(), *shared.items()):
        if part not in ("fixed", "search"):
            raise UserError(f"{where}: a space has [fixed] and [search], got [{part}]; remove it")
        if not isinstance(value, Mapping):
            raise UserError(f"{where}: [{part}] is a table, got {value!r}; write [{part}]")
    fixed = {**dotted(shared.get("fixed", {})), **dotted(own.get("fixed", {}))}
    tables = {**shared.get("search", {}), **own.get("search", {})}
    search = {
        key: from_dict(Dimension, table, f"{where} {key}.")
        for key, table in sorted(tables.items())
        if table is not False
    }
    fixed = {key: value for key, value in fixed.items() if key not in search}
    for key in (*fixed, *search):
        check_not_of_study(key, where)
    updated(base, fixed, f"{where}: ")
    for key, dimension in search.items():
        for value in dimension.values():
            updated(base, {**fixed, key: value}, f"{where}: ")
    return Space(fixed=fixed, search=search)


def check_not_of_study(key: str, where: str) -> None:
    """Refuse to let one variant or system set `key` if it must be the same for all.

    Raises:
        UserError: the key belongs to the budget, or to the study.
    """
    if key in ("seed", "variant") or key.startswith(("training.", "corpus.")):
        raise UserError(
            f"{where}: {key!r} belongs to the budget or the study, which are the same for "
            "every variant; remove it"
        )


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a file under ``sweeps/``.

    Raises:
        UserError: no such file, or it is not TOML.
    """
    try:
        return parse_toml(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist; the sweeps folder must hold it") from error
    except ValueError as error:
        raise UserError(f"{path} is not valid TOML: {error}; mend that line") from error
