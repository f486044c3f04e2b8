"""A study's definition, or the config of one run, from a command's flags; and the flags that ask
for a study."""

import argparse
import json
import logging
import shlex
from dataclasses import replace
from pathlib import Path

from bench.core.cli import DEFAULT_BUDGET, DEFAULT_CORPUS
from bench.core.config import Resolved, parse_settings
from bench.core.errors import UserError
from bench.core.lookup import look_up
from bench.core.paths import OUT
from bench.data.conditions import CONDITION_SETS
from bench.data.corpora import CorpusConfig, load_corpus, parse_corpus
from bench.data.utterance import Corpus
from bench.decoding.beam import BeamConfig, BeamSearch, require_installed
from bench.decoding.language_model import LmConfig, language_model
from bench.stats.looks import Plan
from bench.study.decoding import DecodingPlan, tuned_weights
from bench.study.definition import SOURCES, Sources, StudyDefinition, define, own_name
from bench.study.layers import corpus_layers, resolve_run, seed_layer, set_layer
from bench.study.match import Match
from bench.study.question import StudyFile, load_study_file
from bench.study.recipe import load_recipe
from bench.study.robustness import RobustnessPlan
from bench.study.space import Budget, load_budget, load_budgets, load_space
from bench.training.config import RunConfig, default_run_config
from bench.training.outside import OUTSIDE, find_variant

_logger = logging.getLogger(__name__)


def single_run_of(options: argparse.Namespace) -> Resolved[RunConfig]:
    """The run that the flags of `bench.train` ask for.

    Raises:
        UserError: neither a variant nor a recipe; an unknown name, key or value.
    """
    recipe = load_recipe(options.recipe) if options.recipe else None
    if not recipe and not options.variant:
        raise UserError("a run needs --variant V or --recipe NAME, got neither; give one")
    variant = find_variant(options.variant or (recipe.variant if recipe else ""))
    default = (recipe.corpus, recipe.file) if recipe else (DEFAULT_CORPUS, _DEFAULT)
    corpus, source = _corpus(options, *default)
    space = load_space(variant, default_run_config(variant, corpus))
    return resolve_run(
        variant,
        (
            *corpus_layers(corpus, source),
            *space.fixed_layers(),
            *space.default_layers(),
            load_budget(options.budget or DEFAULT_BUDGET).confirm_layer(),
            *([recipe.layer()] if recipe else []),
            set_layer(parse_settings(options.settings)),
            seed_layer(options.seed, "--seed"),
        ),
    )


def definition_of(options: argparse.Namespace, device: str) -> StudyDefinition:
    """The study that the flags of `bench.sweep` ask for; what they name overrides the study's file.

    Raises:
        UserError: nothing to compare; as `load_study_file` and `define`.
    """
    if not (options.variant or options.study):
        raise UserError("a sweep needs --variant V or --study NAME, got neither; see bench.ls")
    study = None if options.study is None else load_study_file(options.study)
    default = (study.corpus, study.question.file) if study else (DEFAULT_CORPUS, _DEFAULT)
    corpus, corpus_source = _corpus(options, *default)
    match, match_source = None, "--match"
    if options.match is not None:
        match = Match.parse(options.match)
    elif study:
        match, match_source = study.match, study.question.file
    return define(
        study.systems if study else options.variant,
        corpus,
        _budget(options, study),
        seed=options.seed,
        device=device,
        settings=parse_settings(options.settings),
        match=match,
        question=study.question if study else None,
        name=options.name,
        plan=_plan(options, study),
        sources=Sources(corpus=corpus_source, match=match_source),
    )


def _budget(options: argparse.Namespace, study: StudyFile | None) -> Budget:
    """The budget, with the number of seeds that --seeds gives."""
    budget = load_budget(options.budget or (study.budget if study else DEFAULT_BUDGET))
    return budget if options.seeds is None else replace(budget, num_seeds=options.seeds)


