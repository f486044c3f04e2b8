"""The flags of `python -m bench.sweep`."""

import argparse

from bench.core import cli
from bench.queue.lease import GRACE_SECONDS

MIN_GRACE_SECONDS = 1.0
"""Shorter than a busy machine's pauses, every worker would count as gone."""
MAX_WORKERS = 10_000
MAX_SEEDS = 1_000


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
        "--study cells --until-decided",
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
    _add_seeds(parser)
    cli.add_settings(parser)
    cli.add_decoder(parser, weights=False)
    parser.add_argument(
        "--conditions",
        metavar="NAME",
        help="also score the confirm runs on degraded test utterances: noise is white noise and "
        "babble at 20, 10, 5 and 0 dB, and a room (default: as the study says)",
    )
    parser.add_argument(
        "--register",
        metavar="NAME",
        help="at the end make the best confirm run's model (lowest valid WER) a version of the "
        "registered model NAME in MLflow, unless it is one",
    )
    cli.add_device(parser)
    _add_workers(parser)
    cli.add_audio(parser)
    parser.add_argument(
        "--name", help="the study's name (default: systems, corpus, budget, digest)"
    )
    return parser


def _add_seeds(parser: argparse.ArgumentParser) -> None:
    """How many confirm runs each system has."""
    parser.add_argument(
        "--seeds",
        type=cli.whole_number("--seeds", least=1, most=MAX_SEEDS),
        metavar="N",
        help="confirm runs of each system (default: the budget's); raised after results have been "
        "seen, the study is stamped",
    )
    parser.add_argument(
        "--until-decided",
        nargs="?",
        type=_looks,
        const=(),
        metavar="LOOKS",
        help="add seeds until every pair is decided, claims first, at planned looks: 3,5,8,12,20 "
        "seeds, or those given; keeps the error rates, unlike --seeds",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="say how many runs the study has and end"
    )


def _looks(text: str) -> tuple[int, ...]:
    number = cli.whole_number("--until-decided", least=2, most=MAX_SEEDS)
    return tuple(number(part) for part in text.split(","))


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
    cli.add_gpus_per_run(parser)
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
