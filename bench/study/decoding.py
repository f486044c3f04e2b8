"""A study's confirm runs decoded again, by beam search with a language model.

    decoding/beam/decoding.json                what was decided before anything was decoded
    decoding/beam/SYSTEM/weights.json          alpha and beta: the chosen ones, and all tried
    decoding/beam/SYSTEM/confirm-K/            search.json, utterances-valid.jsonl and -test.jsonl
    decoding/watch.json                        what the watch utterances became

The weights of a system are searched on valid, with the same settings for every system, and are the
same for all its seeds. The test split is then opened once a run.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import torch
from scipy.stats import qmc
from torch import Tensor

from bench.core.config import changes, flatten, from_dict, identity, to_dict
from bench.core.console import ProgressCallback
from bench.core.errors import UserError
from bench.core.files import write_json
from bench.core.seeding import derive
from bench.data.batches import Dataset
from bench.data.units import Units
from bench.data.utterance import Corpus
from bench.decoding.beam import BeamConfig, BeamSearch
from bench.decoding.greedy import greedy
from bench.decoding.language_model import LanguageModel, LmConfig, LmFacts
from bench.runs.layout import read_json
from bench.runs.record import write_scores
from bench.runs.run import count_opening, datasets, last_finite
from bench.study.definition import StudyDefinition
from bench.training.checkpoint import load_model
from bench.training.config import RunConfig
from bench.training.evaluate import log_probabilities, score_texts
from variants.spec import AcousticModel

FOLDER = Path("decoding")
BEAM = FOLDER / "beam"
PLAN, WEIGHTS, SEARCH, WATCH_FILE = "decoding.json", "weights.json", "search.json", "watch.json"
SCORES = "utterances-test.jsonl"
NUM_SETTINGS = 24
ALPHA_RANGE, BETA_RANGE = (0.0, 3.0), (-1.0, 4.0)


@dataclass(frozen=True, kw_only=True)
class DecodingPlan:
    """What is the same for every system of a study, and decides its numbers."""

    lm: LmFacts
    width: int
    num_tokens: int
    threshold: float
    settings: tuple[tuple[float, float], ...]
    """alpha and beta, as each system tries them."""
    arpa: str = field(default="", compare=False)
    """The file of a finished language model, as ``--lm`` named it. Not compared, as `texts`: the
    model's digest is."""
    texts: tuple[str, ...] = field(default=(), compare=False)
    """The files of further text, as ``--lm-text`` named them."""

    @property
    def facts(self) -> dict[str, str]:
        """For the rules of a fair comparison."""
        return {
            "decoder": "beam",
            "decoder.lm": self.lm.digest,
            "decoder.width": str(self.width),
            "decoder.num_tokens": str(self.num_tokens),
            "decoder.threshold": f"{self.threshold:g}",
            "decoder.num_settings": str(len(self.settings)),
        }

    @property
    def flags(self) -> tuple[str, ...]:
        """The flags of ``bench.sweep`` that ask for this decoding; defaults are left out."""
        estimated = self.lm.unit == "word" and not self.arpa  # else the order is not of the flags
        return (
            *("--decoder", "beam"),
            *(("--lm", self.arpa) if self.arpa else ()),
            *(part for path in self.texts for part in ("--lm-text", path)),
            *(
                ("--lm-order", str(self.lm.order))
                if estimated and self.lm.order != LmConfig.order
                else ()
            ),
            *(("--open-vocabulary",) if self.lm.unit == "letter" else ()),
            *(("--beam-width", str(self.width)) if self.width != BeamConfig.width else ()),
        )


def settings_to_try(seed: int, default: BeamConfig) -> tuple[tuple[float, float], ...]:
    """NUM_SETTINGS pairs of alpha and beta: the default, then a scrambled Halton sequence."""
    # Quasi-random points leave no part of the square empty, as so few random ones would.
    points = qmc.Halton(2, seed=derive(seed, "decoder weights") % 2**32).random(NUM_SETTINGS - 1)
    lows, highs = zip(ALPHA_RANGE, BETA_RANGE, strict=True)
    drawn = ((round(a, 3), round(b, 3)) for a, b in qmc.scale(points, lows, highs).tolist())
    return ((default.alpha, default.beta), *drawn)


