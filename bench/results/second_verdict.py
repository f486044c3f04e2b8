"""The second verdict of a study: its confirm runs decoded by beam search with a language model,
beside the first, of greedy decoding.

Both decoders read the same networks on the same utterances, so changes are paired: the errors of
each run and speaker with one decoder minus those with the other are treated as the errors of a
system, with the same estimate of their variance.

Legend: S runs, U utterances, C clusters (speakers), V systems, P pairs.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

from bench.core.seeding import numpy_generator
from bench.data.utterance import Corpus
from bench.results.comparison import StudyComparison, compare
from bench.results.confirmed import scored_again
from bench.results.counts import SystemRuns, counts_of, error_slots
from bench.results.groups import mean_rates
from bench.results.looks import margin_of
from bench.results.pairs import claimed_pairs, counts_by_speaker
from bench.runs import Tables
from bench.stats.estimate import Estimate
from bench.stats.intervals import LEVEL
from bench.stats.variance import SystemEstimates, estimate_systems, rates
from bench.stats.verdict import judge
from bench.study.decoding import BEAM, SCORES, find_plan, load_weights
from bench.study.definition import StudyDefinition
from reports.columns import Interval
from reports.second import SecondGain, SecondGap, SecondVerdict, SecondWords

TEMPLATES = "templates"
"""Attribute of utterances that says whether their sentence's template was trained on."""
MAX_EXAMPLES, MAX_WORDS = 8, 12
UNPLANNED = (
    "Looks were planned for greedy decoding alone; how many seeds this verdict has depends on what "
    "they found, so its error rate is not known."
)


def second_verdict(
    folder: Path,
    definition: StudyDefinition,
    tables: Tables,
    corpus: Corpus,
    first: StudyComparison,
) -> SecondVerdict | None:
    """The second verdict of the study in `folder`, of which `first` is the comparison by greedy
    decoding; None where it was not decoded again, or not every scored run was."""
    plan = find_plan(folder)
    if plan is None:
        return None
    again = scored_again(tables, lambda run: folder / BEAM / run / SCORES)
    decoded = replace(tables, utterances=again)
    runs = set(decoded.utterances["run"])
    if decoded.utterances.empty or runs != set(tables.utterances["run"]):
        return None
    # Looks were planned for greedy decoding: the beam's runs are compared once, as they are.
    second = compare(replace(definition, plan=None), decoded)
    return SecondVerdict(
        decoder=(
            f"beam search, width {plan.width}, {plan.num_tokens} symbols a frame, "
            f"{len(plan.settings)} settings of alpha and beta tried on valid by every system"
        ),
        lm=plan.lm.sentence(),
        verdict=second.verdict if definition.plan is None else f"{second.verdict} {UNPLANNED}",
        gains=tuple(_gains(folder, definition, first, second)),
        gaps=tuple(_gaps(definition, first, second)),
        groups=tuple(_groups(corpus, first.system_runs, second.system_runs)),
        words=tuple(map(_words, first.system_runs, second.system_runs)),
    )


def _changes(first: StudyComparison, second: StudyComparison, seed: int) -> SystemEstimates:
    """The errors with the beam minus those without, as if they were the errors of systems."""
    # The variance that both decoders share (hard speakers, a bad seed) cancels in the difference:
    #
    #     speakers       A     B     C
    #     greedy         9     4     7      errors of one run
    #     beam           6     3     7
    #     change        -3    -1     0      what is analysed, as if it were a system's errors
    without, words_C = counts_by_speaker(first.system_runs)
    with_beam, _ = counts_by_speaker(second.system_runs)
    changes = [b - a for a, b in zip(without, with_beam, strict=True)]  # [S, C] of each system
    return estimate_systems(changes, words_C, numpy_generator(seed, "paired bootstrap"))


def _gains(
    folder: Path, definition: StudyDefinition, first: StudyComparison, second: StudyComparison
) -> Iterator[SecondGain]:
    """What each system gains."""
    changes = _changes(first, second, definition.seed)
    estimate = Estimate(changes.wer, [rates(changes).total])
    half_V = estimate.half_width(1 - LEVEL)
    for place, system in enumerate(first.system_runs):
        weights = load_weights(folder, system.name)
        change, half = float(estimate.value[place]), float(half_V[place])
        yield SecondGain(
            system=system.name,
            greedy=_wer_of(first, system.name),
            beam=_wer_of(second, system.name),
            change=(change, change - half, change + half),
            alpha=float("nan") if weights is None else weights.alpha,
            beta=float("nan") if weights is None else weights.beta,
        )


