"""The persisted study definition. Resuming a study with a different definition is an error."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.core.config import (
    Layer,
    Origin,
    Resolved,
    Settings,
    changes,
    digest,
    flatten,
    from_dict,
    identity,
    to_dict,
    updated,
)
from bench.core.errors import UserError
from bench.core.files import write_json
from bench.core.lookup import check_name
from bench.core.parsing import parse_json
from bench.core.paths import OUT, SINGLE_RUNS
from bench.core.seeding import derive
from bench.data.corpora import CorpusConfig
from bench.data.features import FEATURES_VERSION
from bench.data.text import text_digest
from bench.runs.layout import SCORES
from bench.stats.looks import Plan
from bench.study.layers import corpus_layers, resolve_run, searched, seed_layer, set_layer
from bench.study.match import WIDTH, Match, check_size_is_fixed, solve_width
from bench.study.question import Question, System
from bench.study.space import SWEEPS, Budget, Dimension, Space, load_space
from bench.training.config import RunConfig
from bench.training.outside import OUTSIDE, find_recorded, find_variant, record
from variants import VARIANTS

FILE = "study.json"
SOURCES = "variants"
"""The folder in a study's folder that holds the source of each variant from outside, which is
executed when the study is loaded."""
LAYOUT_VERSION = 2
"""The version of the files in a study's folder; a study of another version is refused."""
RESERVED_NAMES = (SINGLE_RUNS.name, "index.html", "comparisons")
"""Names in ``out/`` that are no studies."""
SEED_BITS = 31
"""Of a run's seed: short enough to read, long enough that no two runs of a study share one."""


@dataclass(frozen=True, kw_only=True)
class Sources:
    """The file or flag that chose the corpus and the match, for the origins of config values."""

    corpus: str = "--corpus"
    match: str = "--match"


@dataclass(frozen=True, kw_only=True)
class SeedsRaised:
    """Confirm runs that were added without a plan after some had been scored."""

    before: int
    after: int
    """Per system."""


@dataclass(frozen=True, kw_only=True)
class StudyDefinition:
    """All inputs that determine a study's results."""

    name: str
    systems: Mapping[str, System]
    """The systems compared, by label: the name in folders, queues, records and the report."""
    corpus: CorpusConfig
    budget: Budget
    seed: int
    device: str
    settings: Settings
    """The settings of ``--set``, the same for every run."""
    match: Match | None
    """The size that all systems have; the widths solved for it are in their settings."""
    question: Question | None
    """The question, if the study comes from a file of ``sweeps/studies``."""
    spaces: Mapping[str, Space]
    """By label."""
    data_digest: str
    text_digest: str
    features_version: int
    layout_version: int
    excluded: tuple[str, ...]
    """Ids that some system cannot align (fewer output frames than CTC needs); no system sees
    them."""
    plan: Plan | None
    """When seeds are added until pairs are decided; None: the budget's number of seeds."""
    raised: tuple[SeedsRaised, ...] = field(default=(), compare=False)
    """Kept in study.json by `begin_or_return`."""
    sources: Sources = field(default_factory=Sources, compare=False)
    """Not compared: the same values from other files or flags are the same study."""

    def __post_init__(self) -> None:
        """Check the names, and that each system has a space."""
        if self.name:  # it has none until the rest of it is known
            check_name(self.name, "a study", RESERVED_NAMES)
        for label in self.systems:
            check_name(label, "a system")
            if label not in self.spaces:
                raise ValueError(f"each system has a space, {label} has none")

    @property
    def baseline(self) -> str:
        """The system that the others are compared with: the question's base, else the first."""
        return self.question.base if self.question else next(iter(self.systems))

    def base(self, label: str) -> Resolved[RunConfig]:
        """The config common to all runs of `label`; searched keys have the variant's defaults."""
        return self._resolve(label)

    def base_config(self, label: str) -> RunConfig:
        """The config of `base`."""
        return self.base(label).config

    def first(self, label: str) -> Resolved[RunConfig]:
        """The config of the first confirm run if no trial is better than trial 0."""
        defaults = self.spaces[label].default_layers()
        return self._resolve(label, *defaults, *self._confirm_layers(label, 0))

    def trial(self, label: str, slot: int, params: Settings) -> Resolved[RunConfig]:
        """The config of trial `slot`."""
        drawn = Layer(Origin("trial", f"trial {slot}"), params)
        seed = self._seed_layer(label, "trial", slot)
        return self._resolve(label, drawn, self.budget.search_layer(), seed)

    def confirm(self, label: str, slot: int, params: Settings) -> Resolved[RunConfig]:
        """The config of confirm run `slot`; no trial has used its seed."""
        drawn = Layer(Origin("trial", "the best trial"), params)
        return self._resolve(label, drawn, *self._confirm_layers(label, slot))

    def searched(self, label: str) -> dict[str, Dimension]:
        """The dimensions that neither ``--set`` nor the settings of the system `label` fix."""
        return searched(self.spaces[label], self.base(label))

    def changes(self, label: str) -> tuple[str, ...]:
        """The config keys in which `label` differs from the question's base, without a solved
        width; none where nothing is asked."""
        if self.question is None:
            return ()
        own = flatten(to_dict(self.base_config(label)))
        base = flatten(to_dict(self.base_config(self.question.base)))
        keys = sorted({*own, *base} - {"variant", WIDTH if self.match else ""})
        return tuple(key for key in keys if own.get(key) != base.get(key))

    def _resolve(self, label: str, *more: Layer) -> Resolved[RunConfig]:
        system, solved = self.systems[label], []
        # A solved width is kept among the system's settings, and is a value of the match.
        if self.match is not None and WIDTH in system.settings:
            own = {key: value for key, value in system.settings.items() if key != WIDTH}
            solved = [self.match.layer(system.settings[WIDTH], self.sources.match)]
            system = replace(system, settings=own)
        layers = (
            *corpus_layers(self.corpus, self.sources.corpus),
            *self.spaces[label].fixed_layers(),
            system.layer(_declared(label, self.question)),
            set_layer(self.settings),
            *solved,
            *more,
        )
        return resolve_run(system.variant, layers)

    def _confirm_layers(self, label: str, slot: int) -> tuple[Layer, Layer]:
        return self.budget.confirm_layer(), self._seed_layer(label, "confirm", slot)

    def _seed_layer(self, label: str, kind: str, slot: int) -> Layer:
        """The run's seed, a function of the study's seed, the label, the kind of run and the slot:
        two systems share none, even if they are the same network."""
        what = "confirm run" if kind == "confirm" else kind
        seed = derive(self.seed, f"{kind}/{label}", slot) % 2**SEED_BITS
        return seed_layer(seed, f"--seed {self.seed}, {label}, {what} {slot}")


