"""The sentences of `spoken`: templates with slots, and the phrases that fill them.

Phrases are drawn without replacement from a shuffled list, which is shuffled again when it is
exhausted, so that all phrases of a slot are about equally frequent.
"""

import random
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_SLOT = re.compile(r"{(\w+)}")


@dataclass(frozen=True, kw_only=True)
class Grammar:
    """Templates and phrases of sentences, and the sentences of the watch split."""

    templates: tuple[str, ...]
    """Sentences with ``{slot}`` places."""
    slots: Mapping[str, tuple[str, ...]]
    """The phrases that each slot takes."""
    watch: Mapping[str, str]
    """Sentences, by name, whose transcripts are recorded during training. No drawn sentence shares
    three consecutive words with one of them, so that a trigram language model of the training text
    has not seen their trigrams."""
    unseen_templates: tuple[str, ...] = ()
    """Templates used in valid and test only: a language model of the training text has seen their
    words but not their order, so that its gain is not overestimated."""


def draw_sentences(
    grammar: Grammar, count: int, rng: random.Random, templates: tuple[str, ...] | None = None
) -> list[str]:
    """`count` different sentences of `templates` (the grammar's own if None), in random order."""
    decks = {name: _Deck(phrases, rng) for name, phrases in grammar.slots.items()}
    deck = _Deck(templates or grammar.templates, rng)
    watched = {trigram for sentence in grammar.watch.values() for trigram in trigrams(sentence)}
    drawn: dict[str, None] = {}
    # Duplicates and refused sentences are drawn anew, until there are enough; the dict keeps the
    # order in which they came.
    while len(drawn) < count:
        template = deck.draw()
        filled = [(slot, decks[slot].draw()) for slot in _SLOT.findall(template)]
        sentence = _SLOT.sub("{}", template).format(*(phrase for _, phrase in filled))
        # The last phrase before a reshuffle may be the first one after it: no "bread and bread".
        if len(set(filled)) == len(filled) and not watched & trigrams(sentence):
            drawn[sentence] = None
    return shuffled(list(drawn), rng)


def trigrams(sentence: str) -> set[tuple[str, ...]]:
    """The distinct runs of three words of `sentence`."""
    words = sentence.split()
    return {tuple(words[i : i + 3]) for i in range(len(words) - 2)}


def shuffled(items: list[str], rng: random.Random) -> list[str]:
    """A shuffled copy, by ``random()``: the only method whose sequence Python guarantees."""
    return [item for _, item in sorted((rng.random(), item) for item in items)]


class _Deck:
    def __init__(self, cards: tuple[str, ...], rng: random.Random) -> None:
        self._cards, self._rng, self._left = list(cards), rng, list[str]()

    def draw(self) -> str:
        self._left = self._left or shuffled(self._cards, self._rng)
        return self._left.pop()


def read_grammar(name: str) -> Grammar:
    """The grammar in ``NAME.toml`` beside this file: templates a line, phrases between commas."""
    read = tomllib.loads(Path(__file__).with_name(f"{name}.toml").read_text(encoding="utf-8"))
    return Grammar(
        templates=tuple(read["templates"].splitlines()),
        slots={slot: tuple(phrases.split(", ")) for slot, phrases in read["slots"].items()},
        watch=read["watch"],
        unseen_templates=tuple(read.get("unseen_templates", "").splitlines()),
    )