def _wer_of(comparison: StudyComparison, system: str) -> Interval:
    (row,) = comparison.systems[comparison.systems["system"] == system].to_dict("records")
    return row["wer_mean"], row["wer_low"], row["wer_high"]


def _gaps(
    definition: StudyDefinition, first: StudyComparison, second: StudyComparison
) -> Iterator[SecondGap]:
    """The difference of each pair with either decoder, and its change."""
    names = [system.name for system in first.system_runs]
    if len(names) < 2:
        return
    # A difference of two systems' changes is the change of their gap, so the changes are judged as
    # errors are. Nothing was claimed of them.
    unclaimed_P = claimed_pairs(names, ())
    changes = _changes(first, second, definition.seed)
    found = judge(changes, unclaimed_P, margin_of(definition))
    by_names = [
        {(row["a"], row["b"]): row for row in comparison.pairs.to_dict("records")}
        for comparison in (first, second)
    ]
    for place, (a, b) in enumerate(combinations(names, 2)):
        before, after = (rows[a, b] for rows in by_names)
        change, half = float(found.estimate.value[place]), float(found.half_width[place])
        yield SecondGap(
            a=a,
            b=b,
            greedy=(before["delta_wer"], before["low"], before["high"]),
            greedy_verdict=before["verdict"],
            beam=(after["delta_wer"], after["low"], after["high"]),
            beam_verdict=after["verdict"],
            change=(change, change - half, change + half),
            coverage=float(found.coverage[place]),
            differs=bool(found.different[place]),
        )


def _groups(
    corpus: Corpus, greedy_runs: Sequence[SystemRuns], beam_runs: Sequence[SystemRuns]
) -> Iterator[tuple[str, str, float, float]]:
    """(system, group, WER without, WER with the language model) by the sentences' templates;
    nothing for a corpus whose test sentences are all of one group."""
    known = {u.id: u.attributes.get(TEMPLATES, "") for u in corpus.split("test")}
    if len(set(known.values()) - {""}) < 2:
        return
    for without, with_beam in zip(greedy_runs, beam_runs, strict=True):
        group_U = without.runs[0]["id"].map(known).fillna("").to_numpy()
        counts = counts_of([without, with_beam])
        for group in sorted(set(group_U) - {""}):
            wers = mean_rates(counts, group_U == group)
            yield without.name, group, wers[0], wers[1]


def _words(greedy_runs: SystemRuns, beam_runs: SystemRuns) -> SecondWords:
    """Which reference words the language model mended and broke, in all runs; and utterances of
    the first run with the most of either."""
    mended: Counter[str] = Counter()
    broken: Counter[str] = Counter()
    examples: list[tuple[int, tuple[str, str, str, str]]] = []
    for place, (own, other) in enumerate(zip(greedy_runs.runs, beam_runs.runs, strict=True)):
        columns = zip(own["id"], own["ref"], own["hyp"], other["hyp"], strict=True)
        for id, ref, without, with_beam in columns:
            if without == with_beam or not ref:
                continue
            # Of the slots the odd ones, which are the reference's words.
            wrong, wrong_after = (error_slots([ref], [hyp])[1::2] for hyp in (without, with_beam))
            for word, before, after in zip(ref.split(), wrong, wrong_after, strict=True):
                mended[word] += bool(before and not after)
                broken[word] += bool(after and not before)
            if place == 0:
                net = int(wrong.sum() - wrong_after.sum())
                examples.append((net, (id, ref, without, with_beam)))
    examples.sort(key=lambda each: each[0])
    # Half of the examples at most are those that the language model spoiled.
    worst = [row for net, row in examples[: MAX_EXAMPLES // 2] if net < 0]
    best = [row for net, row in examples[::-1][: MAX_EXAMPLES - len(worst)] if net > 0]
    return SecondWords(
        system=greedy_runs.name,
        num_mended=mended.total(),
        num_broken=broken.total(),
        mended=_most(mended),
        broken=_most(broken),
        examples=(*best, *worst),
    )


def _most(words: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    return tuple((word, n) for word, n in Counter(words).most_common(MAX_WORDS) if n)