def _declared(label: str, question: Question | None) -> str:
    """Where the system `label` is declared."""
    return f"{question.file} [systems.{label}]" if question else f"system {label}"


def define(
    systems: Iterable[str] | Mapping[str, System],
    corpus: CorpusConfig,
    budget: Budget,
    *,
    seed: int,
    device: str,
    settings: Settings,
    match: Match | None = None,
    question: Question | None = None,
    name: str | None = None,
    plan: Plan | None = None,
    sources: Sources = Sources(),
    sweeps: Path = SWEEPS,
) -> StudyDefinition:
    """A definition, named by `own_name` unless `name` is given; the corpus has not been read yet.

    `systems` are variants as `find_variant` takes them, each called by its own name, or systems by
    label.

    Raises:
        UserError: unknown variant, config key or value; a variant named twice; a setting of one
            system that is also set for all; a size that cannot be matched; a name that is none.
    """
    labelled = systems if isinstance(systems, Mapping) else _by_own_name(systems)
    if plan is not None and len(labelled) < 2:
        raise UserError(
            f"seeds are added until pairs of systems are decided, got {', '.join(labelled)} alone; "
            "name another, or leave --until-decided out"
        )
    _check_settings(settings, labelled, budget)
    spaces = {}
    for label, system in labelled.items():
        own = resolve_run(system.variant, [system.layer(_declared(label, question))])
        spaces[label] = load_space(system.variant, own.config, sweeps)
    try:
        definition = StudyDefinition(
            name=name or "",
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
            layout_version=LAYOUT_VERSION,
            excluded=(),
            plan=plan,
            sources=sources,
        )
    except ValueError as error:
        raise UserError(f"--name: {error}") from error
    for label in labelled:
        definition.first(label)  # refuses now what a run's config would refuse later
    if match is not None:
        definition = replace(definition, systems=_matched(definition, match))
    return definition if name else replace(definition, name=own_name(definition))