def _plan(options: argparse.Namespace, study: StudyFile | None) -> Plan | None:
    """The looks of --until-decided or of the question, if it asks for them."""
    asked = study is not None and study.question.until_decided
    if options.seeds is not None and (asked or options.until_decided is not None):
        raise UserError(
            f"a study has a number of seeds or adds seeds until decided, got --seeds "
            f"{options.seeds} too; leave that out, or end the looks there, as in --until-decided "
            f"3,{max(5, options.seeds)}"
        )
    if options.until_decided is None:
        return study.question.plan if study and asked else None
    plan = study.question.plan if study else Plan()
    try:
        return replace(plan, looks=options.until_decided or plan.looks)
    except ValueError as error:
        raise UserError(f"--until-decided: {error}") from error


def decoders_of(options: argparse.Namespace) -> tuple[str, ...]:
    """What shall read the confirm runs of the sweep of `options`: "greedy", and "beam" if the
    study's file or a flag says so.

    Raises:
        UserError: flags of the beam search without it.
    """
    decoders: tuple[str, ...] = ("greedy",)
    if options.study is not None:
        decoders = load_study_file(options.study).decoders
    if options.decoder is not None:
        decoders = tuple(dict.fromkeys(("greedy", options.decoder)))
    if "beam" not in decoders:
        _refuse_flags_of_beam(options)
    return decoders


def conditions_of(options: argparse.Namespace) -> str:
    """The set of conditions under which the confirm runs of the sweep of `options` shall be tested,
    of a flag or the study's file; "" for none.

    Raises:
        UserError: no such set.
    """
    if options.conditions is not None:
        look_up(CONDITION_SETS, options.conditions, "set of conditions")
        return str(options.conditions)
    return "" if options.study is None else load_study_file(options.study).conditions


def beam_search_of(
    options: argparse.Namespace, corpus: Corpus, weights: tuple[float, float] | None = None
) -> BeamSearch:
    """The beam search that the flags of `cli.add_decoder` ask for, with a language model of the
    train split of `corpus`, and `weights` (alpha and beta) unless flags give others.

    Raises:
        UserError: flashlight-text is missing; flags that contradict; as `language_model`.
    """
    require_installed()
    usual = BeamConfig()
    # A flag, else what the study's search on valid found, else the default.
    alpha, beta = weights or (usual.alpha, usual.beta)
    given_alpha, given_beta = getattr(options, "alpha", None), getattr(options, "beta", None)
    try:
        beam = BeamConfig(
            alpha=alpha if given_alpha is None else given_alpha,
            beta=beta if given_beta is None else given_beta,
            width=options.beam_width or usual.width,
        )
        lm = LmConfig(
            order=options.lm_order or LmConfig.order,
            texts=tuple(options.lm_text),
            arpa=options.lm,
            lexicon=not options.open_vocabulary,
        )
    except ValueError as error:
        raise UserError(str(error)) from error
    texts = ((u.text for u in corpus.split(split)) for split in ("train", "valid"))
    return BeamSearch(beam, language_model(lm, *texts))


def decoder_of(
    options: argparse.Namespace, checkpoint: Path, config: RunConfig
) -> BeamSearch | None:
    """The beam search by which a command that reads recordings shall use the network of
    `checkpoint`, trained with `config`: with the weights of its study, and a language model of the
    transcripts that it was trained on unless ``--lm`` names one; None for greedy decoding.

    Raises:
        UserError: as `check_decoder` and `beam_search_of`; the network outputs pieces of words.
    """
    if not check_decoder(options):
        return None
    trained_on = Corpus(name="", utterances=())
    if options.lm is None:
        trained_on = load_corpus(config.corpus, splits=("train", "valid"))
    weights = tuned_weights(checkpoint)
    search = beam_search_of(options, trained_on, weights)
    search.check(config.units)
    if weights is None and options.alpha is None and options.beta is None:
        # A network that is rarely wrong wants a small alpha: with 1 the model overrules it.
        _logger.warning(
            "alpha %g and beta %g are usual values, which nobody has searched for this network: "
            "compare with --alpha 0.1 on valid, or let a sweep with --decoder beam search them",
            search.config.alpha,
            search.config.beta,
        )
    return search


