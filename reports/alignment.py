"""Alignment of a hypothesis with its reference, word by word or letter by letter."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Operation = Literal["match", "substitution", "deletion", "insertion"]


@dataclass(frozen=True)
class Step:
    """One place of an alignment; `ref` is empty for an insertion, `hyp` for a deletion."""

    operation: Operation
    ref: str
    hyp: str


def align(ref: Sequence[str], hyp: Sequence[str]) -> list[Step]:
    """The alignment of `ref` and `hyp` with the fewest errors (Levenshtein 1966).

    Of alignments with equally few errors, the one with the most matches, which is easier to read:
    "eat well" recognised as "well now" has a deletion, a match and an insertion rather than two
    substitutions.
    """
    # A common prefix and suffix need no table; most transcripts have few errors.
    head = _shared(ref, hyp)
    tail = _shared(ref[head:][::-1], hyp[head:][::-1])
    middle_ref, middle_hyp = ref[head : len(ref) - tail], hyp[head : len(hyp) - tail]
    return [
        *(Step("match", word, word) for word in ref[:head]),
        *_trace(middle_ref, middle_hyp, _costs(middle_ref, middle_hyp)),
        *(Step("match", word, word) for word in ref[len(ref) - tail :]),
    ]


def num_errors(steps: Sequence[Step]) -> int:
    """Substitutions, deletions and insertions of an alignment."""
    return sum(step.operation != "match" for step in steps)


def _shared(ref: Sequence[str], hyp: Sequence[str]) -> int:
    pairs = zip(ref, hyp, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(ref), len(hyp)))


def _error_cost(ref: Sequence[str], hyp: Sequence[str]) -> int:
    """The cost of an error, where a match costs -1: more than all matches together can save."""
    return len(ref) + len(hyp) + 1


def _costs(ref: Sequence[str], hyp: Sequence[str]) -> list[list[int]]:
    """The lowest cost of aligning the first i of `ref` with the first j of `hyp`, at [i][j]."""
    error = _error_cost(ref, hyp)
    rows = [[j * error for j in range(len(hyp) + 1)]]
    for i, word in enumerate(ref, start=1):
        above, row = rows[-1], [i * error]
        # Each cell from three, as they lie in the table:
        #
        #     above[j - 1]   above[j]        a match or a substitution; a deletion
        #     row[j - 1]     row[j]          an insertion
        for j, other in enumerate(hyp, start=1):
            pair = above[j - 1] + (-1 if word == other else error)
            row.append(min(pair, above[j] + error, row[j - 1] + error))
        rows.append(row)
    return rows


def _trace(ref: Sequence[str], hyp: Sequence[str], costs: list[list[int]]) -> list[Step]:
    """A path of lowest cost through `costs`, traced back from its end."""
    error = _error_cost(ref, hyp)
    steps: list[Step] = []
    i, j = len(ref), len(hyp)
    # Of equal paths always the same: the diagonal first, then a deletion.
    while i or j:
        same = bool(i and j) and ref[i - 1] == hyp[j - 1]
        if i and j and costs[i][j] == costs[i - 1][j - 1] + (-1 if same else error):
            i, j = i - 1, j - 1
            steps.append(Step("match" if same else "substitution", ref[i], hyp[j]))
        elif i and costs[i][j] == costs[i - 1][j] + error:
            i -= 1
            steps.append(Step("deletion", ref[i], ""))
        else:
            j -= 1
            steps.append(Step("insertion", "", hyp[j]))
    return steps[::-1]
