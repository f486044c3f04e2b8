"""Marks of trn transcripts against sclite: outputs kept in tests/golden, and sclite itself where it
is installed."""

import random
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.scoring import UtteranceScore, score
from bench.scoring.marks import check_marks, resolve

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
CASES = [
    line.split("\t")
    for line in (GOLDEN / "marks.txt").read_text().splitlines()
    if not line.startswith("#")
]


def scored(ref: str, hyp: str) -> UtteranceScore:
    resolved = resolve(ref, hyp)
    (row,) = score(["x"], resolved[:1], resolved[1:], ["s"], [1.0])
    return row


def errors(row: UtteranceScore) -> int:
    return row.substitutions + row.deletions + row.insertions


@pytest.mark.parametrize(("num_errors", "num_words", "ref", "hyp"), CASES)
def test_counts_what_sclite_counts(num_errors: str, num_words: str, ref: str, hyp: str) -> None:
    row = scored(ref, hyp)
    assert (errors(row), row.num_ref_words) == (int(num_errors), int(num_words))


def test_the_chosen_path_is_the_reference() -> None:
    assert resolve("we saw {two / too} (big) boats", "we saw too boats") == (
        "we saw too big boats",
        "we saw too big boats",
    )


def test_an_unmatched_optional_word_of_a_hypothesis_is_dropped() -> None:
    row = scored("a b", "a (uh) b")
    assert (errors(row), row.num_ref_words) == (0, 2)


def test_a_fragment_is_a_word_as_normalisation_leaves_it() -> None:
    assert errors(scored("he sto- stopped", "he stopped")) == 1
    assert errors(scored("he sto- stopped", "he stop stopped")) == 1, "sclite -F would allow it"
    assert errors(scored("he sto- stopped", "he sto stopped")) == 0, "no recogniser writes the dash"


def test_words_that_normalisation_parts_stay_together() -> None:
    assert errors(scored("a (well-known) b", "a b")) == 0
    assert errors(scored("a (well-known) b", "a known b")) == 1
    assert errors(scored("a { well-known / . } b", "a b")) == 0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("we { two", "an opening brace has no closing one"),
        ("we { two / { a / b } c", "an opening brace has no closing one"),
        ("we two }", "a closing brace has no opening one"),
        ("we { two } } x", "a closing brace has no opening one"),
        ("we { two / }", "each alternative needs a word, or @ for none"),
        ("we { }", "each alternative needs a word, or @ for none"),
    ],
)
def test_marks_that_cannot_be_read_are_refused(text: str, reason: str) -> None:
    for call in (lambda: check_marks(text), lambda: resolve("a", text)):
        with pytest.raises(ValueError, match=reason):
            call()


def phrase(rng: random.Random, depth: int, num_words: int) -> str:
    parts = []
    for _ in range(num_words):
        kind = rng.random()
        if kind < 0.15:
            parts.append(f"({rng.choice('abcdef')})")
        elif kind < 0.3 and depth < 2:
            ends = (phrase(rng, depth + 1, rng.randint(1, 2)) for _ in range(rng.randint(1, 2)))
            parts.append("{ " + " / ".join([*ends, rng.choice(["@", "a", "b c"])]) + " }")
        else:
            parts.append(rng.choice("abcdef"))
    return " ".join(parts)


def heard(rng: random.Random, ref: str) -> str:
    """Some reading of `ref`, with a few errors."""
    words = re.findall(r"[a-f]", ref)
    return " ".join(w if rng.random() > 0.2 else rng.choice("abcdef") for w in words)


def readings(text: str) -> Iterator[list[str]]:
    """Every path, written out: the reference implementation."""
    tokens = re.findall(r"[{}/]|[^\s{}/]+", text)

    def sequence(at: int) -> tuple[list[list[str]], int]:
        paths: list[list[str]] = [[]]
        while at < len(tokens) and tokens[at] not in ("/", "}"):
            options: list[list[str]]
            if tokens[at] == "{":
                options = []
                while tokens[at] != "}":
                    found, at = sequence(at + 1)
                    options += found
            elif tokens[at].startswith("("):
                options = [[tokens[at][1:-1]], []]
            else:
                options = [[]] if tokens[at] == "@" else [[tokens[at]]]
            paths = [path + option for path in paths for option in options]
            at += 1
        return paths, at

    return iter(sequence(0)[0])


@pytest.mark.parametrize("seed", range(200))
def test_no_reading_has_fewer_errors(seed: int) -> None:
    rng = random.Random(seed)
    ref = phrase(rng, 0, rng.randint(0, 5))
    hyp = heard(rng, ref)
    rows = score(*zip(*(("x", " ".join(r), hyp, "s", 1.0) for r in readings(ref)), strict=True))
    assert errors(scored(ref, hyp)) == min(map(errors, rows))


@pytest.mark.skipif(shutil.which("sctk") is None, reason="sclite is not installed")
def test_sclite_itself_never_counts_fewer_errors(tmp_path: Path) -> None:
    rng = random.Random(0)
    refs = [phrase(rng, 0, rng.randint(1, 6)) for _ in range(400)]
    hyps = [heard(rng, ref) for ref in refs]
    for name, texts in (("ref", refs), ("hyp", hyps)):
        lines = (f"{text} (s-{index:03d})\n" for index, text in enumerate(texts))
        (tmp_path / name).write_text("".join(lines))
    command = "sctk sclite -r ref trn -h hyp trn -i spu_id -D -o pralign stdout"
    out = subprocess.run(
        command.split(), cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60
    ).stdout
    found = re.findall(r"id: \(s-(\d+)\)\s+Scores: \S+ \S+ \S+ \S+ (\d+) (\d+) (\d+) (\d+)", out)
    assert len(found) == len(refs)
    ours, theirs = 0, 0
    for index, *counts in found:
        counted = errors(scored(refs[int(index)], hyps[int(index)]))
        num_errors = sum(map(int, counts[1:]))
        assert counted <= num_errors, (refs[int(index)], hyps[int(index)])
        ours, theirs = ours + counted, theirs + num_errors
    assert theirs - ours <= 0.02 * theirs, "sclite's weights seldom prefer more errors"
