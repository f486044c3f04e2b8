"""Which implementation computed what in this process: recorded with a run, since costs are
comparable only within one."""

RECURRENCE, CTC = "recurrence", "ctc"
FEATURES, STEPS = "features", "steps"
"""On a GPU alone: how features reach a step, and how steps are launched."""

_taken: dict[str, set[str]] = {}


def note(operation: str, path: str) -> None:
    """`path` has computed `operation`."""
    _taken.setdefault(operation, set()).add(path)


def taken() -> dict[str, str]:
    """The paths of each operation since `forget`; several, separated by "and", if there were."""
    return {name: " and ".join(sorted(paths)) for name, paths in sorted(_taken.items())}


def forget() -> None:
    """Begin another run."""
    _taken.clear()
