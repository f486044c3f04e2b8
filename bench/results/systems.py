"""Reading the systems to compare: studies, runs, JSON lines or trn files of other recognisers."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from bench.core.config import flatten, to_dict
from bench.core.errors import NoVerdictError, UserError
from bench.core.paths import OUT
from bench.data.text import count_unknown_symbols, text_digest
from bench.results.comparability import SEPARATOR
from bench.results.confirmed import confirm_runs, scored_again
from bench.results.counts import SystemRuns
from bench.results.looks import PlannedLooks
from bench.results.planned import study_cautions, study_without_verdict
from bench.results.saved_comparison import is_saved_comparison, read_saved_comparison
from bench.results.scored import WRITTEN, ScoredSystem, frame_of, with_ids
from bench.results.second_verdict import UNPLANNED
from bench.results.transcripts import Transcripts, file_name, read_json_lines, read_trn
from bench.runs import read_study
from bench.runs.layout import (
    ENVIRONMENT,
    PATHS,
    RUN,
    SCORES,
    ScoreLine,
    read_json,
    read_lines,
    read_run,
)
from bench.scoring import score
from bench.study.decoding import PLAN, load_plan
from bench.study.definition import FILE, StudyDefinition, load
from bench.study.rounds import read_looks
from reports.format import some

SHOWN_SYMBOLS = 20
NORMALISED = (
    "texts of files were normalised before they were scored: lower case, no quotation marks, no "
    "sentence punctuation"
)


def read_systems(
    names: Iterable[str], ref: Path | None = None, *, common: bool = False, by_name: bool = False
) -> list[ScoredSystem]:
    """The systems of `names`, in order, with unique names.

    Systems of two studies with the same name are prefixed with their study's name; files with the
    same name are prefixed with their folders.

    Args:
        names: studies (for all their systems), folders of runs, MLflow run ids, JSON-lines files of
            scored utterances, saved comparisons; or, with `ref`, trn files.
        ref: the references, a trn file.
        common: leave out utterances that `ref` or a trn file lacks.
        by_name: remove folders from the ids of utterances.

    Raises:
        UserError: an unknown name; a file that cannot be read; two systems with one name.
        NoVerdictError: a study without a scored confirm run.
    """
    systems: list[ScoredSystem] = []
    for name in names:
        if ref is not None:
            texts = read_trn(Path(name), ref, common=common, by_name=by_name)
            systems.append(_scored(Path(name), texts))
        else:
            systems += _of_name(name)
    systems = list(_told_apart(systems))
    name, times = Counter(system.name for system in systems).most_common(1)[0]
    if times > 1:
        raise UserError(
            f"systems are told apart by name, got {name!r} {times} times; name each once, or "
            "rename a file"
        )
    return [with_ids(system, file_name) for system in systems] if by_name else systems


def _told_apart(systems: Sequence[ScoredSystem]) -> Iterator[ScoredSystem]:
    """`systems`, with longer names for those that share one."""
    count = Counter(system.name for system in systems)
    for system in systems:
        alike = [s.file for s in systems if s.name == system.name and s.file is not None]
        name = system.name
        if count[name] > 1 and system.study:
            name = f"{system.study}/{name}"
        elif len(alike) > 1 and system.file is not None:
            name = _shortest_end(system.file, alike)
        yield replace(system, scored=replace(system.scored, name=name))


def _shortest_end(file: Path, among: Sequence[Path]) -> str:
    """The name of `file` with as few parent folders as distinguish it from the files `among`; with
    its suffix if folders do not suffice."""
    #     one/test/pred.json    two/test/pred.json      "one/test/pred", "two/test/pred"
    #     two/best/pred.json    two/test/pred.json      "best/pred", "test/pred"
    paths = [file.resolve(), *({path.resolve() for path in among} - {file.resolve()})]
    for ends in ([path.with_suffix("").parts for path in paths], [path.parts for path in paths]):
        own, *others = ends
        for length in range(1, len(own)):
            if all(other[-length:] != own[-length:] for other in others):
                return "/".join(own[-length:])
    return file.stem


def _of_name(name: str) -> list[ScoredSystem]:
    path = Path(name)
    for folder in (OUT / name, path):
        if (folder / FILE).is_file():
            return _of_study(folder)
        if (folder / PLAN).is_file():
            return _of_decoding(folder)
    run = path.parent if path.name == SCORES else path
    if (run / RUN).is_file():
        return [_of_run(run)]
    if path.is_file() and is_saved_comparison(path):
        return read_saved_comparison(path)
    if path.suffix.lower() == ".trn" and path.is_file():
        raise UserError(
            f"{path} is a trn file, which needs the reference: add --ref REF.trn (then every "
            "system is a trn file)"
        )
    if path.is_file():
        return [_scored(path, read_json_lines(path))]
    # Last, since it reads the record of every run.
    for file in sorted(OUT.glob(f"*/runs/*/*/{RUN}")):
        if _mlflow_id(file.parent) == name:
            return [_of_run(file.parent)]
    raise UserError(
        f"a system is a study, a run's folder, an MLflow run id or a JSON-lines file, {name!r} is "
        "none; `python -m bench.ls studies` lists studies, and trn files need --ref"
    )


def _mlflow_id(run: Path) -> str | None:
    try:
        return read_run(run)["mlflow_run_id"]
    except UserError:  # of an older version, or damaged: not the one that is asked for
        return None


def _of_study(folder: Path) -> list[ScoredSystem]:
    definition = load(folder)
    system_runs, lost = confirm_runs(definition, read_study(folder))
    planned = PlannedLooks.of(definition, read_looks(folder))
    systems = []
    for scored in system_runs:
        paths = sorted((folder / "runs" / scored.name).glob(f"confirm-*/{SCORES}"))
        runs = [path.parent for path in paths]
        system = _of_records(scored, runs, folder.name, definition)
        systems.append(replace(system, planned=planned))
    missing = study_without_verdict(folder) if len(systems) < len(definition.systems) else ""
    if not systems:
        raise NoVerdictError(missing)
    notes = (*study_cautions(folder), *lost)
    return [replace(systems[0], notes=notes, no_verdict=missing), *systems[1:]]


def _of_decoding(folder: Path) -> list[ScoredSystem]:
    """The systems of a study as they were decoded again, from the folder of that decoding."""
    study = folder.resolve().parents[1]  # out/STUDY/decoding/beam
    definition, plan, tables = load(study), load_plan(study), read_study(study)
    again = scored_again(tables, lambda run: folder / run / SCORES)
    # Of runs that are not decoded yet nothing is known: they are not there.
    pending = set(tables.utterances["run"]) - set(again["run"])
    runs = tables.runs[~tables.runs["run"].isin(pending)]
    system_runs, lost = confirm_runs(definition, replace(tables, runs=runs, utterances=again))
    if not system_runs:
        raise NoVerdictError(f"no confirm run of {study.name} has been decoded again yet")
    systems = []
    for scored in system_runs:
        decoded = again.loc[again["system"] == scored.name, "run"].unique()
        folders = [study / "runs" / run for run in decoded]
        system = _of_records(scored, folders, f"{study.name}/{folder.name}", definition)
        systems.append(replace(system, facts={**system.facts, **plan.facts}))
    notes = (*lost, *([] if definition.plan is None else [UNPLANNED]))
    return [replace(systems[0], notes=notes), *systems[1:]]


def _of_run(folder: Path) -> ScoredSystem:
    if not (folder / SCORES).is_file():
        raise UserError(
            f"a run is compared by its test utterances, {folder} has no {SCORES}; name a finished "
            "confirm run"
        )
    folder = folder.resolve()
    study = folder.parents[2]
    definition = load(study) if (study / FILE).is_file() else None
    run = pd.DataFrame(list(read_lines(folder / SCORES, ScoreLine)))
    scored = SystemRuns(name=f"{folder.parent.name}/{folder.name}", runs=(run,))
    return _of_records(scored, [folder], "" if definition is None else study.name, definition)


def _of_records(
    scored: SystemRuns, folders: Sequence[Path], study: str, definition: StudyDefinition | None
) -> ScoredSystem:
    """A system of recorded runs, one per seed, in `folders`."""
    system = ScoredSystem(
        scored=scored,
        facts=recorded_facts(folders, definition),
        study=study,
        corpus=None if definition is None else definition.corpus,
    )
    if definition is None or definition.question is None:
        return system
    question = definition.question
    return replace(system, claims=question.claims, margin=question.margin_points / 100)


def recorded_facts(folders: Sequence[Path], definition: StudyDefinition | None) -> dict[str, str]:
    """The facts in the runs' records, several values, separated by |, if runs differ; and those of
    their study, if they are of one."""
    device = None if definition is None else definition.device
    facts: dict[str, set[str]] = {}
    for folder in folders:
        environment = read_json(folder / ENVIRONMENT) or {}
        # A run on the CPU of a machine with a GPU has the GPU in its environment too.
        gpu = None if device == "cpu" else environment.get("gpu")
        jiwer = environment.get("version.jiwer")
        run, paths = read_run(folder), read_json(folder / PATHS) or {}
        found = {
            "data": run["data_digest"],
            "hardware": gpu or environment.get("cpu"),
            "metric": jiwer and f"jiwer {jiwer}",
            **{f"costs.{operation}": path for operation, path in paths.items()},
            "costs.ranks": run["num_ranks"],
        }
        for key, value in found.items():
            if value:
                facts.setdefault(key, set()).add(str(value))
    recorded = {key: SEPARATOR.join(sorted(values)) for key, values in facts.items()}
    if definition is None:
        return recorded
    budget = flatten(to_dict(definition.budget))
    return recorded | {
        "text": definition.text_digest,
        "decoder": "greedy",
        "precision": "bfloat16 autocast" if device == "cuda" else "float32",
        "features": str(definition.features_version),
        **{f"budget.{k}": str(v) for k, v in budget.items() if k not in ("name", "summary")},
    }


def _scored(path: Path, read: Transcripts) -> ScoredSystem:
    """Transcripts of another recogniser, normalised and scored like those of this project.

    Symbols outside the alphabet, such as accents and digits, are compared as written.
    """
    texts = read.texts
    notes = [NORMALISED]
    if not all(text.speaker for text in texts.values()):
        notes.append(
            f"{path.stem}: not every utterance has a speaker; those of other systems are used, or "
            "else the utterance counts as one"
        )
    scores = score(
        ids=texts,
        refs=[text.ref for text in texts.values()],
        hyps=[text.hyp for text in texts.values()],
        speakers=[text.speaker for text in texts.values()],
        seconds=[text.seconds for text in texts.values()],
    )
    run = frame_of(scores)
    if any(text.written != text.ref for text in texts.values()):
        run[WRITTEN] = [text.written for text in texts.values()]
    return ScoredSystem(
        scored=SystemRuns(name=path.stem, runs=(run,)),
        facts={"text": text_digest(), "metric": f"jiwer {version('jiwer')}"},
        notes=tuple(notes),
        warnings=(*read.warnings, *_unknown_symbols(path, run)),
        file=path,
        unpaired=read.unpaired,
        attributes={id: text.attributes for id, text in texts.items() if text.attributes},
    )


def _unknown_symbols(path: Path, run: pd.DataFrame) -> Iterator[str]:
    """A sentence on the symbols of texts that are outside the alphabet, if any."""
    found = []
    for what, column in (("references", "ref"), ("hypotheses", "hyp")):
        if counts := count_unknown_symbols(run[column]).most_common():
            shown = [f"{symbol!r} {count}" for symbol, count in counts]
            found.append(f"in {what} {some(shown, SHOWN_SYMBOLS)}")
    if found:
        yield f"{path}: symbols outside the alphabet count as they are written: {'; '.join(found)}"