def plan_decoding(
    folder: Path, definition: StudyDefinition, model: LanguageModel, config: BeamConfig
) -> DecodingPlan:
    """Write down how the study in `folder` is decoded, or check that it is as before.

    Raises:
        UserError: it was decoded with another language model or beam.
    """
    plan = DecodingPlan(
        lm=model.facts,
        width=config.width,
        num_tokens=config.num_tokens,
        threshold=config.threshold,
        settings=settings_to_try(definition.seed, config),
        arpa=str(model.config.arpa or ""),
        texts=tuple(map(str, model.config.texts)),
    )
    path = folder / BEAM / PLAN
    if not path.exists():
        write_json(path, to_dict(plan))
        return plan
    if shown := changes(flatten(identity(load_plan(folder))), flatten(identity(plan))):
        raise UserError(
            f"study {definition.name} was decoded with something else: {shown}; results are never "
            f"mixed, and each look at test counts: put it back, or begin another study with --name"
        )
    return plan


def load_plan(folder: Path) -> DecodingPlan:
    """How the study in `folder` was decoded.

    Raises:
        UserError: it was not, or its file is damaged.
    """
    found = find_plan(folder)
    if found is None:
        raise UserError(f"{folder} was not decoded by beam search; add --decoder beam to the sweep")
    return found


def find_plan(folder: Path) -> DecodingPlan | None:
    """As `load_plan`; None if the study was not decoded by beam search."""
    found = read_json(folder / BEAM / PLAN)
    return None if found is None else from_dict(DecodingPlan, found, f"{folder / BEAM / PLAN} ")


@dataclass(frozen=True)
class Weights:
    """What a system's search on valid found."""

    alpha: float
    beta: float
    wers: tuple[float, ...]
    """On valid, all seeds together, of each setting of the plan."""


def load_weights(folder: Path, label: str) -> Weights | None:
    """Of the system `label`; None before it was decoded."""
    found = read_json(folder / BEAM / label / WEIGHTS)
    return None if found is None else from_dict(Weights, found, f"weights of {label} ")


def decode_study(
    folder: Path,
    definition: StudyDefinition,
    corpus: Corpus,
    search: BeamSearch,
    plan: DecodingPlan,
    device: torch.device,
    progress: ProgressCallback,
) -> None:
    """Decode every scored confirm run of the study; what is done already is not done again."""
    load = partial(_Network.load, definition=definition, corpus=corpus, device=device)
    runs = {label: scored_checkpoints(folder, label) for label in definition.systems}
    done, total = count(1), 2 * sum(map(len, runs.values()))
    for label, own in runs.items():
        for run, checkpoint in own.items():
            _search(folder / BEAM / label / run.name, partial(load, checkpoint), search, plan)
            progress(next(done), total)
        if not own:
            continue
        weights = _choose(folder, label, list(own), plan)
        tuned = search.with_weights(weights.alpha, weights.beta)
        for run, checkpoint in own.items():
            _score(folder / BEAM / label / run.name, run, partial(load, checkpoint), tuned)
            progress(next(done), total)


def tuned_weights(checkpoint: Path) -> tuple[float, float] | None:
    """alpha and beta of the system whose confirm run in a study left `checkpoint`; None where the
    study was not decoded again."""
    # The parents of a checkpoint in a study:
    #
    #     out/STUDY/runs/SYSTEM/confirm-K/checkpoints/best.pt
    #         [4]   [3]  [2]    [1]       [0]
    parents = checkpoint.resolve().parents
    if len(parents) < 5 or parents[3].name != "runs":
        return None
    found = load_weights(parents[4], parents[2].name)
    return None if found is None else (found.alpha, found.beta)


def scored_checkpoints(folder: Path, label: str) -> dict[Path, Path]:
    """By folder of a run the checkpoint that was scored on test, of those of the system's confirm
    runs that still have it. A run that diverged early has no best one, and was scored with its
    last."""
    scored = sorted((folder / "runs" / label).glob(f"confirm-*/{SCORES}"))
    found = {path.parent: last_finite(path.parent, torch.device("cpu")) for path in scored}
    return {run: run / checkpoint for run, checkpoint in found.items() if checkpoint is not None}


@dataclass(frozen=True)
class _Network:
    """A confirm run's network with the splits of its corpus."""

    model: AcousticModel
    config: RunConfig
    sets: Mapping[str, Dataset]
    device: torch.device

    @classmethod
    def load(
        cls, checkpoint: Path, definition: StudyDefinition, corpus: Corpus, device: torch.device
    ) -> "_Network":
        found = load_model(checkpoint, device)
        sets = datasets(corpus, found.config, definition.excluded, units=found.units)
        return cls(found.network, found.config, sets, device)

    def log_probs(self, split: str) -> list[Tensor]:
        return log_probabilities(self.model, self.sets[split], self.config.batches, self.device)


