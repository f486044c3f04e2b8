"""What a language model changed in the confirm runs' transcripts: the second verdict."""

from dataclasses import dataclass

from reports.columns import Interval


@dataclass(frozen=True, kw_only=True)
class SecondGain:
    """A system's test WER with greedy decoding and with the language model."""

    system: str
    greedy: Interval
    beam: Interval
    change: Interval
    """Beam minus greedy, paired: over the same seeds and speakers."""
    alpha: float
    beta: float
    """The weights that its search on valid chose."""


@dataclass(frozen=True, kw_only=True)
class SecondGap:
    """How far two systems are apart, WER of b minus WER of a, with either decoder."""

    a: str
    b: str
    greedy: Interval
    greedy_verdict: str
    beam: Interval
    beam_verdict: str
    change: Interval
    """Of the gap, beam minus greedy, paired."""
    coverage: float
    """Of the interval of `change`."""
    differs: bool
    """Whether that interval leaves out zero."""


@dataclass(frozen=True, kw_only=True)
class SecondWords:
    """What the language model did to the words of one system's transcripts."""

    system: str
    num_mended: int
    num_broken: int
    """Reference words, over all seeds."""
    mended: tuple[tuple[str, int], ...]
    broken: tuple[tuple[str, int], ...]
    """The most frequent, with their numbers."""
    examples: tuple[tuple[str, str, str, str], ...]
    """Id, reference, greedy and beam transcript of utterances of the first seed."""


@dataclass(frozen=True, kw_only=True)
class SecondVerdict:
    """The confirm runs decoded again with a language model."""

    decoder: str
    lm: str
    """What is known of the language model, a sentence."""
    verdict: str
    gains: tuple[SecondGain, ...]
    gaps: tuple[SecondGap, ...]
    groups: tuple[tuple[str, str, float, float], ...]
    """System, group of test sentences by their template, greedy WER, beam WER."""
    words: tuple[SecondWords, ...]
