"""The usual names of splits, and how they map to this project's names.

============ =========================================
train        train, training
valid        valid, val, validation, dev, devel, development
test         test, testing
watch        watch
either       eval, evaluation
============ =========================================

Names count in any case. ``eval`` is the test split for Kaldi and ESPnet (train, dev, eval), the
validation split for others (train, eval, test): it is test where another name says valid and none
says test, valid where another says test and none says valid, and an error otherwise. Two names of
one split are an error too: only the corpus's owner knows whether they are one set or two.
"""

from collections.abc import Iterable, Mapping, Sequence

from bench.core.errors import UserError
from bench.core.lookup import near_names
from bench.data.utterance import SPLITS

_OURS = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "val": "valid",
    "validation": "valid",
    "dev": "valid",
    "devel": "valid",
    "development": "valid",
    "test": "test",
    "testing": "test",
    "watch": "watch",
}
_EITHER = ("eval", "evaluation")
SPLIT_NAMES = "train (training), valid (val, validation, dev), test, watch; eval for valid or test"
"""The accepted names, for error messages."""


def is_split_name(name: str) -> bool:
    """True if `name` names a split, in any case."""
    return name.casefold() in (*_OURS, *_EITHER)


def unread(names: Sequence[str]) -> tuple[str, ...]:
    """A note on parts of a corpus that no split is named after; () if there are none."""
    return (f"not read, for its name is no split's: {', '.join(names)}",) if names else ()


def splits_of(places: Mapping[str, str]) -> dict[str, str]:
    """The split that each name of a corpus stands for, by the rule of this module, in the order of
    bench.data.utterance.SPLITS.

    Args:
        places: for each name in the corpus where it stands, for errors: a file, or ``file:line``.

    Raises:
        UserError: no name of a split, two of one split, or an ``eval`` that may be valid or test.
    """
    splits: dict[str, str] = {}
    either = ""
    for name, where in places.items():
        if not is_split_name(name):
            raise UserError(
                f"{where}: unknown split {name!r}; {near_names(name, (*_OURS, *_EITHER))}"
            )
        split = _OURS.get(name.casefold())
        earlier = either if split is None else _named(split, splits)
        if earlier:
            raise UserError(
                f"one name for a split, but {earlier!r} ({places[earlier]}) and {name!r} ({where}) "
                f"are both names of {split or 'valid or test'}; rename or remove one"
            )
        if split is None:
            either = name
        else:
            splits[name] = split
    if either:
        splits[either] = _meaning(either, places[either], splits.values())
    return dict(sorted(splits.items(), key=lambda item: SPLITS.index(item[1])))


def _named(split: str, splits: Mapping[str, str]) -> str:
    return next((name for name, other in splits.items() if other == split), "")


def _meaning(either: str, where: str, others: Iterable[str]) -> str:
    free = [split for split in ("valid", "test") if split not in others]
    if len(free) != 1:
        have = ", ".join(sorted(others)) or "no other split"
        raise UserError(
            f"{where}: {either!r} may mean valid or test, and beside {have} it is not clear which; "
            "rename it to one of the two"
        )
    return free[0]
