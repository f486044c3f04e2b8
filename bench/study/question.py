"""Questions: the files ``sweeps/studies/<name>.toml``, a claim each, and systems to test it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.core.config import Layer, Origin, Settings, dotted, from_dict
from bench.core.errors import UserError
from bench.core.lookup import check_name, look_up
from bench.core.paths import user_path
from bench.data.conditions import CONDITION_SETS
from bench.decoding import DECODERS
from bench.stats.looks import LOOKS, Plan
from bench.study.match import Match
from bench.study.space import SWEEPS, check_not_of_study, file_name, read_toml
from bench.training.outside import find_variant
from variants import VARIANTS

FOLDER = SWEEPS / "studies"
GREEDY = "greedy"


@dataclass(frozen=True, kw_only=True)
class System:
    """What a study compares: a variant, and the settings that make it this system."""

    variant: str
    settings: Settings = field(default_factory=dict)
    """Never what the budget or the study fixes."""

    def layer(self, source: str) -> Layer:
        """Its settings; `source` says where it is declared."""
        return Layer(Origin("system", source), self.settings)

    def summary(self) -> str:
        """One line: what is built, and how it differs from the variant's defaults."""
        if not self.settings:
            return VARIANTS[self.variant].summary
        changed = (f"{key}={json.dumps(value)}" for key, value in self.settings.items())
        return f"{self.variant} with {', '.join(changed)}"


@dataclass(frozen=True, kw_only=True)
class Question:
    """The question of a study, recorded when it begins: no claim is fitted to a result."""

    name: str
    summary: str
    claim: str
    """In words, with its direction."""
    source: str
    """Who claims it, and where."""
    better: tuple[tuple[str, ...], ...]
    """The claim as pairs of systems: the first has the lower WER."""
    base: str
    """The system from which the others differ, in one thing or in several."""
    margin_points: float = 2.0
    """Systems whose WER differs by less than so many points, absolute, are equivalent."""
    until_decided: bool = False
    """Seeds are added at `looks` until each pair is decided, claims first."""
    looks: tuple[int, ...] = LOOKS
    """Seeds of each system, in rising numbers."""
    spending: str = Plan.spending
    """How looks share alpha; a key of bench.stats.looks.SPENDING."""
    file: str = field(default="", compare=False)
    """As messages and origins name it."""

    @property
    def plan(self) -> Plan:
        """Its looks, whether or not `until_decided` asks for them."""
        return Plan(looks=self.looks, spending=self.spending)

    @property
    def claims(self) -> tuple[tuple[str, str], ...]:
        """`better` as pairs of labels."""
        return tuple((first, second) for first, second in self.better)

    def __post_init__(self) -> None:
        if not 0 < self.margin_points < 100:
            raise ValueError(
                "a margin of equivalence is above 0 and below 100 points of WER, got "
                f"margin_points = {self.margin_points}; leave it out for 2"
            )
        Plan(looks=self.looks, spending=self.spending)

    @property
    def asked_as(self) -> str:
        """As ``--study`` takes it: its name, or its file if that is not in ``sweeps/studies``."""
        is_shipped = self.file == file_name(FOLDER / f"{self.name}.toml")
        return self.name if is_shipped else self.file


@dataclass(frozen=True, kw_only=True)
class StudyFile:
    """A question, with the systems, corpus and budget to answer it."""

    question: Question
    systems: Mapping[str, System]
    """By label, in the order of the file."""
    match: Match | None
    """The size that all systems must have, if any."""
    corpus: str
    """As ``--corpus`` takes it, unless the command line names another."""
    budget: str
    """Unless the command line names another."""
    decoders: tuple[str, ...] = (GREEDY,)
    """What reads the confirm runs; greedy decoding always does."""
    conditions: str = ""
    """The set of conditions under which the confirm runs are tested too; "" for none."""


