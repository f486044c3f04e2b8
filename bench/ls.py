"""List what flags take (variants, fields, corpora, …), or the values of a config."""

from bench.core import cli
from bench.flags.ls import build_parser

if __name__ == "__main__":
    cli.start("ls", build_parser())  # before the imports below: they take seconds

import argparse
from collections.abc import Callable, Collection
from dataclasses import asdict
from typing import TYPE_CHECKING

from bench.core.config import as_setting
from bench.core.console import STDOUT, print_error
from bench.core.errors import UserError
from bench.core.lookup import near_names
from bench.core.paths import OUT, remembered

# Imports are within each list's function: torch takes seconds, and cached sizes do not need it.
if TYPE_CHECKING:
    from bench.study.definition import StudyDefinition
    from bench.study.layers import Explained
    from bench.training.config import RunConfig

Rows = list[dict[str, object]]
MAX_VALUE_WIDTH = 12
"""Width of the column of values; a longer value shifts the text after it."""


def variants() -> Rows:
    """Every variant, counted at its default config without allocating its weights."""
    from variants import VARIANTS

    return [_variant_row(name) for name in VARIANTS]


def _variant_row(key: str) -> dict[str, object]:
    from bench.data.corpora import CorpusConfig
    from bench.training.config import default_run_config, model_shape
    from variants import VARIANTS

    spec, config = VARIANTS[key], default_run_config(key, CorpusConfig())
    reason = model_shape(config).cannot_stream
    streaming = {"streams": "no" if reason else "yes", "cannot_stream": reason or ""}
    row = {"name": spec.name, "summary": spec.summary, **_sizes(config), **streaming}
    return {**row, "source": spec.source}


def matched_variants(asked: str) -> Rows:
    """Every variant at the width that matches the size `asked`, or why no width does.

    Raises:
        UserError: `asked` is no size, as `Match.parse`.
    """
    from bench.core.config import updated
    from bench.data.corpora import CorpusConfig
    from bench.study.layers import resolve_run
    from bench.study.match import WIDTH, Match, solve_width
    from bench.study.space import load_space
    from bench.training.config import default_run_config
    from variants import VARIANTS

    match = Match.parse(asked)
    rows: Rows = []
    for name in VARIANTS:
        space = load_space(name, default_run_config(name, CorpusConfig()))
        config = resolve_run(name, space.fixed_layers()).config
        try:
            width = solve_width(config, match, name)
        except UserError as error:
            nothing = dict.fromkeys(("width", *_sizes(config)))
            rows.append({"name": name, **nothing, "unmatched": str(error)})
            continue
        sizes = _sizes(updated(config, {WIDTH: width}))
        rows.append({"name": name, "width": width, **sizes, "unmatched": ""})
    return rows


def _sizes(config: "RunConfig") -> dict[str, int]:
    from bench.study.match import size

    return {
        "num_parameters": round(size("params", config)),
        "macs_per_second_of_audio": round(size("macs", config)),
    }


def installed() -> Rows:
    """The variants of installed packages, as `variants`; one that cannot be used is an error on
    stderr, since the others can."""
    from bench.core.plugins import distribution, installed_variants

    rows: Rows = []
    for name, entry in installed_variants().items():
        from bench.training.outside import OUTSIDE, find_variant

        package = distribution(entry)
        try:
            key = find_variant(name)
        except UserError as error:
            print_error(str(error))
            continue
        if key not in OUTSIDE:
            print_error(f"{package} declares {name!r}, a variant of this project; rename its own")
            continue
        row = _variant_row(key)
        rows.append({**row, "summary": f"{row['summary']} (of the package {package})"})
    return rows


def fields(variant: str) -> Rows:
    """Every field that a study's file may set for a system of `variant`.

    Raises:
        UserError: as `find_variant`.
    """
    from bench.core.fields import fields_of
    from bench.data.corpora import CorpusConfig
    from bench.study.space import belongs_to_study
    from bench.training.config import default_run_config
    from bench.training.outside import find_variant

    config = default_run_config(find_variant(variant), CorpusConfig())
    return [asdict(field) for field in fields_of(config) if not belongs_to_study(field.key)]


def recipes() -> Rows:
    """Every recipe that `bench.train --recipe` takes."""
    from bench.study.recipe import load_recipes

    return [
        {"name": name, "summary": r.summary, "variant": r.variant, "corpus": r.corpus}
        for name, r in load_recipes().items()
    ]


