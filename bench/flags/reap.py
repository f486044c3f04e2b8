"""The flags of `python -m bench.reap`."""

import argparse

from bench.core import cli


def build_parser() -> argparse.ArgumentParser:
    """The flags of `python -m bench.reap`."""
    parser = cli.parser(
        "reap",
        "Close the runs whose process died and that nobody goes on with: killed in the records "
        "and in MLflow, waiting again in the queue. Running the sweep again does the same and "
        "goes on with them.",
        "",
        "STUDY --wait 90",
    )
    parser.add_argument("study", nargs="*", help="names or folders (default: every study)")
    parser.add_argument("--storage", metavar="URL", help="of the queue, as for bench.sweep")
    parser.add_argument(
        "--wait",
        type=cli.real_number("--wait", least=0),
        default=0.0,
        metavar="SECONDS",
        help="watch runs of other machines for a sign of life (default: 0)",
    )
    return parser
