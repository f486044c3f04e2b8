"""What a study is, written down: begun once, compared at every return, never mixed."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.core.config import digest, flatten, from_dict, to_dict, updated
from bench.core.errors import UserError
from bench.core.paths import OUT, write_json
from bench.data.corpora import CorpusConfig
from bench.data.features import FEATURES_VERSION
from bench.data.text import text_digest
from bench.study.space import SWEEPS, Budget, Dimension, Space, load_space
from bench.training.config import RunConfig, default_run_config

FILE = "study.json"
CONFIRM_SEEDS_FROM = 5_000
SEEDS_PER_STUDY = 10_000


@dataclass(frozen=True, kw_only=True)
class StudyDefinition:
    """Everything that decides a study's numbers."""

    name: str
    variants: tuple[str, ...]
    corpus: CorpusConfig
    budget: Budget
    seed: int
    device: str
    settings: Mapping[str, Any]
    """What ``--set`` changed, the same for every run."""
    spaces: Mapping[str, Space]
    data_digest: str
    text_digest: str
    features_version: int
    excluded: tuple[str, ...]
    """Ids that some variant cannot align (fewer output frames than CTC needs); no variant sees
    them."""

    def base_config(self, variant: str) -> RunConfig:
        """The config that all runs of `variant` share: defaults, its space's fixed values,
        ``--set``."""
        config = default_run_config(variant, self.corpus)
        return updated(config, {**self.spaces[variant].fixed, **self.settings})

    def trial_config(self, variant: str, slot: int, params: Mapping[str, Any]) -> RunConfig:
        """The config of trial `slot`."""
        settings = {**self.budget.search_settings(), **params}
        return self._with(variant, settings, self.seed * SEEDS_PER_STUDY + slot)

    def confirm_config(self, variant: str, slot: int, params: Mapping[str, Any]) -> RunConfig:
        """The config of confirm run `slot`, whose seed no trial has used."""
        settings = {**self.budget.confirm_settings(), **params}
        seed = self.seed * SEEDS_PER_STUDY + CONFIRM_SEEDS_FROM + slot
        return self._with(variant, settings, seed)

    def searched(self, variant: str) -> dict[str, Dimension]:
        """The dimensions of `variant` that ``--set`` has not fixed."""
        pinned = set(self.settings)
        return {k: d for k, d in self.spaces[variant].search.items() if k not in pinned}

    def _with(self, variant: str, settings: Mapping[str, Any], seed: int) -> RunConfig:
        return replace(updated(self.base_config(variant), settings), seed=seed)


def define(
    variants: Iterable[str],
    corpus: CorpusConfig,
    budget: Budget,
    *,
    seed: int,
    device: str,
    settings: Mapping[str, Any],
    name: str | None = None,
    sweeps: Path = SWEEPS,
) -> StudyDefinition:
    """A definition whose name says what it is, unless `name` is given; the data are still unread.

    Raises:
        UserError: unknown variant, config key or value; a variant named twice.
    """
    listed = tuple(variants)
    for variant in listed:
        if listed.count(variant) > 1:
            raise UserError(
                f"a study compares different variants, got {variant!r} twice; name it once"
            )
    spaces = {}
    for variant in listed:
        base = default_run_config(variant, corpus)
        spaces[variant] = load_space(variant, base, sweeps)
        updated(base, settings)
    for key in settings:
        fixed = {"seed", "variant", *budget.search_settings()}
        if key in fixed or key.startswith("corpus."):
            raise UserError(
                f"--set {key} would change what the budget or the study fixes; choose another "
                "--budget, --seed or --corpus"
            )
    searched = {variant: to_dict(space) for variant, space in spaces.items()}
    short = digest({"spaces": searched, "settings": settings, "seed": seed})[:8]
    many = f"{listed[0]}+{len(listed) - 1}-more"
    label = "+".join(listed) if len(listed) <= 3 else many
    return StudyDefinition(
        name=name or f"{label}.{corpus.name}.{budget.name}.{short}",
        variants=listed,
        corpus=corpus,
        budget=budget,
        seed=seed,
        device=device,
        settings=dict(settings),
        spaces=spaces,
        data_digest="",
        text_digest=text_digest(),
        features_version=FEATURES_VERSION,
        excluded=(),
    )


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


def load(folder: Path) -> StudyDefinition:
    """The definition of the study in `folder`.

    Raises:
        UserError: no study is there, or its file is damaged.
    """
    try:
        plain = json.loads((folder / FILE).read_text(encoding="utf-8"))
        plain["spaces"] = {
            variant: Space(
                fixed=space["fixed"],
                search={k: from_dict(Dimension, d) for k, d in space["search"].items()},
            )
            for variant, space in plain["spaces"].items()
        }
        return StudyDefinition(
            **{
                **plain,
                "variants": tuple(plain["variants"]),
                "excluded": tuple(plain["excluded"]),
                "corpus": from_dict(CorpusConfig, plain["corpus"]),
                "budget": from_dict(Budget, plain["budget"]),
            }
        )
    except FileNotFoundError as error:
        raise UserError(f"no study in {folder}; `python -m bench.ls studies` lists them") from error
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise UserError(f"{folder / FILE} is damaged ({error}); move the folder away") from error


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
