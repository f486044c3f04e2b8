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

import numpy as np
import pandas as pd

from bench.core.seeding import numpy_generator
from bench.data.utterance import Corpus
from bench.results.comparison import StudyComparison, compare
from bench.results.confirmed import scored_again
from bench.results.counts import error_slots
from bench.results.looks import margin_of
from bench.results.pairs import SystemRuns, counts_by_speaker
from bench.runs import Tables
from bench.stats.clusters import Bools, Floats
from bench.stats.estimate import Estimate
from bench.stats.intervals import LEVEL
from bench.stats.variance import estimate_systems, rates
from bench.stats.verdict import judge
from bench.study.decoding import BEAM, SCORES, find_plan, load_weights
from bench.study.definition import StudyDefinition
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
    greedy_runs, beam_runs = first.system_runs, second.system_runs
    return SecondVerdict(
        decoder=(
            f"beam search, width {plan.width}, {plan.num_tokens} symbols a frame, "
            f"{len(plan.settings)} settings of alpha and beta tried on valid by every system"
        ),
        lm=plan.lm.sentence(),
        verdict=second.verdict if definition.plan is None else f"{second.verdict} {UNPLANNED}",
        gains=tuple(
            _gains(folder, definition, first.systems, second.systems, greedy_runs, beam_runs)
        ),
        gaps=tuple(_gaps(definition, first.pairs, second.pairs, greedy_runs, beam_runs)),
        groups=tuple(_groups(corpus, greedy_runs, beam_runs)),
        words=tuple(map(_words, greedy_runs, beam_runs)),
    )


def _changes(
    greedy_runs: Sequence[SystemRuns], beam_runs: Sequence[SystemRuns]
) -> tuple[list[Floats], Floats]:
    """Errors [S, C] with the beam minus errors without, of each system; reference words [C]."""
    # The variance that both decoders share (hard speakers, a bad seed) cancels in the difference:
    #
    #     speakers       A     B     C
    #     greedy         9     4     7      errors of one run
    #     beam           6     3     7
    #     change        -3    -1     0      what is analysed, as if it were a system's errors
    without, words_C = counts_by_speaker(greedy_runs)
    with_beam, _ = counts_by_speaker(beam_runs)
    return [b - a for a, b in zip(without, with_beam, strict=True)], words_C


def _gains(
    folder: Path,
    definition: StudyDefinition,
    first: pd.DataFrame,
    second: pd.DataFrame,
    greedy_runs: Sequence[SystemRuns],
    beam_runs: Sequence[SystemRuns],
) -> Iterator[SecondGain]:
    """What each system gains."""
    changes, words_C = _changes(greedy_runs, beam_runs)
    estimate = _paired(changes, words_C, definition.seed)
    half_V = estimate.half_width(1 - LEVEL)
    before, after = first.set_index("system"), second.set_index("system")
    for place, system in enumerate(greedy_runs):
        weights = load_weights(folder, system.name)
        change, half = float(estimate.value[place]), float(half_V[place])
        ends = [float(t[f"wer_{e}"][system.name]) for t in (before, after)
                for e in ("mean", "low", "high")]  # fmt: skip
        yield SecondGain(
            system=system.name,
            greedy=(ends[0], ends[1], ends[2]),
            beam=(ends[3], ends[4], ends[5]),
            change=(change, change - half, change + half),
            alpha=float("nan") if weights is None else weights.alpha,
            beta=float("nan") if weights is None else weights.beta,
        )


def _paired(changes: list[Floats], words_C: Floats, seed: int) -> Estimate:
    systems = estimate_systems(changes, words_C, numpy_generator(seed, "paired bootstrap"))
    return Estimate(systems.wer, [rates(systems).total])


def _gaps(
    definition: StudyDefinition,
    first: pd.DataFrame,
    second: pd.DataFrame,
    greedy_runs: Sequence[SystemRuns],
    beam_runs: Sequence[SystemRuns],
) -> Iterator[SecondGap]:
    """The difference of each pair with either decoder, and its change."""
    if len(greedy_runs) < 2:
        return
    changes, words_C = _changes(greedy_runs, beam_runs)
    rng = numpy_generator(definition.seed, "paired bootstrap")
    num_pairs = len(greedy_runs) * (len(greedy_runs) - 1) // 2
    unclaimed_P = np.zeros(num_pairs, np.bool_)
    # A difference of two systems' changes is the change of their gap, so the changes are judged as
    # errors are. Nothing was claimed of them.
    found = judge(estimate_systems(changes, words_C, rng), unclaimed_P, margin_of(definition))
    pairs = combinations([system.name for system in greedy_runs], 2)
    by_names = [
        {(row["a"], row["b"]): row for row in table.to_dict("records")} for table in (first, second)
    ]
    for place, (a, b) in enumerate(pairs):
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
        group_U = without.runs[0]["id"].map(known).fillna("")
        for group in sorted(set(group_U) - {""}):
            inside_U = (group_U == group).to_numpy()
            wers = [_wer(system.runs, inside_U) for system in (without, with_beam)]
            yield without.name, group, wers[0], wers[1]


def _wer(runs: Sequence[pd.DataFrame], inside_U: Bools) -> float:
    errors = sum(
        run.loc[inside_U, ["substitutions", "deletions", "insertions"]].to_numpy().sum()
        for run in runs
    )
    words = sum(run.loc[inside_U, "num_ref_words"].sum() for run in runs)
    return float(errors / words) if words else float("nan")


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
