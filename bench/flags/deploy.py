"""The flags of `python -m bench.deploy`."""

import argparse
from collections.abc import Callable

from bench.core import cli

GIB_PER_CPU = 2


def build_parser() -> argparse.ArgumentParser:
    """The flags of `python -m bench.deploy`."""
    parser = cli.parser(
        "deploy",
        "Print a file that runs a sweep, whose arguments follow --, on many machines. They share a "
        "folder, an MLflow server and a queue in PostgreSQL (compose includes both). A stopped "
        "sweep resumes.",
        "slurm --count 8 -- --study cells --storage postgresql://me@db/bench > cells.sh",
        "kubernetes --count 8 --gpus 1 -- --study cells --storage postgresql://me@db/bench",
        "compose --count 2 -- --study cells > compose.yaml",
        "dockerfile > Dockerfile",
    )
    kinds = parser.add_subparsers(
        dest="kind", required=True, metavar="KIND", prog="python -m bench.deploy"
    )
    slurm = kinds.add_parser("slurm", help="an array of tasks, for sbatch", allow_abbrev=False)
    _add_common(slurm, "tasks")
    slurm.add_argument(
        "--hours",
        type=_whole("--hours"),
        default=24,
        metavar="N",
        help="time limit of a task, after which it is queued again (default: 24)",
    )
    kubernetes = kinds.add_parser("kubernetes", help="an Indexed Job", allow_abbrev=False)
    _add_common(kubernetes, "pods")
    compose = kinds.add_parser(
        "compose", help="workers, PostgreSQL and MLflow on one machine", allow_abbrev=False
    )
    _add_common(compose, "workers' containers")
    for kind in (slurm, kubernetes):
        _add_tracking(kind)
    for kind in (kubernetes, compose):
        _add_image(kind)
    kubernetes.add_argument(
        "--claim",
        help="a PersistentVolumeClaim that all nodes can write (default: the file creates one)",
    )
    kinds.add_parser("dockerfile", help="the image of the two above", allow_abbrev=False)
    return parser


def _whole(flag: str, least: int = 1) -> Callable[[str], int]:
    return cli.whole_number(flag, least=least, most=1_000_000)


def _add_common(kind: argparse.ArgumentParser, what: str) -> None:
    for flag, least, default, counted in (
        ("--count", 1, 4, f"number of {what}"),
        ("--cpus", 1, 4, "CPU cores of each"),
        ("--gpus", 0, 0, "GPUs of each"),
    ):
        kind.add_argument(
            flag,
            type=_whole(flag, least),
            default=default,
            metavar="N",
            help=f"{counted} (default: {default})",
        )
    kind.add_argument(
        "--memory",
        type=_whole("--memory"),
        metavar="GIB",
        help=f"memory of each (default: {GIB_PER_CPU} for each of --cpus)",
    )
    kind.add_argument(
        "--notice",
        type=_whole("--notice"),
        default=120,
        metavar="SECONDS",
        help="time between SIGTERM and the end of a task (default: 120)",
    )
    kind.add_argument("sweep", nargs="*", metavar="-- SWEEP-ARGUMENTS", help="see bench.sweep")
    kind.set_defaults(hours=None, image=None, claim=None, tracking_uri=None)


def _add_tracking(kind: argparse.ArgumentParser) -> None:
    kind.add_argument(
        "--tracking-uri",
        metavar="URL",
        help="address of the MLflow server (default: $MLFLOW_TRACKING_URI)",
    )


def _add_image(kind: argparse.ArgumentParser) -> None:
    kind.add_argument(
        "--image",
        default="deepspeech-bench",
        help="the container image (default: deepspeech-bench, built locally)",
    )
