"""The flags of `python -m bench.sync`."""

import argparse

from bench.core import cli


def build_parser() -> argparse.ArgumentParser:
    """The flags of `python -m bench.sync`."""
    parser = cli.parser(
        "sync",
        "Send to MLflow what it lacks of the records in out/: after its server was away, or to "
        "another server (MLFLOW_TRACKING_URI). What it has is not sent again.",
        "",
        "STUDY",
    )
    parser.add_argument("study", nargs="*", help="names or folders (default: every study)")
    return parser
