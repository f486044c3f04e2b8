"""The survey of a GPU: in parts, each in its own process with its own time limit.

A part that fails, or takes longer than its limit, loses what it had not measured yet and no other
part. A dry run computes a tiny version of each part on the CPU, with the kernels in Triton's
interpreter: it shows that every part runs, and measures nothing.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection

from bench.core.errors import named
from bench.core.interrupt import kept_from_children
from bench.costs.concurrency import CONTEXT

INTERPRETER = "TRITON_INTERPRET"
"""Read by Triton when it is imported."""


DRY_FACTOR = 20
"""A dry run's limits are longer: the interpreter is slow, and the machine may be busy."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is measured, and how thoroughly; can be pickled."""

    device: str
    """A torch device type."""
    is_dry: bool


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table."""

    part: str
    case: str
    values: Mapping[str, float]
    """By the name of a measure with its unit last; empty if nothing was measured."""
    remark: str = ""
    """Why something was not measured."""


Rows = Iterator[tuple[str, Mapping[str, float] | str]]
"""What a part yields: a case with its values, or with the reason why there are none."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of the survey."""

    name: str
    limit_seconds: float
    measure: Callable[[Setting], Rows]
    """A function of a module, so that a process can find it."""


def run_part(part: Part, setting: Setting) -> list[Row]:
    """The rows of `part`; the last one says so if it failed or was stopped at its limit."""
    receiver, sender = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=_measure, args=(part, setting, sender))
    with kept_from_children():
        process.start()
    sender.close()
    rows: list[Row] = []
    limit = part.limit_seconds * (DRY_FACTOR if setting.is_dry else 1)
    deadline = time.monotonic() + limit
    try:
        while receiver.poll(max(0.0, deadline - time.monotonic())):
            rows.append(receiver.recv())
    except EOFError:  # it has ended
        process.join()
        if process.exitcode:
            rows.append(_remark(part, f"its process ended with exit code {process.exitcode}"))
        return rows
    finally:
        process.kill()
        process.join()
    return [*rows, _remark(part, f"stopped at its limit of {limit:g} s")]


def _measure(part: Part, setting: Setting, sender: Connection) -> None:
    """The body of a part's process."""
    if setting.is_dry:
        os.environ[INTERPRETER] = "1"
    import torch  # after the variable

    from bench.training.device import exact_float32

    torch.set_num_threads(1)
    try:
        with exact_float32():
            for case, found in part.measure(setting):
                values, remark = ({}, found) if isinstance(found, str) else (found, "")
                sender.send(Row(part=part.name, case=case, values=values, remark=remark))
    except Exception as error:
        sender.send(_remark(part, named(error)))


def _remark(part: Part, remark: str) -> Row:
    return Row(part=part.name, case="", values={}, remark=remark)
