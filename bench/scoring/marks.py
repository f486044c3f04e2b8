"""The marks of NIST's trn transcripts, interpreted like ``sclite -D`` of NIST's SCTK.

- ``(uh)`` is an optional word: its deletion is no error and counts as a hit; if it is recognised,
  it counts like any word. It is one word; ``(you know)`` is two words with a bracket each.
- ``{ two / too }`` are alternatives of one or more words; they may nest, and ``@`` stands for no
  word: ``{ um / uh / @ }``.
- ``sto-`` is a fragment. With ``-D`` it is an ordinary word, here ``sto`` after normalisation
  (``-F`` would accept any word that begins so).
- ``word*`` is ``word``.

A hypothesis may have marks too; an optional word in it that matches no reference word is dropped
(sclite counts one more reference word and a hit).

Reference and hypothesis are networks of words. Of all pairs of paths through them, the pair with
the fewest errors over the utterance is scored; of several such pairs, that with the lowest cost by
sclite's weights. sclite minimises those weights only (4 for a substitution, 3 for an insertion or
deletion), so it may count more errors in a bad transcript, never fewer.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from bench.data.text import normalize

_MARKS = re.compile(r"[{}()@*]")
_TOKENS = re.compile(r"[{}/]|[^\s{}/]+")
_OUTSIDE = re.compile(r"[{}]|[^\s{}]+")
"""Outside braces a slash is part of a word."""

_ERROR = 1_000_000
"""More than the sum of the weights of an utterance, so that costs order by number of errors first
and by weights second."""
_UNPAIRED = _ERROR + 3
"""Of a word without a partner: a deletion or an insertion."""
_SUBSTITUTION = _ERROR + 4
_LEFT_OUT = 2


@dataclass(frozen=True, slots=True)
class _Arc:
    """An edge from a node to a later one, with a word or empty."""

    start: int
    word: str | None
    left_out: tuple[str, ...] = ()
    """The optional words that this arc skips."""

    @property
    def cost(self) -> int:
        """The cost of this arc without a partner: of a deletion or insertion, if it has a word."""
        return _UNPAIRED if self.word is not None else _LEFT_OUT * len(self.left_out)


@dataclass
class _Network:
    """Nodes 0, 1, …, with arcs from lower to higher numbers only; paths lead from the first node to
    the last."""

    arcs_into: list[list[_Arc]] = field(default_factory=lambda: [[]])

    @property
    def last(self) -> int:
        return len(self.arcs_into) - 1

    def add_words(self, start: int, words: Sequence[str]) -> int:
        """Add a chain of arcs from `start`; returns its last node."""
        for word in words:
            self.arcs_into.append([_Arc(start, word)])
            start = self.last
        return start

    def join(self, ends: Sequence[_Arc]) -> int:
        """Add a node with the incoming arcs `ends`; returns it."""
        self.arcs_into.append(list(ends))
        return self.last


def resolve(ref: str, hyp: str) -> tuple[str, str]:
    """The normalised words of reference and hypothesis along the pair of paths with the fewest
    errors.

    Optional words that the hypothesis lacks are in both texts, as hits, so that an alignment of the
    two counts the same as ``sclite -D``.

    Raises:
        ValueError: as `check_marks`.
    """
    if not (_MARKS.search(ref) or _MARKS.search(hyp)):
        return normalize(ref), normalize(hyp)
    return _best_paths(_network(ref), _network(hyp))


def check_marks(text: str) -> None:
    """Check that the marks of `text` are well-formed.

    Raises:
        ValueError: unmatched braces, or an alternative without a word; says which.
    """
    if "{" in text or "}" in text:
        _network(text)


# "to { two / too } few" as a network; arcs without a word are empty:
#
#              to        two
#         0 ------> 1 ------> 2 ---.
#                    \   too        4 ------> 5
#                     `-----> 3 ---'    few
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
    """Add words and alternatives after `node`; returns the last node."""
    for token in tokens:
        if token == "}":
            raise ValueError("a closing brace has no opening one")
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
            raise ValueError("each alternative needs a word, or @ for none")
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
    raise ValueError("an opening brace has no closing one")


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
"""The previous pair of nodes, and the arcs of reference and hypothesis from there, or None."""
_NO_STEP: _Step = (-1, -1, None, None)


def _best_paths(ref: _Network, hyp: _Network) -> tuple[str, str]:
    """The words along the pair of paths with the lowest cost.

    Dynamic programming over pairs of nodes, as for the Levenshtein distance of two word sequences:
    ``cells[i][j]`` is the lowest cost of paths to node i of `ref` and node j of `hyp`, and the step
    that reaches it: a match or substitution, an arc of `ref` alone, or an arc of `hyp` alone.
    """
    cells: list[list[tuple[int, _Step]]] = []
    for i, ref_arcs in enumerate(ref.arcs_into):
        row: list[tuple[int, _Step]] = []
        cells.append(row)
        for j, hyp_arcs in enumerate(hyp.arcs_into):
            if i == j == 0:
                row.append((0, _NO_STEP))
                continue
            best, step = sys.maxsize, _NO_STEP
            # The last step to the pair (i, j), where a ends in i and b in j:
            #
            #     (a.start, b.start)      (i, b.start)        a and b     match or substitution
            #                     \           |               a alone     deletion
            #     (a.start, j) ----------- (i, j)             b alone     insertion
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
    """The texts of reference and hypothesis, traced back from the last pair of nodes."""
    ref_words: list[str] = []
    hyp_words: list[str] = []
    # From the end, so words are collected backwards, those of a skipped arc too.
    _, (i, j, a, b) = cells[-1][-1]
    while i >= 0:
        if a is not None:
            ref_words += reversed(a.left_out) if a.word is None else [a.word]
            hyp_words += reversed(a.left_out)
        if b is not None and b.word is not None:
            hyp_words.append(b.word)
        _, (i, j, a, b) = cells[i][j]
    return " ".join(reversed(ref_words)), " ".join(reversed(hyp_words))
