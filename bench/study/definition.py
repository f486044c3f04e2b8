"""What a study is, written down: begun once, compared at every return, never mixed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.core.config import digest, flatten, from_dict, to_dict, updated
from bench.core.errors import UserError
from bench.core.files import write_json
from bench.core.names import check_name
from bench.core.parsing import parse_json
from bench.core.paths import OUT, SINGLE_RUNS
from bench.data.corpora import CorpusConfig
from bench.data.features import FEATURES_VERSION
from bench.data.text import text_digest
from bench.study.match import WIDTH, Match, check_size_is_fixed, solve_width
from bench.study.question import Question, System
from bench.study.space import SWEEPS, Budget, Dimension, Space, load_space
from bench.training.config import RunConfig, default_run_config

FILE = "study.json"
RESERVED_NAMES = (SINGLE_RUNS.name, "index.html")
"""What else lies in the folder of all studies."""
CONFIRM_SEEDS_FROM = 5_000
SEEDS_PER_STUDY = 10_000


@dataclass(frozen=True, kw_only=True)
class StudyDefinition:
    """Everything that decides a study's numbers."""

    name: str
    systems: Mapping[str, System]
    """What is compared, by label: that of folders, queues, records and the report."""
    corpus: CorpusConfig
    budget: Budget
    seed: int
    device: str
    settings: Mapping[str, Any]
    """What ``--set`` changed, the same for every run."""
    match: Match | None
    """What every system has alike; the widths that make it so are among their settings."""
    question: Question | None
    """What is asked, if the study came from a file of ``sweeps/studies``."""
    spaces: Mapping[str, Space]
    """By label."""
    data_digest: str
    text_digest: str
    features_version: int
    excluded: tuple[str, ...]
    """Ids that some system cannot align (fewer output frames than CTC needs); no system sees
    them."""

    def __post_init__(self) -> None:
        """Check what other methods count on."""
        if self.name:  # it has none until the rest of it is known
            check_name(self.name, "a study", RESERVED_NAMES)
        for label in self.systems:
            check_name(label, "a system")
            if label not in self.spaces:
                raise ValueError(f"each system has a space, {label} has none")

    @property
    def baseline(self) -> str:
        """The label of the system that the others are held against: the question's, else the
        first."""
        return self.question.base if self.question else next(iter(self.systems))

    def base_config(self, label: str) -> RunConfig:
        """The config that all runs of the system `label` share: defaults, its space's fixed values,
        ``--set``, its own settings."""
        system = self.systems[label]
        config = default_run_config(system.variant, self.corpus)
        return updated(config, {**self.spaces[label].fixed, **self._pinned(label)})

    def trial_config(self, label: str, slot: int, params: Mapping[str, Any]) -> RunConfig:
        """The config of trial `slot`."""
        settings = {**params, **self.budget.search_settings()}
        return self._with(label, settings, self.seed * SEEDS_PER_STUDY + slot)

    def confirm_config(self, label: str, slot: int, params: Mapping[str, Any]) -> RunConfig:
        """The config of confirm run `slot`, whose seed no trial has used."""
        settings = {**params, **self.budget.confirm_settings()}
        seed = self.seed * SEEDS_PER_STUDY + CONFIRM_SEEDS_FROM + slot
        return self._with(label, settings, seed)

    def searched(self, label: str) -> dict[str, Dimension]:
        """The dimensions that neither ``--set`` nor the settings of the system `label` fix."""
        pinned = self._pinned(label)
        return {k: d for k, d in self.spaces[label].search.items() if k not in pinned}

    def changes(self, label: str) -> tuple[str, ...]:
        """The config keys in which the system `label` differs from the question's base, but for the
        width that was solved; none where nothing is asked."""
        if self.question is None:
            return ()
        own = flatten(to_dict(self.base_config(label)))
        base = flatten(to_dict(self.base_config(self.question.base)))
        keys = sorted({*own, *base} - {"variant", WIDTH if self.match else ""})
        return tuple(key for key in keys if own.get(key) != base.get(key))

    def _pinned(self, label: str) -> dict[str, Any]:
        return {**self.settings, **self.systems[label].settings}

    def _with(self, label: str, settings: Mapping[str, Any], seed: int) -> RunConfig:
        return replace(updated(self.base_config(label), settings), seed=seed)


def define(
    systems: Iterable[str] | Mapping[str, System],
    corpus: CorpusConfig,
    budget: Budget,
    *,
    seed: int,
    device: str,
    settings: Mapping[str, Any],
    match: Match | None = None,
    question: Question | None = None,
    name: str | None = None,
    sweeps: Path = SWEEPS,
) -> StudyDefinition:
    """A definition whose name says what it is, unless `name` is given; the data are still unread.

    `systems` are variants, each called by its own name, or systems by label.

    Raises:
        UserError: unknown variant, config key or value; a variant named twice; a setting of one
            system that is also set for all; a size that cannot be matched; a name that is none.
    """
    if name is not None:
        _check_study_name(name)
    labelled = systems if isinstance(systems, Mapping) else _by_own_name(systems)
    spaces = {}
    for label, system in labelled.items():
        base = default_run_config(system.variant, corpus)
        base = updated(base, system.settings, f"system {label}: ")
        spaces[label] = load_space(system.variant, base, sweeps)
        updated(base, settings)
    _check_settings(settings, labelled, budget)
    definition = StudyDefinition(
        name="",
        systems=labelled,
        corpus=corpus,
        budget=budget,
        seed=seed,
        device=device,
        settings=dict(settings),
        match=match,
        question=question,
        spaces=spaces,
        data_digest="",
        text_digest=text_digest(),
        features_version=FEATURES_VERSION,
        excluded=(),
    )
    if match is not None:
        definition = replace(definition, systems=_matched(definition, match))
    return replace(definition, name=own_name(definition) if name is None else name)


