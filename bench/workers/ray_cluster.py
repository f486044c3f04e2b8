"""A Ray cluster: the way to it, what its nodes lend, and how that is shared out among workers."""

import logging
import os
import signal
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TypedDict

from bench.core.cores import num_cores
from bench.core.errors import UserError

# Ray's least is 75 MiB; what workers say takes less than a page.
OBJECT_STORE_BYTES = 80 * 2**20
CONNECT_SECONDS = 10.0


@dataclass(frozen=True)
class Node:
    """One node of the cluster, and what it lends."""

    host: str
    """Its machine's name and address."""
    num_cpus: int
    num_gpus: int


@dataclass(frozen=True)
class Share:
    """How a cluster is shared out among workers."""

    num_workers: int
    """At once."""
    num_threads: int
    """Of each; also the CPUs that each takes."""
    num_gpus: float
    """That each takes, such as 0.5."""


class RayNode(TypedDict):
    """An entry of ``ray.nodes()``, as far as it is read."""

    NodeManagerHostname: str
    NodeManagerAddress: str
    Resources: Mapping[str, float]
    Alive: bool


def nodes_of(entries: Iterable[RayNode]) -> list[Node]:
    """The living ones of what ``ray.nodes()`` returns."""
    return [
        Node(
            host=f"{entry['NodeManagerHostname']} {entry['NodeManagerAddress']}",
            num_cpus=int(entry["Resources"].get("CPU", 0)),
            num_gpus=int(entry["Resources"].get("GPU", 0)),
        )
        for entry in entries
        if entry["Alive"]
    ]


def check_reach(nodes: Sequence[Node], storage_url: str | None) -> None:
    """Refuse a queue in a file if the nodes are on several machines.

    Raises:
        UserError: it is.
    """
    hosts = sorted({node.host for node in nodes})
    if len(hosts) > 1 and (storage_url is None or storage_url.startswith("sqlite")):
        raise UserError(
            f"a Ray cluster of several machines needs a queue that all reach, got a file and "
            f"{len(hosts)} machines ({', '.join(hosts[:3])}); name --storage postgresql://…"
        )


def share_cluster(
    nodes: Sequence[Node], num_workers: int | None, device: str, *, per_gpu: int
) -> Share:
    """One worker with one thread on each CPU, or `per_gpu` workers on each GPU; or `num_workers`
    with as many threads as there is room for.

    Raises:
        UserError: a cluster that lends no CPU, or no GPU for "cuda"; `per_gpu` on a CPU.
    """
    if per_gpu > 1 and device == "cpu":
        raise UserError(
            f"--per-gpu is how many workers share each GPU, got {per_gpu} with --device {device}; "
            "leave it out"
        )
    lending = [node for node in nodes if node.num_cpus and (device == "cpu" or node.num_gpus)]
    if not lending:
        lacking = "CPU" if device == "cpu" else "node with CPUs and GPUs"
        raise UserError(
            f"the Ray cluster lends no {lacking}, got {len(nodes)} nodes; start one by ray start "
            "--address=HOST:PORT"
        )
    if device == "cpu":
        # A worker lies on one node, which has room for floor(CPUs / threads) of them. The most
        # threads with which all have room.
        count = sum(node.num_cpus for node in lending)
        wanted = count if num_workers is None else num_workers
        fitting = (
            threads
            for threads in range(max(node.num_cpus for node in lending), 0, -1)
            if sum(node.num_cpus // threads for node in lending) >= wanted
        )
        return Share(wanted, next(fitting, 1), 0.0)
    # Places are the workers that a node's GPUs take; each has as many threads as the node with the
    # fewest CPUs a place can give.
    places = [(node.num_cpus, node.num_gpus * per_gpu) for node in lending]
    threads = max(1, min(cpus // slots for cpus, slots in places))
    count = sum(min(cpus // threads, slots) for cpus, slots in places)
    return Share(count if num_workers is None else num_workers, threads, 1 / per_gpu)


def check_address(address: str) -> None:
    """Refuse at once where nobody listens; Ray would try for minutes.

    Raises:
        UserError: it is so, or `address` is none.
    """
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdecimal():
        raise UserError(
            f"--address is HOST:PORT or auto, got {address!r}; type the command on a node of the "
            "cluster, Ray's client has no part in it"
        )
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise UserError(
            f"no Ray cluster at {address} can be used: {error}; ray start --head makes one"
        ) from error


def connect(address: str | None) -> ModuleType:
    """The package ray, connected to the cluster at `address`; without one, to a new cluster of this
    machine alone, which listens on 127.0.0.1 and ends with this process.

    Raises:
        UserError: no package ray, or no cluster there.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    arguments: dict[str, object] = {"address": address}
    if address is None:
        # Despite its name: a cluster that does not leave 127.0.0.1, on Linux too.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        # Ray does so by itself, with a warning.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        arguments = {
            "address": "local",
            "num_cpus": num_cores(),
            "object_store_memory": OBJECT_STORE_BYTES,
            "include_dashboard": False,
        }
    try:
        import ray
    except ModuleNotFoundError as error:
        raise UserError(
            f"--engine ray needs the package {error.name}, which is not installed; "
            "python -m pip install 'deepspeech-bench[ray]' brings it"
        ) from error
    if "PYTHONPATH" in os.environ:
        paths = os.environ["PYTHONPATH"].split(os.pathsep)
        found = os.pathsep.join(str(Path(path).absolute()) for path in paths)
        # The task's own module is found by it, so it cannot come with the task.
        arguments["runtime_env"] = {"env_vars": {"PYTHONPATH": found}}
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(log_to_driver=False, logging_level=logging.WARNING, **arguments)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        where = "on this machine" if address is None else f"at {address}"
        raise UserError(
            f"no Ray cluster {where} can be used: {last_line(error)}; ray start --head makes one"
        ) from error
    finally:
        signal.signal(signal.SIGTERM, handler)  # Ray has put its own there
    connected: ModuleType = ray
    return connected


def last_line(error: BaseException) -> str:
    """The gist of an error of Ray's, which quotes whole tracebacks."""
    lines = str(error).strip().splitlines()
    return lines[-1] if lines else type(error).__name__
