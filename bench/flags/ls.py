"""The flags of `python -m bench.ls`."""

import argparse

from bench.core import cli

LISTS = (
    "variants", "fields", "corpora", "budgets", "spaces", "recipes", "questions", "studies",
    "decoders", "metrics", "config",
)  # fmt: skip


def build_parser() -> argparse.ArgumentParser:
    """The flags of `python -m bench.ls`."""
    parser = cli.parser(
        "ls",
        "List variants (with their size and cost), the fields of a variant (that a study's file "
        "may set), corpora, budgets, search spaces (with what they were tuned on), recipes, "
        "questions (that bench.sweep --study answers), studies (that have been begun), decoders, "
        "metrics, or a config: each of its values, the file or the flag that set it, and the range "
        "in which a study searches it.",
        "variants",
        "fields ds",
        "variants --match params=2M",
        "config --variant ds-gru --budget quick --set model.width=128",
        "config --study cells --variant gru",
    )
    parser.add_argument("what", choices=LISTS, help="what to list")
    parser.add_argument("of", nargs="?", metavar="V", help="fields of this family or variant")
    parser.add_argument(
        "--match",
        metavar=cli.MATCH_FORM,
        help="variants, or a config, at the width that gives this size",
    )
    parser.add_argument(
        "--variant", metavar="V", help="config of this; with --study, of that system alone"
    )
    whose = parser.add_mutually_exclusive_group()
    whose.add_argument(
        "--study", metavar="NAME", help="config of the systems of a question or a study"
    )
    whose.add_argument("--recipe", metavar="NAME", help="config of a setting of sweeps/recipes/")
    parser.add_argument(
        "--budget",
        metavar="NAME",
        help="config with the epochs of its confirm runs (default: the "
        f"study's, or {cli.DEFAULT_BUDGET})",
    )
    cli.add_corpus(parser, None, f"the study's or the recipe's, or {cli.DEFAULT_CORPUS}")
    cli.add_settings(parser)
    return parser