def _by_own_name(variants: Iterable[str]) -> dict[str, System]:
    keys = tuple(map(find_variant, variants))
    labels = [VARIANTS[key].name for key in keys]
    for label in labels:
        if labels.count(label) > 1:
            raise UserError(
                f"a study compares different variants, got {label!r} twice; name it once"
            )
    return {label: System(variant=key) for label, key in zip(labels, keys, strict=True)}


def _check_settings(settings: Settings, systems: Mapping[str, System], budget: Budget) -> None:
    """Refuse settings that ``--set`` may not change."""
    for key in settings:
        fixed = {"seed", "variant", *budget.search_layer().settings}
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
    """The systems, each with the width solved for `match`."""
    matched = {}
    for label, system in definition.systems.items():
        config = definition.base_config(label)
        for settings, of in ((definition.settings, "--set"), (system.settings, f"system {label}")):
            if WIDTH in settings:
                raise UserError(f"--match solves {WIDTH}, which {of} sets; leave one of them out")
        width = solve_width(config, match, label)
        others = {k: d for k, d in definition.searched(label).items() if k != WIDTH}
        check_size_is_fixed(updated(config, {WIDTH: width}), others, match, label)
        matched[label] = replace(system, settings={**system.settings, WIDTH: width})
    return matched


def own_name(definition: StudyDefinition) -> str:
    """The default name of a study: systems, corpus, budget, and a digest of the rest."""
    parts = ("systems", "spaces", "settings", "seed", *(["plan"] if definition.plan else []))
    # Of what the name does not say already.
    short = digest({name: identity(getattr(definition, name)) for name in parts})[:8]
    labels = tuple(definition.systems)
    what = "+".join(labels) if len(labels) <= 3 else f"{labels[0]}+{len(labels) - 1}-more"
    if definition.question is not None:
        what = definition.question.name
    return f"{what}.{definition.corpus.title}.{definition.budget.name}.{short}"


def begin_or_return(folder: Path, definition: StudyDefinition) -> None:
    """Write `definition` into a new study's folder, with the source of each variant from outside,
    or check that the study there has the same one.

    Of a begun study without a plan the number of seeds may grow; it is noted if a confirm run had
    been scored before.

    Raises:
        UserError: the study in `folder` has a different definition; names the differences.
    """
    if not (folder / FILE).exists():
        # The sources first: the definition cannot be loaded without them.
        for system in definition.systems.values():
            if system.variant in OUTSIDE:
                record(OUTSIDE[system.variant], folder / SOURCES)
        write_json(folder / FILE, to_dict(definition))
        return
    begun = load(folder)
    before, after = begun.budget.num_seeds, definition.budget.num_seeds
    grows = begun.plan is None and definition.plan is None and after > before
    if grows:
        # As if it had had that number from the beginning: nothing else may differ.
        begun = replace(begun, budget=replace(begun.budget, num_seeds=after))
    _check_same(begun, definition)
    if grows:
        if any(folder.glob(f"runs/*/confirm-*/{SCORES}")):
            more = SeedsRaised(before=before, after=after)
            begun = replace(begun, raised=(*begun.raised, more))
        write_json(folder / FILE, to_dict(begun))


def _check_same(begun: StudyDefinition, definition: StudyDefinition) -> None:
    if (begun.plan is None) != (definition.plan is None):
        how, way_out = ("with", "add") if begun.plan else ("without", "leave out")
        raise UserError(
            f"study {definition.name} was begun {how} a plan of looks, which is made before the "
            f"first run; {way_out} --until-decided, or begin another study with --name"
        )
    if shown := changes(flatten(identity(begun)), flatten(identity(definition))):
        raise UserError(
            f"study {definition.name} was begun with another definition: {shown}; restore "
            "those values, or begin another study with --name"
        )


def run_folder(study_folder: Path, label: str, kind: str, slot: int) -> Path:
    """The folder of run `slot` of the system `label`; `kind` is "trial" or "confirm"."""
    digits = 3 if kind == "trial" else 1
    return study_folder / "runs" / label / f"{kind}-{slot:0{digits}d}"


def load(folder: Path) -> StudyDefinition:
    """The definition of the study in `folder`.

    Raises:
        UserError: no study is there, or its file is damaged or of another version.
    """
    try:
        definition = from_dict(StudyDefinition, parse_json((folder / FILE).read_bytes()))
        if definition.layout_version != LAYOUT_VERSION:
            raise ValueError(
                f"it has layout {definition.layout_version}, this version reads {LAYOUT_VERSION}"
            )
        for label, system in definition.systems.items():
            find_recorded(system.variant, [folder / SOURCES])
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
