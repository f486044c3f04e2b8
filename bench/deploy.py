"""Print a file that runs a sweep on many machines: for Slurm, Kubernetes or Docker Compose."""

from bench.core import cli
from bench.flags.deploy import GIB_PER_CPU, build_parser

if __name__ == "__main__":
    cli.start("deploy", build_parser())  # before the imports below: they take seconds

import argparse
import json
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from bench.core.config import digest
from bench.core.errors import UserError
from bench.core.masking import mask
from bench.flags import sweep as sweep_flags
from bench.runs.mlflow.uri import is_remote, tracking_uri
from bench.study.request import definition_of

TEMPLATES = {
    "slurm": "slurm.sh.j2",
    "kubernetes": "kubernetes.yaml.j2",
    "compose": "compose.yaml.j2",
    "dockerfile": "Dockerfile.j2",
}
COMPOSE_STORAGE = "postgresql://bench@postgres/bench"
EXIT_TERMINATED = 143
"""128 + SIGTERM: stopped before the sweep handled signals; nothing is lost."""

_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]*")
_CLAIM = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
"""The form of names of Kubernetes objects: a DNS subdomain."""


def main(options: argparse.Namespace) -> None:
    """Print the file that `options` ask for."""
    text = _environment().get_template(TEMPLATES[options.kind]).render(_values(options))
    if options.json:
        cli.print_json({"kind": options.kind, "text": text})
    else:
        sys.stdout.write(text)


def _values(options: argparse.Namespace) -> dict[str, object]:
    """The variables of the templates.

    Raises:
        UserError: a number out of range, an invalid name, or a sweep that could not run there.
    """
    if options.kind == "dockerfile":
        return {}
    _check_options(options)
    arguments: Sequence[str] = options.sweep
    _check_text([*arguments, _server(options)])
    asked = cli.parse(sweep_flags.build_parser(), arguments)
    definition_of(asked, "cpu")  # so that a misspelt variant is found here, not in a queue
    _check_gpus(options, asked)
    uri = _tracking_uri(options, asked)
    if options.kind == "compose":
        arguments = [*arguments, "--storage", COMPOSE_STORAGE]
    return {
        "job": f"bench-{digest(list(arguments))[:8]}",
        "command": ["python", "-m", "bench.sweep", *arguments],
        "tracking_uri": uri,
        "count": options.count,
        "cpus": options.cpus,
        "memory_gib": options.memory or GIB_PER_CPU * options.cpus,
        "gpus": options.gpus,
        "hours": options.hours,
        "notice_seconds": options.notice,
        "image": options.image,
        "claim": options.claim,
        "again": [cli.EXIT_START_AGAIN, EXIT_TERMINATED],
        "user_error": cli.EXIT_USER_ERROR,
    }


def _check_options(options: argparse.Namespace) -> None:
    if options.hours is not None and options.notice >= 3600 * options.hours:
        raise UserError(
            f"--notice must be shorter than the --hours {options.hours} of a task, got "
            f"{options.notice} seconds; lower it"
        )
    for name, form in (("image", _IMAGE), ("claim", _CLAIM)):
        value = getattr(options, name)
        if value is not None and not form.fullmatch(value):
            raise UserError(f"--{name} must match {form.pattern}, got {value!r}; correct it")


def _check_text(values: Sequence[str]) -> None:
    """Refuse passwords, which must not be in the file."""
    for value in values:
        if mask(value) != value:
            raise UserError(
                f"the file must hold no password, got {mask(value)}; leave it out, it is taken "
                "from PGPASSWORD or ~/.pgpass (MLflow's from MLFLOW_TRACKING_PASSWORD)"
            )


def _check_gpus(options: argparse.Namespace, asked: argparse.Namespace) -> None:
    """Refuse a task with more or fewer GPUs than its sweep uses."""
    if options.kind == "compose" and options.gpus and options.count > 1:
        raise UserError(
            f"every container of a machine would get the same GPUs, got --count {options.count}; "
            "take one, with all of them: --count 1 --gpus N"
        )
    # What the sweep uses: those that it names; none on a CPU; else all that its task gets, on
    # "cuda" one at least.
    named = len(list(filter(None, (asked.gpus or "").split(","))))
    least = {"cpu": 0, "cuda": max(1, options.gpus)}  # else all that the task gets
    used = named or least.get(asked.device, options.gpus)
    if used != options.gpus:
        raise UserError(
            f"a task must get the GPUs that its sweep uses, {used}, got --gpus {options.gpus}; "
            "make them equal (--gpus 0,1 behind -- lets the sweep use two)"
        )


def _tracking_uri(options: argparse.Namespace, asked: argparse.Namespace) -> str | None:
    """The MLflow server for all tasks; None if each uses its default.

    Raises:
        UserError: several machines, but a queue or an MLflow store that only one can write.
    """
    if options.kind == "compose":
        if asked.storage is not None:
            raise UserError(
                f"compose brings a database of its own, got --storage {asked.storage}; leave it out"
            )
        return None
    uri = _server(options)
    if options.kind == "slurm" and options.count == 1:
        return uri if is_remote(uri) else None
    if not (asked.storage or "").startswith("postgresql"):
        raise UserError(
            "several machines share a queue in PostgreSQL, got --storage "
            f"{asked.storage or '(none)'}; name it behind --, as in "
            "--storage postgresql://USER@HOST/DATABASE"
        )
    if not is_remote(uri):
        raise UserError(
            f"several machines share an MLflow server, got {uri}; name it, as in "
            "--tracking-uri http://HOST:5000"
        )
    return uri


def _server(options: argparse.Namespace) -> str:
    """The address of the tracking server; "" for compose, whose file includes a server."""
    return "" if options.kind == "compose" else options.tracking_uri or tracking_uri()


def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("deployment")),
        autoescape=False,  # not HTML: each value is escaped by a filter for shell or YAML
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {"sh": _sh, "yaml": _yaml, "undollared": _undollared}
    return made


def _sh(value: str | Sequence[str]) -> str:
    """`value` as one word of bash, or several."""
    return shlex.quote(value) if isinstance(value, str) else shlex.join(value)


def _yaml(value: object) -> str:
    """`value` as YAML on one line: as JSON, with characters escaped that YAML does not allow."""
    text = json.dumps(value, ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in text)


def _undollared(value: str | Sequence[str]) -> object:
    """`value` with $ as $$, for Kubernetes and Compose, which expand $(NAME) or $NAME."""
    if isinstance(value, str):
        return value.replace("$", "$$")
    return [item.replace("$", "$$") for item in value]
