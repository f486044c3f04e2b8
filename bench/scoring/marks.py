"""The marks of NIST's trn transcripts, read as ``sclite -D`` of NIST's SCTK reads them.

- ``(uh)`` is optional: left out it is no error, and counts among the reference words as a hit; said
  it counts as any word. One word only: ``(you know)`` is two words with a bracket each.
- ``{ two / too }`` are alternatives, each of one word or more; they may nest, and ``@`` stands for
  no word: ``{ um / uh / @ }``.
- ``sto-`` is a fragment: ``-D`` gives it no rights (``-F`` would take any word that begins so), so
  it is a word, here ``sto`` after normalisation.
- ``word*`` is ``word``.

A hypothesis may hold marks as well; an optional word of it that no reference word matches is left
out (sclite counts one more reference word and a hit).

Reference and hypothesis are networks of words. Of all pairs of their paths, that with the fewest
errors is taken over the whole utterance; where several have as few, that which costs least by
sclite's weights. sclite goes by those weights alone (4 a substitution, 3 an insertion or deletion),
so that it may count more errors in a bad transcript, never fewer.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from bench.data.text import normalize

_MARKS = re.compile(r"[{}()@*]")
_TOKENS = re.compile(r"[{}/]|[^\s{}/]+")
_OUTSIDE = re.compile(r"[{}]|[^\s{}]+")
"""Outside of braces a slash is a part of its word."""

_ERROR = 1_000_000
"""Beyond what the weights of a whole utterance add up to: errors are compared first."""
_DELETION = _INSERTION = _ERROR + 3
_SUBSTITUTION = _ERROR + 4
_LEFT_OUT = 2


@dataclass(frozen=True, slots=True)
class _Arc:
    """From a node to one after it, by a word or without one."""

    start: int
    word: str | None
    left_out: tuple[str, ...] = ()
    """The optional words that are not said on this arc."""

    @property
    def cost(self) -> int:
        """Of passing it alone: a deletion or insertion, unless it has no word."""
        return _DELETION if self.word is not None else _LEFT_OUT * len(self.left_out)


@dataclass
class _Network:
    """Nodes 0, 1, …, numbered so that every arc leads to a greater one; paths go from the first to
    the last."""

    arcs_into: list[list[_Arc]] = field(default_factory=lambda: [[]])

    @property
    def last(self) -> int:
        return len(self.arcs_into) - 1

    def add_words(self, start: int, words: Sequence[str]) -> int:
        """A chain of arcs from `start`; the node it ends at."""
        for word in words:
            self.arcs_into.append([_Arc(start, word)])
            start = self.last
        return start

    def join(self, ends: Sequence[_Arc]) -> int:
        """A new node that `ends` lead to."""
        self.arcs_into.append(list(ends))
        return self.last


def resolve(ref: str, hyp: str) -> tuple[str, str]:
    """The normalised words of reference and hypothesis along the paths with the fewest errors.

    Both hold the optional words that the hypothesis leaves out, so that aligning the two texts
    counts what ``sclite -D`` counts.

    Raises:
        ValueError: as `check_marks`.
    """
    if not (_MARKS.search(ref) or _MARKS.search(hyp)):
        return normalize(ref), normalize(hyp)
    return _best_paths(_network(ref), _network(hyp))


def check_marks(text: str) -> None:
    """Return if the marks of `text` can be read.

    Raises:
        ValueError: braces that do not pair, or an alternative without a word; says which.
    """
    if "{" in text or "}" in text:
        _network(text)


def _network(text: str) -> _Network:
    network = _Network()
    end = _add_sequence(network, 0, _tokens(text))
    if end != network.last:  # the last node is where every path ends
        network.join([_Arc(end, None)])
    return network


def _tokens(text: str) -> Iterator[str]:
    place = depth = 0
    while match := (_TOKENS if depth else _OUTSIDE).search(text, place):
        place = match.end()
        depth += {"{": 1, "}": -1}.get(match[0], 0)
        yield match[0]


def _add_sequence(network: _Network, node: int, tokens: Iterator[str]) -> int:
    """Words and alternatives from `node` on; the node they end at."""
    for token in tokens:
        if token == "}":
            raise ValueError("a brace closes that was not opened")
        if token == "{":
            node = _add_alternatives(network, node, tokens)
        else:
            node = _add_word(network, node, token)
    return node


def _add_alternatives(network: _Network, start: int, tokens: Iterator[str]) -> int:
    ends, closed_by = [], "/"
    while closed_by == "/":
        listed = list(_alternative(tokens))
        closed_by = listed.pop()
        if not listed:
            raise ValueError("an alternative has a word, or @ for none")
        ends.append(_Arc(_add_sequence(network, start, iter(listed)), None))
    return network.join(ends)


def _alternative(tokens: Iterator[str]) -> Iterator[str]:
    """The tokens of one alternative, and the slash or brace that ends it."""
    depth = 0
    for token in tokens:
        yield token
        if depth == 0 and token in ("/", "}"):
            return
        depth += {"{": 1, "}": -1}.get(token, 0)
    raise ValueError("a brace opens that is not closed")


def _add_word(network: _Network, node: int, token: str) -> int:
    if len(token) > 1:
        token = token.removesuffix("*")
    if token == "@":
        return node
    is_optional = len(token) > 2 and token[0] == "(" and token[-1] == ")"
    words = normalize(token[1:-1] if is_optional else token).split()
    end = network.add_words(node, words)
    if is_optional and words:
        network.arcs_into[end].append(_Arc(node, None, tuple(words)))
    return end


_Step = tuple[int, int, _Arc | None, _Arc | None]
"""The pair of nodes that it comes from, and the arcs of reference and hypothesis that it takes."""
_NO_STEP: _Step = (-1, -1, None, None)


def _best_paths(ref: _Network, hyp: _Network) -> tuple[str, str]:
    """The words along the cheapest pair of paths (dynamic programming over pairs of nodes)."""
    cells: list[list[tuple[int, _Step]]] = []
    for i, ref_arcs in enumerate(ref.arcs_into):
        row: list[tuple[int, _Step]] = []
        cells.append(row)
        for j, hyp_arcs in enumerate(hyp.arcs_into):
            if i == j == 0:
                row.append((0, _NO_STEP))
                continue
            best, step = sys.maxsize, _NO_STEP
            for a in ref_arcs:
                for b in hyp_arcs:
                    if a.word is not None and b.word is not None:
                        cost = cells[a.start][b.start][0]
                        cost += 0 if a.word == b.word else _SUBSTITUTION
                        if cost < best:
                            best, step = cost, (a.start, b.start, a, b)
            for a in ref_arcs:
                if (cost := cells[a.start][j][0] + a.cost) < best:
                    best, step = cost, (a.start, j, a, None)
            for b in hyp_arcs:
                if (cost := row[b.start][0] + b.cost) < best:
                    best, step = cost, (i, b.start, None, b)
            row.append((best, step))
    return _words_along(cells)


def _words_along(cells: Sequence[Sequence[tuple[int, _Step]]]) -> tuple[str, str]:
    """The texts of reference and hypothesis, by going back from the last pair of nodes."""
    ref_words: list[str] = []
    hyp_words: list[str] = []
    _, (i, j, a, b) = cells[-1][-1]
    while i >= 0:
        if a is not None:
            ref_words += reversed(a.left_out) if a.word is None else [a.word]
            hyp_words += reversed(a.left_out)
        if b is not None and b.word is not None:
            hyp_words.append(b.word)
        _, (i, j, a, b) = cells[i][j]
    return " ".join(reversed(ref_words)), " ".join(reversed(hyp_words))