def check_decoder(options: argparse.Namespace) -> bool:
    """Whether a command that reads recordings shall use the beam search.

    Raises:
        UserError: flags of the beam search without it.
    """
    if options.decoder != "beam":
        _refuse_flags_of_beam(options)
    return bool(options.decoder == "beam")


def _refuse_flags_of_beam(options: argparse.Namespace) -> None:
    for name in ("lm", "lm_text", "lm_order", "open_vocabulary", "beam_width", "alpha", "beta",
                 "nbest"):  # fmt: skip
        value = getattr(options, name, None)
        if value not in (None, []) and value is not False:  # 0 is given, though it equals False
            flag = f"--{name.replace('_', '-')}"
            raise UserError(f"{flag} is of the beam search; add --decoder beam, or leave it out")


_DEFAULT = "--corpus (default)"
_HOW_TO_READ = ("text", "audio", "channel", "columns")
"""Flags of `cli.add_corpus` that say how a corpus is read, and fields of CorpusConfig."""


def _corpus(
    options: argparse.Namespace, default: str, default_source: str
) -> tuple[CorpusConfig, str]:
    """The corpus, and the flag or file that names it."""
    given = options.corpus is not None
    config = corpus_of(options, options.corpus if given else default)
    return config, "--corpus" if given else default_source


def corpus_of(options: argparse.Namespace, place: str) -> CorpusConfig:
    """The corpus at `place`, read as the flags of `cli.add_corpus` say."""
    return parse_corpus(place, **{name: getattr(options, name) for name in _HOW_TO_READ})


def command_of(
    definition: StudyDefinition,
    decoding: DecodingPlan | None = None,
    conditions: RobustnessPlan | None = None,
) -> str:
    """The command line that begins or resumes the study, and has its confirm runs decoded again and
    tested under conditions as they were."""
    corpus = definition.corpus
    usual = load_budgets().get(definition.budget.name, definition.budget)
    parts = ["python -m bench.sweep"]
    if definition.question is not None:
        parts.append(f"--study {shlex.quote(definition.question.asked_as)}")
    else:
        parts += [f"--variant {_asked_as(definition, label)}" for label in definition.systems]
    if definition.match is not None:
        parts.append(f"--match {definition.match}")
    parts.append(f"--corpus {shlex.quote(corpus.given)}")
    parts.append(f"--budget {definition.budget.name} --seed {definition.seed}")
    if definition.plan is not None:
        parts.append(f"--until-decided {','.join(map(str, definition.plan.looks))}")
    elif definition.raised or usual.num_seeds != definition.budget.num_seeds:
        parts.append(f"--seeds {definition.budget.num_seeds}")
    settings = (f"{key}={json.dumps(value)}" for key, value in definition.settings.items())
    parts += [f"--set {shlex.quote(setting)}" for setting in settings]
    for name in _HOW_TO_READ:
        if (value := getattr(corpus, name)) != getattr(CorpusConfig(), name):
            parts.append(f"--{name} {shlex.quote(str(value))}")
    if definition.name != own_name(definition):
        parts.append(f"--name {shlex.quote(definition.name)}")
    parts.append(f"--device {definition.device}")
    again = [*(decoding.flags if decoding else ()), *(conditions.flags if conditions else ())]
    if definition.question is not None and decoding is None:
        again += ["--decoder", "greedy"]  # its file may ask for more
    return " ".join((*parts, *map(shlex.quote, again)))


def _asked_as(definition: StudyDefinition, label: str) -> str:
    """A system as ``--variant`` takes it; one from outside as what was recorded of it, since its
    file may have changed."""
    variant = definition.systems[label].variant
    if variant not in OUTSIDE:
        return variant
    recorded = OUT / definition.name / SOURCES / f"{variant}.py"
    return shlex.quote(f"{recorded}:{OUTSIDE[variant].name}")