def _search(
    own: Path, load: Callable[[], _Network], search: BeamSearch, plan: DecodingPlan
) -> None:
    """Count the errors on valid of each setting of the plan, into the folder `own`."""
    if (own / SEARCH).exists():
        return
    network = load()
    valid, rows = network.sets["valid"], network.log_probs("valid")
    errors, words = [], 0
    for alpha, beta in plan.settings:
        hyps = _texts(search.with_weights(alpha, beta), rows, valid.units)
        scores = score_texts(valid, hyps)
        errors.append(sum(s.substitutions + s.deletions + s.insertions for s in scores))
        words = sum(s.num_ref_words for s in scores)
    write_json(own / SEARCH, {"errors": errors, "num_ref_words": words})


def _choose(folder: Path, label: str, runs: list[Path], plan: DecodingPlan) -> Weights:
    """The setting with the fewest errors on valid over all `runs`, the first of equals."""
    if (known := load_weights(folder, label)) is not None:
        return known
    read = (read_json(folder / BEAM / label / run.name / SEARCH) for run in runs)
    found: list[dict[str, Any]] = [each for each in read if each is not None]
    # Errors are added over the seeds before a setting is chosen: one choice for all of a system.
    words = max(1, sum(each["num_ref_words"] for each in found))
    errors = [sum(column) for column in zip(*(each["errors"] for each in found), strict=True)]
    alpha, beta = plan.settings[errors.index(min(errors))]
    weights = Weights(alpha, beta, tuple(count / words for count in errors))
    write_json(folder / BEAM / label / WEIGHTS, asdict(weights))
    return weights


def _score(own: Path, run: Path, load: Callable[[], _Network], tuned: BeamSearch) -> None:
    """Score valid and, once, test with the chosen weights, into the folder `own`."""
    if (own / SCORES).exists():
        return
    network = load()
    for split in ("valid", "test"):
        if split == "test":
            count_opening(run, "beam")
        hyps = _texts(tuned, network.log_probs(split), network.sets[split].units)
        write_scores(own / f"utterances-{split}.jsonl", score_texts(network.sets[split], hyps))


def _texts(search: BeamSearch, rows: list[Tensor], units: Units) -> list[str]:
    return [search(row_UV[None], torch.tensor([len(row_UV)]), units)[0] for row_UV in rows]


@dataclass(frozen=True, kw_only=True)
class Heard:
    """A watch utterance as the scored checkpoint of a confirm run transcribes it."""

    system: str
    run: str
    seed: int
    id: str
    ref: str
    greedy: str
    beam: str | None
    """None without a beam search."""
    alpha: float | None
    beta: float | None


def hear_watch(
    folder: Path,
    definition: StudyDefinition,
    corpus: Corpus,
    search: BeamSearch | None,
    device: torch.device,
) -> list[Heard]:
    """Transcribe the corpus's watch utterances with every scored confirm run, without and with
    `search` (with a system's own weights where it was decoded), and write them down."""
    if not corpus.split("watch"):
        return []
    rows: list[Heard] = []
    for label in definition.systems:
        weights, own = load_weights(folder, label), search
        if search is not None and weights is not None:
            own = search.with_weights(weights.alpha, weights.beta)
        for run, checkpoint in scored_checkpoints(folder, label).items():
            network = _Network.load(checkpoint, definition, corpus, device)
            rows += _heard(label, run.name, network, own)
    write_json(folder / FOLDER / WATCH_FILE, {"rows": [asdict(row) for row in rows]})
    return rows


def read_heard(folder: Path) -> list[Heard]:
    """What `hear_watch` wrote in the study's `folder`; [] if it did not."""
    found = read_json(folder / FOLDER / WATCH_FILE) or {"rows": []}
    rows = found.get("rows")
    if not isinstance(rows, list):
        raise UserError(f"{folder / FOLDER / WATCH_FILE} holds no list of rows; remove it")
    return [from_dict(Heard, row, "watch.json ") for row in rows]


def _heard(label: str, run: str, network: _Network, search: BeamSearch | None) -> Iterator[Heard]:
    for utterance, row_UV in zip(
        network.sets["watch"].utterances, network.log_probs("watch"), strict=True
    ):
        given = row_UV[None], torch.tensor([len(row_UV)]), network.sets["watch"].units
        yield Heard(
            system=label,
            run=run,
            seed=network.config.seed,
            id=utterance.id,
            ref=utterance.text,
            greedy=greedy(*given)[0],
            beam=None if search is None else search(*given)[0],
            alpha=None if search is None else search.config.alpha,
            beta=None if search is None else search.config.beta,
        )
