"""The flags of `python -m bench.sweep`."""

import argparse

from bench.core import cli
from bench.queue.lease import GRACE_SECONDS

MIN_GRACE_SECONDS = 1.0
"""Shorter than a busy machine's pauses, every worker would count as gone."""
MAX_WORKERS = 10_000


def build_parser() -> argparse.ArgumentParser:
    """The flags of `python -m bench.sweep`."""
    parser = cli.parser(
        "sweep",
        "Tune each system (a variant, or what --study declares) under the same budget, retrain "
        "the best setting with new seeds, score the test set once per seed, and report which "
        "system is better. The same command resumes a stopped sweep; started while one runs, here "
        "or on another machine, it adds workers.",
        "--variant ds-gru",
        "--variant ds-gru --variant ds-lstm --corpus an4 --budget smoke",
        "--study look-ahead",
    )
    compared = parser.add_mutually_exclusive_group()
    compared.add_argument("--variant", action="append", metavar="V", help="may be repeated")
    compared.add_argument("--study", metavar="NAME", help="a question of sweeps/studies")
    cli.add_corpus(parser, None, f"the study's, or {cli.DEFAULT_CORPUS}")
    parser.add_argument(
        "--budget", help=f"of sweeps/budgets.toml (default: the study's, or {cli.DEFAULT_BUDGET})"
    )
    parser.add_argument(
        "--match",
        metavar=cli.MATCH_FORM,
        help="choose each system's width for this number of parameters (such as 2M), or of "
        "multiply-adds per second of audio",
    )
    cli.add_settings(parser)
    cli.add_decoder(parser, weights=False)
    cli.add_device(parser)
    _add_workers(parser)
    cli.add_audio(parser)
    parser.add_argument(
        "--name", help="the study's name (default: systems, corpus, budget, digest)"
    )
    return parser


def _add_workers(parser: argparse.ArgumentParser) -> None:
    """What starts the workers, how many, and where they find their work."""
    parser.add_argument(
        "--workers",
        type=cli.whole_number("--workers", least=1, most=MAX_WORKERS),
        help="number of worker processes (default: one per core, or one per GPU)",
    )
    parser.add_argument(
        "--gpus",
        metavar="0,1",
        help="the GPUs to use, of those that CUDA_VISIBLE_DEVICES shows, by number or UUID "
        "(default: all)",
    )
    parser.add_argument(
        "--per-gpu",
        type=cli.whole_number("--per-gpu", least=1, most=MAX_WORKERS),
        default=1,
        metavar="N",
        help="workers on each GPU, under MPS if above 1 (default: 1)",
    )
    parser.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="where workers run: on this machine (default), or on the nodes of a Ray cluster",
    )
    parser.add_argument(
        "--address",
        metavar="HOST:PORT",
        help="address of the Ray cluster, or auto (default: a new cluster of this machine only)",
    )
    parser.add_argument(
        "--storage",
        metavar="URL",
        help="address of the queue, postgresql://… for several machines (default: a journal file)",
    )
    parser.add_argument(
        "--grace",
        type=cli.real_number("--grace", least=MIN_GRACE_SECONDS),
        default=GRACE_SECONDS,
        metavar="SECONDS",
        help="time without a heartbeat after which a worker counts as dead "
        f"(default: {GRACE_SECONDS:.0f})",
    )