def decoders() -> Rows:
    """Every decoder from log-probabilities to text."""
    from bench.decoding import DECODERS

    return [{"name": name, "summary": summary} for name, summary in DECODERS.items()]


def metrics() -> Rows:
    """Every metric that a run logs."""
    from bench.scoring import METRICS

    return [metric._asdict() for metric in METRICS.values()]


def corpora() -> Rows:
    """Every corpus that `--corpus` takes, and how it takes several."""
    from bench.data.corpora import CORPORA
    from bench.data.corpora.joined import SUMMARY

    rows: Rows = [
        {"name": c.name, "summary": c.summary, "source": c.source} for c in CORPORA.values()
    ]
    return [*rows, {"name": "A+B", "summary": SUMMARY, "source": "those of A and of B"}]


def budgets() -> Rows:
    """Every budget of sweeps/budgets.toml."""
    from bench.study.space import load_budgets

    return [vars(budget) for budget in load_budgets().values()]


def spaces() -> Rows:
    """Every variant's search space: its files, what it searches, on what each file was tuned."""
    from bench.data.corpora import CorpusConfig
    from bench.study.space import load_space
    from bench.training.config import default_run_config
    from variants import VARIANTS

    rows: Rows = []
    for name in VARIANTS:
        space = load_space(name, default_run_config(name, CorpusConfig()))
        files = sorted(set(space.files.values()))
        tuned = (f"{file}: {space.tuned_on.get(file, 'not recorded')}" for file in files)
        searched = (f"{key} {dimension}" for key, dimension in space.search.items())
        rows.append({"name": name, "searched": "; ".join(searched), "tuned on": "; ".join(tuned)})
    return rows


def questions() -> Rows:
    """Every question of sweeps/studies, which `bench.sweep --study` answers."""
    from bench.study.question import load_study_files

    return [
        {
            "name": name,
            "summary": study.question.summary,
            "systems": " ".join(study.systems),
            "match": "" if study.match is None else str(study.match),
            "corpus": study.corpus,
            "budget": study.budget,
            "claim": study.question.claim,
            "source": study.question.source,
        }
        for name, study in load_study_files().items()
    ]


def studies() -> Rows:
    """Every study below out/, the newest first."""
    from bench.study.definition import load, studies_newest_first

    rows: Rows = []
    for folder in studies_newest_first():
        try:
            definition = load(folder)
        except UserError as error:
            print_error(str(error))  # and list the others: this is where one looks for their names
            continue
        rows.append(
            {
                "name": definition.name,
                "systems": " ".join(definition.systems),
                "corpus": definition.corpus.title,
                "budget": definition.budget.name,
                "report": str(folder / "report.html") if (folder / "report.html").exists() else "",
            }
        )
    return rows


def config(options: argparse.Namespace) -> dict[str, "tuple[Explained, ...]"]:
    """By system, each value of its config, what set it, and what is searched.

    Raises:
        UserError: nothing is named; an unknown name, key or value.
    """
    from bench.study.layers import explained
    from bench.study.request import single_run_of

    if options.recipe:
        if options.match is not None:
            raise UserError(
                f"a recipe has a width, got --match {options.match}; leave one of the two out"
            )
        run = single_run_of(options)
        return {run.config.variant: explained(run, {})}
    definition = _definition(options)
    labels = [
        label
        for label, system in definition.systems.items()
        if not options.study or options.variant in (None, label, system.variant)
    ]
    if not labels:
        known = near_names(options.variant, definition.systems)
        raise UserError(f"no system of {definition.name} is called {options.variant!r}; {known}")
    return {
        label: explained(definition.first(label), definition.searched(label)) for label in labels
    }


def _definition(options: argparse.Namespace) -> "StudyDefinition":
    """Of the study that has been begun under this name, or that the flags ask for."""
    from bench.study.definition import FILE, load
    from bench.study.request import definition_of

    if not (options.variant or options.study):
        raise UserError("a config is that of --variant V, --study NAME or --recipe NAME; give one")
    folder = OUT / (options.study or "")
    if options.study and (folder / FILE).exists():
        if changed := _given(options, {"variant", "study"}):
            raise UserError(
                f"{options.study} has been begun, so nothing in it can change, got "
                f"{changed}; leave that out"
            )
        return load(folder)
    variants = [options.variant] if options.variant and not options.study else []
    unasked = {"name": None, "seeds": None, "until_decided": None}
    asked = argparse.Namespace(**{**vars(options), "variant": variants, **unasked})
    return definition_of(asked, "cpu")


