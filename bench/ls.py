"""List what there is: variants, corpora, budgets, studies."""

import argparse
from collections.abc import Callable
from typing import Any

import torch
from rich.table import Table

from bench.core import cli
from bench.core.console import STDOUT
from bench.core.paths import OUT
from bench.data.corpora import CORPORA, CorpusConfig
from bench.data.text import NUM_SYMBOLS
from bench.study.definition import load, studies_newest_first
from bench.study.space import load_budgets
from bench.training.config import default_run_config
from variants import VARIANTS
from variants.cost import macs_per_second, num_parameters

Rows = list[dict[str, Any]]


def variants() -> Rows:
    """Every variant, counted at its default config without allocating its weights."""
    rows: Rows = []
    for name, spec in VARIANTS.items():
        config = default_run_config(name, CorpusConfig())
        with torch.device("meta"):
            model = spec.build(config.model, config.features.num_bins, NUM_SYMBOLS)
        macs = macs_per_second(model, config.features.num_bins, config.features.frames_per_second)
        rows.append(
            {
                "name": name,
                "summary": spec.summary,
                "num_parameters": num_parameters(model),
                "macs_per_second_of_audio": round(macs),
                "source": spec.source,
            }
        )
    return rows


def corpora() -> Rows:
    """Every corpus that `--corpus` takes."""
    return [{"name": c.name, "summary": c.summary, "source": c.source} for c in CORPORA.values()]


def budgets() -> Rows:
    """Every budget of sweeps/budgets.toml."""
    return [vars(budget) for budget in load_budgets().values()]


def studies() -> Rows:
    """Every study below out/, the newest first."""
    rows: Rows = []
    for folder in studies_newest_first():
        definition = load(folder)
        rows.append(
            {
                "name": definition.name,
                "variants": " ".join(definition.variants),
                "corpus": definition.corpus.name,
                "budget": definition.budget.name,
                "report": str(folder / "report.html") if (folder / "report.html").exists() else "",
            }
        )
    return rows


LISTS: dict[str, Callable[[], Rows]] = {
    "variants": variants,
    "corpora": corpora,
    "budgets": budgets,
    "studies": studies,
}


def main(options: argparse.Namespace) -> None:
    """Print the list that was asked for."""
    rows = LISTS[options.what]()
    if options.json:
        cli.print_json(rows)
        return
    if not rows:
        STDOUT.print(f"no {options.what} in {OUT}/ yet")
        return
    table = Table(box=None, pad_edge=False)
    for key, value in rows[0].items():
        numeric = isinstance(value, (int, float))
        table.add_column(key, justify="right" if numeric else "left", no_wrap=key == "name")
    for row in rows:
        cells = [f"{v:,}" if isinstance(v, (int, float)) else str(v) for v in row.values()]
        table.add_row(*cells)
    STDOUT.print(table)


def build_parser() -> argparse.ArgumentParser:
    """The flags of `python -m bench.ls`."""
    parser = cli.parser(
        "ls", "List variants (with their size and cost), corpora, budgets or studies.", "variants"
    )
    parser.add_argument("what", choices=tuple(LISTS), help="what to list")
    return parser


if __name__ == "__main__":
    cli.run(build_parser(), main)
