"""The flags of `python -m bench.train`."""

import argparse

from bench.core import cli


def build_parser() -> argparse.ArgumentParser:
    """The flags of `python -m bench.train`."""
    parser = cli.parser(
        "train",
        "Train one variant once with the default values of its search space, or with a recipe. "
        "The same command resumes a stopped run. The test split is not used.",
        "--variant ds-gru --set optim.learning_rate=2e-3",
        "--recipe an4 --corpus an4:PATH",
    )
    parser.add_argument("--variant", metavar="V", help="see bench.ls (default: the recipe's)")
    parser.add_argument(
        "--recipe", metavar="NAME", help="variant, corpus and config values in sweeps/recipes/"
    )
    cli.add_corpus(parser, default=None, otherwise=f"that of the recipe, or {cli.DEFAULT_CORPUS}")
    parser.add_argument(
        "--budget",
        default=cli.DEFAULT_BUDGET,
        help="gives epochs and the cap on seconds, as for a confirm run "
        f"(default: {cli.DEFAULT_BUDGET})",
    )
    cli.add_settings(parser)
    cli.add_device(parser)
    cli.add_gpus_per_run(parser)
    return parser