def _given(options: argparse.Namespace, but: Collection[str] = ()) -> str:
    """The flags that shape a config and were given, but for those named."""
    parser = build_parser()
    usual = ("what", "of", "verbose", "quiet", "json")
    names = [name for name in vars(options) if name not in (*usual, *but)]
    given = [name for name in names if getattr(options, name) != parser.get_default(name)]
    return " ".join("--set" if name == "settings" else f"--{name}" for name in given)


_LISTS: dict[str, Callable[[], Rows]] = {
    "variants": lambda: remembered("variants", variants) + installed(),
    "corpora": corpora,
    "budgets": budgets,
    "spaces": spaces,
    "recipes": recipes,
    "questions": questions,
    "studies": studies,
    "decoders": decoders,
    "metrics": metrics,
}


def main(options: argparse.Namespace) -> None:
    """Print the list that was asked for."""
    if options.of is not None and options.what != "fields":
        raise UserError(f"only fields are of a variant, got {options.what} {options.of}; remove it")
    if options.what == "config":
        _print_config(config(options), as_json=options.json)
        return
    also = {"match"} if options.what == "variants" else set()
    if given := _given(options, also):
        fits = "config or variants" if given == "--match" else "config"
        raise UserError(f"{given} goes with {fits}, got {options.what}; leave it out")
    if options.what == "fields":
        if options.of is None:
            raise UserError("fields are of a family or a variant; write for instance fields ds")
        rows = fields(options.of)
    elif options.match is not None:
        rows = matched_variants(options.match)
    else:
        rows = _LISTS[options.what]()
    if options.json:
        cli.print_json(rows)
        return
    if not rows:
        STDOUT.print(f"no {options.what} in {OUT}/ yet")
        return
    (_print_fields if options.what == "fields" else _print)(rows)


def _print_config(systems: "dict[str, tuple[Explained, ...]]", *, as_json: bool) -> None:
    if as_json:
        every = ((label, value) for label, values in systems.items() for value in values)
        cli.print_json([{"system": label, **asdict(value)} for label, value in every])
        return
    for label, values in systems.items():
        STDOUT.print(label, markup=False, style="bold")
        keys = max(len(value.key) for value in values)
        width = min(MAX_VALUE_WIDTH, max(len(as_setting(value.value)) for value in values))
        for value in values:
            told = f"{value.origin.layer}: {value.origin.source}"
            if value.searched is not None:
                told += f" (searched: {value.searched})"
            line = f"  {value.key:{keys}}  {as_setting(value.value):{width}}  {told}"
            STDOUT.print(line, markup=False)


def _print_fields(rows: Rows) -> None:
    keys, width = (max(len(str(row[of])) for row in rows) for of in ("key", "default"))
    for row in rows:
        default = f"{row['default']!s:{min(MAX_VALUE_WIDTH, width)}}"
        STDOUT.print(f"{row['key']!s:{keys}}  {default}  {row['type']}", markup=False)
        if row["description"]:
            STDOUT.print(f"    {row['description']}", markup=False)


def _print(rows: Rows) -> None:
    """Short values in columns, each row's longer texts below it: so most lists fit 80 columns."""
    texts = [key for key in rows[0] if any(" " in str(row[key]) for row in rows)]
    short = [key for key in rows[0] if key not in texts]
    numeric = {key for key in short if any(isinstance(row[key], (int, float)) for row in rows)}
    # The words of a header stand one below the other, at the bottom, so that columns are narrow:
    #
    #               macs
    #             second
    #     name    audio         of the keys `name` and `macs_second_audio`
    words = {key: key.split("_") for key in short}
    height = max(map(len, words.values()))
    above = {key: [""] * (height - len(words[key])) + words[key] for key in short}
    table = [{key: above[key][line] for key in short} for line in range(height)]
    table += [{key: _cell(row[key]) for key in short} for row in rows]
    width = {key: max(len(cells[key]) for cells in table) for key in short}
    for line, cells in enumerate(table, start=-height):
        padded = (f"{cells[key]:{'>' if key in numeric else '<'}{width[key]}}" for key in short)
        STDOUT.print("  ".join(padded).rstrip(), markup=False, style="bold" if line < 0 else None)
        for key in texts if line >= 0 else ():
            if value := rows[line][key]:
                shown = str(value) if key == "summary" else f"{key}: {value}"
                STDOUT.print(f"    {shown}", markup=False)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, (int, float)) else str(value)
