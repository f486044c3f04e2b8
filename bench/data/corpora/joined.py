"""Joined corpora, ``a+b+c``: trained on a, b and c, chosen and tested on a.

The first corpus names the task: valid, test and watch of the whole are its own, as they are without
the others, which add their train splits. So test is the same set whatever is added. Ids and
speakers of an added corpus begin with its label (``b:…``): two corpora know nothing of each other's
names.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from bench.core.errors import UserError
from bench.core.lookup import near_names
from bench.core.paths import exists, user_path
from bench.data.corpora.spec import Listing, Row
from bench.data.utterance import CORPUS

SUMMARY = "corpora joined with a plus: trained on A and B, chosen and tested on A alone"


def split_joined(given: str, known: Collection[str]) -> list[str]:
    """The corpora, each as NAME[:PATH], of ``--corpus a+b:PATH+…``, where `known` are the names of
    corpora. A path may hold a plus: one corpus ends and another begins at a plus only if the name
    of a corpus follows, and what exists decides between the readings that are left.

    Raises:
        UserError: what follows a plus is neither a corpus nor the rest of a path that exists; two
            readings exist.
    """
    #     manifest:/a+b              /a+b if that exists, else an error: b is no corpus
    #     manifest:/a+spoken         /a and spoken, or /a+spoken, whichever exists
    pieces = given.split("+")
    readings = list(_readings(pieces, known))
    if len(readings) > 1:
        shown = " or ".join(" and ".join(reading) for reading in readings)
        raise UserError(
            f"--corpus {given} means {shown}, and all their paths exist; rename the file or folder "
            "with the plus"
        )
    if readings:
        return readings[0]
    for piece in pieces[1:]:
        if not _begins_corpus(piece, known):
            raise UserError(
                f"--corpus A+B joins corpora, but in {given!r} {piece!r} is no corpus, and no path "
                f"with that plus exists; {near_names(piece, known)}"
            )
    return pieces  # a path is missing, which the reader of its corpus says


def _readings(pieces: Sequence[str], known: Collection[str]) -> Iterator[list[str]]:
    """Every way to read `pieces` as corpora whose paths exist."""
    if not pieces:
        yield []
    for end in range(1, len(pieces) + 1):
        first = "+".join(pieces[:end])
        if (end == len(pieces) or _begins_corpus(pieces[end], known)) and _may_be(first):
            yield from ([first, *others] for others in _readings(pieces[end:], known))


def _begins_corpus(piece: str, known: Collection[str]) -> bool:
    return piece.partition(":")[0] in known


def _may_be(given: str) -> bool:
    """True if `given` is a name without a plus, and its path, if it has one, exists."""
    name, _, path = given.partition(":")
    return "+" not in name and (not path or exists(user_path(path, "--corpus")))


def joined(listings: Mapping[str, Listing]) -> Listing:
    """The first of `listings` with the train rows of the others, by label.

    Raises:
        UserError: one of the others has no train split.
    """
    labels = list(listings)
    own = listings[labels[0]].rows
    scored = {row.speaker for row in own if row.split in ("valid", "test")}
    rows, notes, counts = [_labelled(row, labels[0]) for row in own], [], []
    for label, listing in listings.items():
        train = [row for row in listing.rows if row.split == "train"]
        counts.append(f"{label} ({len(train):,})")
        notes += [f"{label}: {note}" for note in listing.notes]
        if label == labels[0]:
            continue
        if not train:
            raise UserError(
                f"{label} adds its train split to {labels[0]}, and has none; leave {label} out"
            )
        rows += [_added(row, label) for row in train]
        if alike := len({row.speaker for row in train} & scored):
            notes.append(f"{label}: {alike} of its speakers are named like speakers of valid or "
                         "test, and count as other people")  # fmt: skip
    if len(listings) > 1:
        notes.insert(0, f"trained on the utterances of {' and '.join(counts)}; valid and test are "
                     f"those of {labels[0]} alone")  # fmt: skip
    return Listing(rows=tuple(rows), notes=tuple(notes))


def _labelled(row: Row, label: str) -> Row:
    return replace(row, corpus=label, attributes={CORPUS: label} | dict(row.attributes))


def _added(row: Row, label: str) -> Row:
    named = replace(row, id=f"{label}:{row.id}", speaker=f"{label}:{row.speaker}")
    return _labelled(named, label)
