"""The flags of `python -m bench.report`."""

import argparse

from bench.core import cli


def build_parser() -> argparse.ArgumentParser:
    """The flags of `python -m bench.report`."""
    parser = cli.parser(
        "report", "Write the HTML report of studies (all of out/ by default).", "STUDY"
    )
    parser.add_argument("study", nargs="*", help="names or folders (default: every study)")
    cli.add_audio(parser)
    return parser
