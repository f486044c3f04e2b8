"""Search spaces and budgets: the TOML files under ``sweeps/``, read and checked."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import cast

from bench.core.config import Layer, Origin, Setting, Settings, dotted, from_dict, resolve, to_dict
from bench.core.errors import UserError
from bench.core.lookup import look_up
from bench.core.parsing import parse_toml
from bench.core.paths import read_text
from bench.data.corpora import CORPORA
from bench.training.config import RunConfig
from bench.training.outside import OUTSIDE
from reports.format import setting
from variants import VARIANTS

SWEEPS = Path(__file__).resolve().parents[2] / "sweeps"
BASE = "base"
BUDGETS = "budgets.toml"
TUNED_ON = "tuned_on"
HALVING = "halving"
"""The pruner whose trials wait at rungs for one another."""

Value = bool | int | float | str


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The trials, seeds and training time of each system of a study, the same for all."""

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
    """Epochs that every trial may train before it can be pruned; of halving, the first rung."""
    sampler: str = "random"
    """How the next setting is chosen; a name of SAMPLERS in bench/study/search.py."""
    pruner: str = HALVING
    """When a trial is given up; a name of PRUNERS there."""

    def __post_init__(self) -> None:
        for name in (of.name for of in fields(self)):
            value = getattr(self, name)
            least = 0 if name in ("startup_trials", "warmup_epochs") else 1
            if not isinstance(value, str) and not value >= least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        if self.pruner == HALVING and self.sampler != "random":
            raise ValueError(
                f"pruner {HALVING} begins every trial before any has ended, so there is nothing "
                f"that sampler {self.sampler} could learn from; take sampler random, or pruner "
                "median"
            )

    @property
    def rungs(self) -> tuple[int, ...]:
        """Epochs at which halving lets only the better half of its trials go on: the warm-up, and
        its doubles; () for other pruners."""
        if self.pruner != HALVING:
            return ()
        first = max(1, self.warmup_epochs)
        # A warm-up of 2 epochs of 20: rungs 2, 4, 8 and 16.
        doubles = (first * 2**k for k in range(self.search_epochs.bit_length()))
        return tuple(rung for rung in doubles if rung < self.search_epochs)

    @property
    def num_random_trials(self) -> int:
        """Trials that are drawn at random: those after them learn from what has ended. The first of
        them has the defaults instead."""
        return self.num_trials if self.sampler == "random" else max(2, self.num_trials // 4)

    def search_layer(self) -> Layer:
        """The config values that the budget fixes in a trial."""
        return self._layer(self.search_epochs)

    def confirm_layer(self) -> Layer:
        """The config values that the budget fixes in a confirm run."""
        return self._layer(self.confirm_epochs)

    def _layer(self, num_epochs: int) -> Layer:
        settings: Settings = {
            "training.num_epochs": num_epochs,
            "training.max_train_seconds": self.max_train_seconds,
        }
        return Layer(Origin("budget", f"{file_name(SWEEPS / BUDGETS)} [{self.name}]"), settings)


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
    firm: bool = False
    """The ends are limits, not guesses: a best value near one of them is no reason to widen the
    range."""

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

    def place(self, value: object) -> float:
        """Where `value` stands in the range, from 0 to 1, on its scale; of choices, in their
        list."""
        if self.low is None or self.high is None:
            return self.choices.index(cast(Value, value)) / max(1, len(self.choices) - 1)
        assert isinstance(value, int | float)
        low, high, at = float(self.low), float(self.high), float(value)
        if self.log:
            low, high, at = math.log(low), math.log(high), math.log(at)
        return (at - low) / (high - low)

    def __str__(self) -> str:
        """In words: "0.0005 to 0.008, log", or its choices."""
        if self.choices:
            return "one of " + ", ".join(map(setting, self.choices))
        return f"{setting(self.low)} to {setting(self.high)}" + (", log" if self.log else "")


@dataclass(frozen=True, kw_only=True)
class TunedOn:
    """With what the ranges and defaults of a space's file were found. Other variants and corpora
    may have their optimum elsewhere."""

    variant: str
    corpus: str
    """Its name."""
    text: str
    """The version of the text normalisation (TEXT_VERSION in bench/data/text.py)."""
    budget: str

    def __str__(self) -> str:
        """In words."""
        return f"{self.variant} on {self.corpus} (text version {self.text}, budget {self.budget})"


@dataclass(frozen=True, kw_only=True)
class Space:
    """The fixed settings of a variant's trials, and the searched dimensions."""

    fixed: Settings
    search: Mapping[str, Dimension]
    files: Mapping[str, str] = field(compare=False)
    """The file that each key of `fixed` and `search` comes from."""
    tuned_on: Mapping[str, TunedOn] = field(default_factory=dict, compare=False)
    """By file; without files that do not say it."""

    def __post_init__(self) -> None:
        for key in (*self.fixed, *self.search):
            if key not in self.files:
                raise ValueError(f"files names the file of every key, it lacks {key}")

    def defaults(self) -> dict[str, Value]:
        """The setting of the first trial."""
        return {key: dimension.default for key, dimension in self.search.items()}

    def fixed_layers(self) -> tuple[Layer, ...]:
        """The fixed settings, a layer for each file."""
        return self._by_file(self.fixed)

    def default_layers(self) -> tuple[Layer, ...]:
        """The setting of the first trial, a layer for each file."""
        return self._by_file(self.defaults())

    def _by_file(self, settings: Settings) -> tuple[Layer, ...]:
        files = sorted({self.files[key] for key in settings})
        return tuple(
            Layer(
                Origin("space", file),
                {key: value for key, value in settings.items() if self.files[key] == file},
            )
            for file in files
        )


def load_budgets(folder: Path = SWEEPS) -> dict[str, Budget]:
    """Every budget of ``budgets.toml``, by name.

    Raises:
        UserError: as `read_toml`; no table; a value missing or out of range.
    """
    path = folder / BUDGETS
    rows = read_toml(path)
    budgets = {}
    for name, row in rows.items():
        if not isinstance(row, Mapping):
            raise UserError(f"{path.name}: {name} is a budget, a table, got {row!r}; correct it")
        budgets[name] = from_dict(Budget, {**row, "name": name}, f"{name}.")
    return budgets


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
    ``"key" = false`` under ``[search]`` removes it. The file of a variant from outside
    lies beside its source; keys ``model.`` of ``base.toml`` that its network has not are left out.

    Raises:
        UserError: unknown config key, a value its config refuses, or an attempt to set what the
        budget sets; a file that says wrongly on what it was tuned.
    """
    # A variant's file is laid over the base, key by key; each key remembers its file:
    #
    #     base.toml      [search] "optim.learning_rate" = {…}   "model.dropout" = {…}
    #     ds-gru.toml    [search] "model.dropout" = false       [fixed] model.dropout = 0.1
    #     the space      searches the learning rate, fixes the dropout
    fixed: dict[str, tuple[Setting, str]] = {}
    tables: dict[str, tuple[object, str]] = {}
    tuned_on: dict[str, TunedOn] = {}
    for file, parts in _files(variant, base, folder):
        fixed |= {key: (value, file) for key, value in dotted(parts["fixed"]).items()}
        tables |= {key: (table, file) for key, table in parts["search"].items()}
        if parts[TUNED_ON]:
            tuned_on[file] = _tuned_on(parts[TUNED_ON], file, folder)
    search = {
        key: (from_dict(Dimension, table, f"{file} {key}."), file)
        for key, (table, file) in sorted(tables.items(), key=lambda item: item[0])
        if table is not False
    }
    # A key that is searched is not fixed: a file that fixes what the base searches must take it out
    # of the search too, as above.
    fixed = {key: value for key, value in fixed.items() if key not in search}
    files = {key: file for key, (_, file) in (*fixed.items(), *search.items())}
    for key, file in files.items():
        check_not_of_study(key, file)
    space = Space(
        fixed={key: value for key, (value, _) in fixed.items()},
        search={key: dimension for key, (dimension, _) in search.items()},
        files=files,
        tuned_on=tuned_on,
    )
    _check_values(space, base)
    return space


_Parts = dict[str, Mapping[str, object]]


def _files(variant: str, base: RunConfig, folder: Path) -> Iterator[tuple[str, _Parts]]:
    """Name and tables of each file of a space, the base first."""
    shared, own = folder / f"{BASE}.toml", folder / f"{variant}.toml"
    parts = _parts(read_toml(shared), file_name(shared))
    source = OUTSIDE.get(variant)
    if source is None:
        yield file_name(shared), parts
        if own.exists():
            yield file_name(own), _parts(read_toml(own), file_name(own))
        return
    # Whoever wrote it did not write the base, which may search what its network has not.
    model = {f"model.{key}" for key in dotted(to_dict(base.model))}
    fits: _Parts = {
        part: {k: v for k, v in table.items() if not k.startswith("model.") or k in model}
        for part, table in parts.items()
    }
    yield file_name(shared), fits
    if source.space:
        beside = str(Path(source.path).with_name(f"{source.name}.toml"))
        yield beside, _parts(_parsed(source.space, beside), beside)


def _parts(content: Mapping[str, object], where: str) -> _Parts:
    """The tables of a space's file."""
    parts: _Parts = {"fixed": {}, "search": {}, TUNED_ON: {}}
    for part, value in content.items():
        if part not in parts:
            raise UserError(
                f"{where}: a space has [fixed], [search] and [{TUNED_ON}], got [{part}]; remove it"
            )
        if not isinstance(value, Mapping):
            raise UserError(f"{where}: [{part}] is a table, got {value!r}; write [{part}]")
        parts[part] = value
    return parts


def _tuned_on(table: Mapping[str, object], file: str, folder: Path) -> TunedOn:
    """The table ``[tuned_on]`` of `file`, whose names exist."""
    found = from_dict(TunedOn, table, f"{file} {TUNED_ON}.")
    table_of: dict[str, Mapping[str, object]] = {
        "variant": VARIANTS,
        "corpus": CORPORA,
        "budget": load_budgets(folder),
    }
    for what, known in table_of.items():
        for name in getattr(found, what).split("+"):  # of joined corpora each
            look_up(known, name, f"{what} in [{TUNED_ON}] of {file}")
    return found


def _check_values(space: Space, base: RunConfig) -> None:
    """Refuse a space with a value that its config refuses."""
    fixed = space.fixed_layers()
    # One value at a time: a combination that its config refuses is met by the trial that draws it.
    resolve(base, fixed)
    for key, dimension in space.search.items():
        for value in dimension.values():
            resolve(base, (*fixed, Layer(Origin("space", space.files[key]), {key: value})))


def belongs_to_study(key: str) -> bool:
    """True for a config key that must be the same for all systems of a study."""
    return key in ("seed", "variant") or key.startswith(("training.", "corpus."))


def check_not_of_study(key: str, where: str) -> None:
    """Refuse to let one variant or system set `key` if it must be the same for all.

    Raises:
        UserError: the key belongs to the budget, or to the study.
    """
    if belongs_to_study(key):
        raise UserError(
            f"{where}: {key!r} belongs to the budget or the study, which are the same for "
            "every system; remove it"
        )


def file_name(path: Path) -> str:
    """The name of a file of ``sweeps/`` in messages and origins: "sweeps/base.toml"."""
    return str(path.relative_to(SWEEPS.parent) if path.is_relative_to(SWEEPS) else path)


def read_toml(path: Path) -> dict[str, object]:
    """The content of a file under ``sweeps/``.

    Raises:
        UserError: no such file, or it is not TOML.
    """
    if not path.exists():
        raise UserError(f"{path} does not exist; the sweeps folder must hold it")
    return _parsed(read_text(path, "TOML file"), str(path))


def _parsed(text: str, where: str) -> dict[str, object]:
    try:
        return parse_toml(text)
    except ValueError as error:
        raise UserError(f"{where} is not valid TOML: {error}; mend that line") from error