def load_study_file(name: str, folder: Path = SWEEPS) -> StudyFile:
    """The question `name`, or that in the file `name` if it ends in ``.toml``.

    Raises:
        UserError: unknown name, file or variant; a key missing or unknown; a claim about a system
            that the file does not hold; a system that changes what the budget or the study fixes.
    """
    path = _file_of(name, folder)
    content = read_toml(path)
    rows = content.pop("systems", {})
    if not isinstance(rows, Mapping):
        raise UserError(f"{path.name}: systems are tables, got {rows!r}; write [systems.NAME]")
    held = {}
    for key, default in (("match", ""), ("corpus", None), ("budget", None)):
        value = content.pop(key, default)
        if not isinstance(value, str):
            raise UserError(f'{path.name}: a study names its {key}; write for instance {key} = "…"')
        held[key] = value
    conditions = _conditions(content.pop("conditions", ""), path)
    decoders = _decoders(content.pop("decoders", [GREEDY]), path)
    where = f"{path.name} "
    if taken := sorted(content.keys() & {"name", "file"}):
        raise UserError(f"{path.name}: a study is named by its file, got {taken[0]}; remove it")
    question = from_dict(Question, {**content, "name": path.stem, "file": file_name(path)}, where)
    systems = {label: _system(label, row, path) for label, row in rows.items()}
    for label in (question.base, *(label for pair in question.better for label in pair)):
        look_up(systems, label, f"system of {path.name}")
    _check_pairs(question.better, path)
    return StudyFile(
        question=question,
        systems=systems,
        match=Match.parse(held["match"], f"{path.name}: match") if held["match"] else None,
        corpus=held["corpus"],
        budget=held["budget"],
        decoders=decoders,
        conditions=conditions,
    )


def _file_of(name: str, folder: Path) -> Path:
    if not name.endswith(".toml"):
        files = {path.stem: path for path in sorted((folder / "studies").glob("*.toml"))}
        return look_up(files, name, "study")
    path = user_path(name, "--study")
    if not path.is_file():
        raise UserError(
            f"--study names a question or its file, {name} is no file; correct the path"
        )
    return path


def load_study_files(folder: Path = SWEEPS) -> dict[str, StudyFile]:
    """Every question of ``sweeps/studies``, by name."""
    names = sorted(path.stem for path in (folder / "studies").glob("*.toml"))
    return {name: load_study_file(name, folder) for name in names}


def _check_pairs(better: Sequence[Sequence[str]], path: Path) -> None:
    """Refuse claims that cannot be tested: other than two systems, a pair twice or both ways."""
    for number, pair in enumerate(better):
        if len(set(pair)) != 2 or len(pair) != 2:
            raise UserError(
                f"{path.name}: better holds pairs of systems, two different ones each, got "
                f"{list(pair)}; correct it"
            )
        if set(pair) in map(set, better[:number]):
            raise UserError(
                f"{path.name}: better holds each pair once and one way round, got {list(pair)} "
                "again; remove one"
            )


def _conditions(given: object, path: Path) -> str:
    """The value of ``conditions``: the name of a set, "" for none."""
    if not isinstance(given, str):
        raise UserError(
            f'{path.name}: conditions is the name of a set, got {given!r}; write conditions = "…"'
        )
    if given:
        look_up(CONDITION_SETS, given, f"set of conditions in {path.name}")
    return given


def _decoders(given: object, path: Path) -> tuple[str, ...]:
    """The value of ``decoders``: a list that begins with greedy, the first verdict's."""
    if (
        not isinstance(given, list)
        or given[:1] != [GREEDY]
        or not all(isinstance(name, str) for name in given)
    ):
        raise UserError(
            f'{path.name}: decoders is a list that begins with "greedy", got {given!r}; write '
            'decoders = ["greedy", "beam"]'
        )
    for name in given:
        look_up(DECODERS, name, f"decoder in {path.name}")
    return tuple(dict.fromkeys(given))


def _system(label: str, row: object, path: Path) -> System:
    where = f"{path.name} [systems.{label}]"
    try:
        check_name(label, "a system")
    except ValueError as error:
        raise UserError(f"{where}: {error}") from error
    if not isinstance(row, Mapping) or not isinstance(row.get("variant"), str):
        raise UserError(f'{where}: a system is a variant and its settings; write variant = "…"')
    variant = find_variant(row["variant"], path.parent)
    settings = dotted({key: value for key, value in row.items() if key != "variant"})
    for key in settings:
        check_not_of_study(key, where)
    return System(variant=variant, settings=settings)