def _check_study_name(name: str) -> None:
    try:
        check_name(name, "a study", RESERVED_NAMES)
    except ValueError as error:
        raise UserError(f"--name: {error}") from error


def _by_own_name(variants: Iterable[str]) -> dict[str, System]:
    listed = tuple(variants)
    for variant in listed:
        if listed.count(variant) > 1:
            raise UserError(
                f"a study compares different variants, got {variant!r} twice; name it once"
            )
    return {variant: System(variant=variant) for variant in listed}


def _check_settings(
    settings: Mapping[str, Any], systems: Mapping[str, System], budget: Budget
) -> None:
    """Refuse what ``--set`` may not change."""
    for key in settings:
        fixed = {"seed", "variant", *budget.search_settings()}
        if key in fixed or key.startswith("corpus."):
            raise UserError(
                f"--set {key} would change what the budget or the study fixes; choose another "
                "--budget, --seed or --corpus"
            )
        for label, system in systems.items():
            if key in system.settings:
                raise UserError(
                    f"--set {key} would change what makes {label} differ from the others; leave it "
                    "out, or change the study's file"
                )


def _matched(definition: StudyDefinition, match: Match) -> dict[str, System]:
    """The systems, each with the width that `match` asks of it."""
    matched = {}
    for label, system in definition.systems.items():
        config = definition.base_config(label)
        for settings, of in ((definition.settings, "--set"), (system.settings, f"system {label}")):
            if WIDTH in settings:
                raise UserError(f"--match solves {WIDTH}, which {of} sets; leave one of them out")
        width = solve_width(config, match, label)
        searched = {k: d.values() for k, d in definition.searched(label).items() if k != WIDTH}
        check_size_is_fixed(updated(config, {WIDTH: width}), searched, match, label)
        matched[label] = replace(system, settings={**system.settings, WIDTH: width})
    return matched


def own_name(definition: StudyDefinition) -> str:
    """What a study is called unless its user names it: what is compared, on what, how long."""
    plain = to_dict(definition)
    short = digest({key: plain[key] for key in ("systems", "spaces", "settings", "seed")})[:8]
    labels = tuple(definition.systems)
    what = "+".join(labels) if len(labels) <= 3 else f"{labels[0]}+{len(labels) - 1}-more"
    if definition.question is not None:
        what = definition.question.name
    return f"{what}.{definition.corpus.name}.{definition.budget.name}.{short}"


def begin_or_return(folder: Path, definition: StudyDefinition) -> None:
    """Write `definition` into a new study's folder, or check that a begun study is still the same.

    Raises:
        UserError: the study in `folder` was begun with something else; says what changed.
    """
    if not (folder / FILE).exists():
        write_json(folder / FILE, to_dict(definition))
        return
    begun, now = flatten(to_dict(load(folder))), flatten(to_dict(definition))
    changed = [key for key in sorted({*begun, *now}) if begun.get(key) != now.get(key)]
    if changed:
        shown = "; ".join(
            f"{key} was {begun.get(key)!r}, is {now.get(key)!r}" for key in changed[:5]
        )
        more = f" (and {len(changed) - 5} more)" if len(changed) > 5 else ""
        raise UserError(
            f"study {definition.name} was begun with something else: {shown}{more}; "
            "results are never mixed: put it back, or begin another study with --name"
        )


def run_folder(study_folder: Path, label: str, kind: str, slot: int) -> Path:
    """Where trial ("trial") or confirm run ("confirm") `slot` of the system `label` keeps its
    record."""
    digits = 3 if kind == "trial" else 1
    return study_folder / "runs" / label / f"{kind}-{slot:0{digits}d}"


def load(folder: Path) -> StudyDefinition:
    """The definition of the study in `folder`.

    Raises:
        UserError: no study is there, or its file is damaged or of another version.
    """
    try:
        definition = from_dict(StudyDefinition, parse_json((folder / FILE).read_bytes()))
        for label in definition.systems:
            definition.base_config(label)
        return definition
    except FileNotFoundError as error:
        raise UserError(f"no study in {folder}; `python -m bench.ls studies` lists them") from error
    except (UserError, ValueError) as error:
        raise UserError(
            f"{folder / FILE} is damaged or was written by another version ({error}); move the "
            "folder away"
        ) from error


def find_study(name: str) -> Path:
    """The folder of the study `name`, which may also be given as a path.

    Raises:
        UserError: there is none.
    """
    for folder in (OUT / name, Path(name)):
        if (folder / FILE).exists():
            return folder
    raise UserError(f"no study {name!r} in {OUT}/; `python -m bench.ls studies` lists them")


def studies_newest_first() -> list[Path]:
    """The folders of all studies in ``out/``."""
    files = OUT.glob(f"*/{FILE}")
    return [f.parent for f in sorted(files, key=lambda f: f.stat().st_mtime, reverse=True)]
