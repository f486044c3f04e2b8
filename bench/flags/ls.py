"""The flags of `python -m bench.ls`."""

import argparse

from bench.core import cli

LISTS = ("variants", "corpora", "budgets", "questions", "studies")


def build_parser() -> argparse.ArgumentParser:
    """The flags of `python -m bench.ls`."""
    parser = cli.parser(
        "ls",
        "List variants (with their size and cost), corpora, budgets, questions (that "
        "bench.sweep --study answers) or studies (that have been begun).",
        "variants",
        "variants --match params=2M",
        "questions",
    )
    parser.add_argument("what", choices=LISTS, help="what to list")
    parser.add_argument(
        "--match", metavar=cli.MATCH_FORM, help="variants at the width that gives them this size"
    )
    return parser
