"""The flags of `python -m bench.compare`."""

import argparse
from pathlib import Path

from bench.core import cli

MAX_MARGIN = 99.0


def build_parser() -> argparse.ArgumentParser:
    """The flags of `python -m bench.compare`."""
    parser = cli.parser(
        "compare",
        "Compare systems on the same test utterances: studies (each variant is a system), runs (a "
        "folder or an MLflow run id), JSON lines of any recogniser (text, pred_text), trn "
        "files, or a comparison that --save kept.",
        "out/cells.an4.quick.1a2b3c4d",
        "ours.jsonl theirs.jsonl --markdown",
        "--ref ref.trn a.trn b.trn",
    )
    parser.add_argument("systems", nargs="+", metavar="SYSTEM", help="two systems, or a study")
    parser.add_argument(
        "--ref", type=Path, metavar="TRN", help="the reference; the systems are trn files then"
    )
    parser.add_argument(
        "--common",
        action="store_true",
        help="leave out utterances that some system lacks, and say how many",
    )
    parser.add_argument(
        "--match-by",
        choices=("id", "name"),
        default="id",
        help="utterances are the same whose ids are, or whose names are: the ends of ids, whatever "
        "folders stand before them (default: id)",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="compare what differs in data, budget or scoring too; the numbers are stamped",
    )
    parser.add_argument(
        "--save",
        type=Path,
        metavar="FILE",
        help="keep the comparison in a small file that this command reads: words as numbers",
    )
    form = parser.add_mutually_exclusive_group()
    for name in ("csv", "markdown", "latex"):
        form.add_argument(f"--{name}", action="store_const", const=name, dest="form")
    parser.add_argument(
        "--margin",
        type=cli.real_number("--margin", above=0, most=MAX_MARGIN),
        metavar="POINTS",
        help="systems closer than this in WER are equivalent (default: as their study says, or 2)",
    )
    parser.add_argument(
        "--by",
        metavar="ATTRIBUTE",
        help="rates by groups too, and whether a difference is another in some: length, or what "
        "corpus or file says of utterances and speakers (gender, age, accent, …)",
    )
    cli.add_seed(parser, "of the bootstrap, for test sets of fewer than ten speakers")
    return parser
