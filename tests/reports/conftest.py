"""A study that never was: two systems, eight trials and three seeds each, believable curves."""

import io
import math
import random
from collections.abc import Callable
from itertools import starmap
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile

from reports.columns import COLUMNS
from reports.input import (
    BudgetSummary,
    Condition,
    ConfigValue,
    CorpusSummary,
    Letter,
    MethodConstants,
    ReportInput,
    Sample,
    SearchRange,
    SplitSummary,
    StudyDesign,
)  # fmt: skip

MakeInput = Callable[..., ReportInput]
SENTENCES = (
    "please open the small window in the kitchen",
    "the old man walks to the river every morning",
    "turn off the lights before you leave",
    "my sister bought seven green apples",
    "it rains in april",
    "we will meet at the station at nine",
    "nobody knows why the dog barked",
    "read the second letter aloud",
    "the train to the north is late again",
    "a cup of tea would be lovely",
)
WATCH = (
    "i am a human saying human things",
    "she sells warm bread on sundays",
    "don't forget the blue umbrella",
)
VALUES = (
    ConfigValue(
        key="optim.learning_rate", value="0.002", layer="trial", source="the best trial",
        searched="0.0005 to 0.008, log",
    ),
    ConfigValue(
        key="model.width", value="64", layer="flag", source="--set", searched="",
    ),
)  # fmt: skip
SPACE = {
    "optim.learning_rate": SearchRange(low=5e-4, high=8e-3, log=True),
    "model.dropout": SearchRange(low=0.0, high=0.3),
    "optim.weight_decay": SearchRange(low=1e-3, high=0.1, log=True),
    "features.num_bins": SearchRange(choices=(40, 64, 80)),
}
FACTS = {
    "data": "9d0c6a2f31b84e57", "text": "42518e431cead40a", "decoder": "greedy",
    "budget.num_trials": "8", "budget.num_seeds": "3", "precision": "float32",
    "hardware": "AMD EPYC 7B13", "costs.recurrence": "kernel.c, AVX2", "costs.ranks": "1",
    "metric": "jiwer 4.0.0", "features": "1", "code": "ddeef36b2f0a",
}  # fmt: skip
METHOD = MethodConstants(
    level=0.95, alpha=0.05, power=0.8, margin=0.02, num_replicates=10_000, fewest_linearised=10
)
CONDITIONS = tuple(
    Condition(title, "good", "as it should be")
    for title in ("Data digest", "Text normalisation", "Budget", "Training not cut short")
)
SPLITS = (
    ("train", 1040, 32, 2711.0), ("valid", 96, 6, 251.3), ("test", 48, 6, 120.9),
    ("watch", 3, 1, 7.4),
)  # fmt: skip
STATES = ("finished", "pruned", "finished", "diverged", "finished", "pruned", "failed", "finished")
SKILL = {"ds-gru": 0.11, "ds-lstm": 0.16}


def heard(text: str, error: float, rng: random.Random) -> str:
    """`text` with a share `error` of its letters lost, doubled or mistaken."""
    letters = []
    for letter in text:
        luck = rng.random()
        if luck > error:
            letters.append(letter)
        elif luck < 0.4 * error:
            letters.append(rng.choice("aeiost"))
        elif luck < 0.5 * error:
            letters.append(letter + rng.choice("aen "))
    return " ".join("".join(letters).split())


def sample(id: str, systems: tuple[str, ...]) -> Sample:
    """A second and a half of a tone."""
    sound = io.BytesIO()
    tone = 0.1 * np.sin(np.arange(24_000) / 10)
    soundfile.write(sound, tone, 16_000, format="FLAC", subtype="PCM_16")
    letters = (Letter("h", 0.3, 0.9), Letter(" ", 0.75, 0.8), Letter("i", 1.2, 0.3))
    return Sample(
        id=id,
        speaker="voice-1",
        ref="h i",
        seconds=1.5,
        flac=sound.getvalue(),
        spectrogram=np.arange(40 * 150, dtype=np.uint16).astype(np.uint8).reshape(40, 150),
        letters=dict.fromkeys(systems, letters),
    )


def split(name: str, num_utterances: int, num_speakers: int, seconds: float) -> SplitSummary:
    return SplitSummary(
        split=name, num_utterances=num_utterances, num_speakers=num_speakers, seconds=seconds
    )


def budget(name: str, num_trials: int, num_seeds: int) -> BudgetSummary:
    settings = {
        "name": name,
        "num_trials": num_trials,
        "num_epochs": 12,
        "max_train_seconds": 600.0,
        "num_seeds": num_seeds,
    }
    return BudgetSummary(
        name=name,
        num_trials=num_trials,
        num_seeds=num_seeds,
        max_train_seconds=600.0,
        settings=settings,
    )


class Study:
    """Rows of the tables, filled run by run."""

    def __init__(self, seed: int, num_utterances: int) -> None:
        self.num_utterances = num_utterances
        self.rng = random.Random(seed)
        self.rows: dict[str, list[dict[str, Any]]] = {name: [] for name in COLUMNS}

    def add_run(
        self, system: str, kind: str, slot: int, state: str, num_epochs: int, skill: float
    ) -> None:
        run = f"{system}/{kind}-{slot:03d}" if kind == "trial" else f"{system}/{kind}-{slot}"
        seed = 1000 * (kind == "confirm") + 7 * slot + 1
        wers = self.add_curves(run, num_epochs, skill) if num_epochs else []
        if state == "diverged":
            self.add_points(run, "train/loss", [(num_epochs, math.nan)])
        confirmed = kind == "confirm" and state == "finished"
        for text in WATCH if num_epochs else ():
            for epoch in range(1, num_epochs + 1):
                error = skill / 2 + 0.95 * math.exp(-epoch / 3)
                row = {
                    "run": run,
                    "system": system,
                    "kind": kind,
                    "seed": seed,
                    "id": f"watch-{WATCH.index(text)}",
                }
                self.rows["watch"].append(
                    row
                    | {
                        "epoch": epoch,
                        "step": 40 * epoch,
                        "ref": text,
                        "hyp": heard(text, error, self.rng),
                    }
                )
        errors = self.add_utterances(run, system, seed, skill) if confirmed else math.nan
        params = {
            "optim.learning_rate": 0.0078 if slot == 4 else 5e-4 * 16 ** self.rng.random(),
            "model.dropout": round(0.3 * self.rng.random(), 3),
            "optim.weight_decay": 1e-3 * 100 ** self.rng.random(),
            "features.num_bins": self.rng.choice([40, 64, 80]),
        }
        self.rows["runs"].append(
            {
                "run": run,
                "system": system,
                "kind": kind,
                "slot": slot,
                "attempt": 0,
                "seed": seed,
                "state": state,
                "valid_wer": min(wers, default=math.nan),
                "test_wer": errors,
                "test_cer": errors / 2.6,
                "best_epoch": wers.index(min(wers)) + 1 if wers else math.nan,
                "num_epochs": num_epochs or math.nan,
                "train_seconds": 31.7 * num_epochs or math.nan,
                "params": params,
                "mlflow_run_id": f"{self.rng.getrandbits(128):032x}",
                "message": "RuntimeError: not enough memory" if state == "failed" else "",
                "num_test_openings": 1.0 if confirmed else math.nan,
            }
        )

    def add_curves(self, run: str, num_epochs: int, skill: float) -> list[float]:
        wers = []
        for epoch in range(1, num_epochs + 1):
            left = math.exp(-epoch / 2.5)
            wer = skill + (1 - skill) * left + self.rng.gauss(0, 0.012)
            wers.append(wer)
            points = {
                "valid/wer": wer,
                "valid/cer": wer / 2.5,
                "valid/loss": 9 + 130 * left + self.rng.gauss(0, 1),
                "train/grad_norm": 3 + 20 * left + self.rng.random(),
            }
            for metric, value in points.items():
                self.add_points(run, metric, [(epoch, value)])
            self.add_points(
                run, "train/loss", [(epoch - 0.5, 12 + 150 * left), (epoch, 8 + 110 * left)]
            )
        return wers

    def add_points(self, run: str, metric: str, points: list[tuple[float, float]]) -> None:
        self.rows["curves"] += [
            {"run": run, "metric": metric, "step": int(40 * e), "epoch": e, "value": v}
            | {"seconds": 31.7 * e, "audio_hours": 0.75 * e}
            for e, v in points
        ]

    def add_utterances(self, run: str, system: str, seed: int, skill: float) -> float:
        for number in range(self.num_utterances):
            ref = SENTENCES[number % len(SENTENCES)]
            hyp = heard(ref, skill / 2.5, random.Random(f"{seed}{system}{number}"))
            pairs = list(zip(ref.split(), hyp.split(), strict=False))
            row = {"run": run, "system": system, "seed": seed, "id": f"test-{number:03d}"}
            self.rows["utterances"].append(
                row
                | {
                    "speaker": f"voice-{number % 6}",
                    "seconds": 0.31 * len(ref.split()),
                    "num_ref_words": len(ref.split()),
                    "substitutions": sum(a != b for a, b in pairs),
                    "deletions": max(0, len(ref.split()) - len(hyp.split())),
                    "insertions": max(0, len(hyp.split()) - len(ref.split())),
                    "ref": ref,
                    "hyp": hyp,
                }
            )
        return skill + self.rng.gauss(0, 0.008)

    def system_row(self, system: str) -> dict[str, Any]:
        own = [row for row in self.rows["runs"] if row["system"] == system]
        wers = [row["test_wer"] for row in own if not math.isnan(row["test_wer"])]
        mean = sum(wers) / len(wers) if wers else math.nan
        trials = [row for row in own if row["kind"] == "trial"]
        return {
            "system": system,
            "summary": f"one convolution, three {system[3:].upper()} layers",
            "source": "",
            "wer_mean": mean,
            "wer_low": mean - 0.014,
            "wer_high": mean + 0.016,
            "cer_mean": mean / 2.6,
            "num_parameters": 1_214_557.0 if wers else math.nan,
            "macs_per_second_of_audio": 5.31e7,
            "audio_seconds_per_second": 213.0,
            "train_seconds": 380.0,
            "search_seconds": 1893.0,
            "peak_memory_bytes": 3.1e8,
            "real_time_factor": math.nan,
            "se_from_seeds": 0.004 if wers else math.nan,
            "se_from_test_set": 0.007 if wers else math.nan,
            "se_from_interaction": 0.001 if wers else math.nan,
            "num_trials": len(trials),
            "num_seeds": len(wers),
            "pareto_optimal": bool(wers) and system == "ds-gru",
            **{
                f"num_{state}": sum(t["state"] == state for t in trials)
                for state in {*STATES, "cut"}
            },
        }

    def add_search(self, system: str) -> None:
        """The search's table, and the trade-off by parameters and training time."""
        trials = [r for r in self.rows["runs"] if (r["system"], r["kind"]) == (system, "trial")]
        spent, best = 0.0, math.nan
        for number, trial in enumerate(trials, start=1):
            spent += 0.0 if math.isnan(trial["train_seconds"]) else trial["train_seconds"]
            if trial["state"] == "finished":
                best = min(trial["valid_wer"], best if best == best else math.inf)
            self.rows["budget_curves"].append(
                {"system": system, "num_trials": number, "train_seconds": spent}
                | {"best_valid_wer": best}
            )
        self.rows["expected_best"] += [
            {"system": system, "num_trials": n, "valid_wer": 0.3 - 0.02 * n} for n in (1, 2)
        ]
        self.rows["importances"] += [
            {"system": system, "key": "model.dropout", "importance": 0.75},
            {"system": system, "key": "optim.learning_rate", "importance": 0.25},
        ]

    def tables(self) -> dict[str, pd.DataFrame]:
        tables = {
            name: pd.DataFrame(rows, columns=list(COLUMNS[name]))
            for name, rows in self.rows.items()
        }
        numbers = ("valid_wer", "test_wer", "test_cer", "best_epoch", "num_epochs", "train_seconds",
                   "num_test_openings")  # fmt: skip
        return tables | {"runs": tables["runs"].astype(dict.fromkeys(numbers, float))}


def make_input(
    *,
    systems: tuple[str, ...] = ("ds-gru", "ds-lstm"),
    state: str = "",
    num_trials: int = 8,
    num_seeds: int = 3,
    num_utterances: int = 48,
    seed: int = 0,
    **replaced: Any,
) -> ReportInput:
    """A study of `systems`; `state` is the end of every trial; `replaced` are fields."""
    study = Study(seed, num_utterances)
    for system in systems:
        skill = SKILL.get(system, 0.2)
        for slot in range(num_trials):
            ended = state or STATES[slot % len(STATES)]
            num_epochs = {"finished": 12, "pruned": 5, "diverged": 3}.get(ended, 0)
            study.add_run(
                system, "trial", slot, ended, num_epochs, skill + 0.02 * ((3 * slot + 3) % 7)
            )
        for slot in range(num_seeds):
            study.add_run(system, "confirm", slot, "finished", 12 - slot % 2, skill)
        study.rows["systems"].append(study.system_row(system))
        if num_trials:
            study.add_search(system)
        if num_seeds:
            study.rows["tradeoffs"] += [
                {
                    "cost": cost,
                    "system": system,
                    "value": value,
                    "pareto_optimal": system == "ds-gru",
                }
                | {"reference_wer": 0.2, "reference_cost": 1.5 * value, "hypervolume": 0.3}
                for cost, value in (("num_parameters", 1_214_557.0), ("train_seconds", 380.0))
            ]
    if len(systems) == 2 and num_seeds:
        study.rows["groups"] += [
            {"attribute": "gender", "group": group, "system": system, "wer": wer}
            | {"low": wer - 0.03, "high": wer + 0.04, "num_utterances": 24}
            | {"num_speakers": 3, "num_ref_words": 180}
            for group, wer in (("f", 0.12), ("m", 0.14))
            for system in systems
        ]
        study.rows["gains"].append(
            {"attribute": "gender", "group": "f", "a": systems[0], "b": systems[1]}
            | {"delta_inside": 0.06, "delta_outside": 0.04, "low": -0.03, "high": 0.07}
            | {"coverage": 0.95, "p_adjusted": 0.4, "differs": False}
        )
        study.rows["pairs"].append(
            {
                "a": systems[0],
                "b": systems[1],
                "claim": False,
                "delta_wer": 0.051,
                "low": 0.036,
                "high": 0.066,
                "coverage": 0.95,
                "p": 0.0004,
                "p_adjusted": 0.0004,
                "probability_of_improvement": 0.987,
                "margin": 0.02,
                "remedy": "",
                "minimum_detectable_effect": 0.031,
                "share_seeds": 0.25,
                "share_test_set": 0.7,
                "share_interaction": 0.05,
                "mapsswe_p": 0.0002,
                "mcnemar_p": 0.021,
                "wilcoxon_p": 0.03125,
                "verdict": f"{systems[0]} better",
            }
        )
    fields: dict[str, Any] = {
        "study": "ds-gru+ds-lstm-spoken-quick-4f2a",
        "verdict": "ds-gru is better: it has a test WER of 11.0 % (95 % interval 9.6 to 12.6, "
        "3 seeds), below ds-lstm (5.1 points, 95 % interval 3.6 to 6.6).",
        "command": "python -m bench.sweep --variant ds-gru --variant ds-lstm --corpus spoken "
        "--budget quick --seed 0",
        "corpus": CorpusSummary(
            name="spoken",
            digest="9d0c6a2f31b84e57",
            notes=("Synthesised with eSpeak NG 1.52.0.",),
            leakage={},
            excluded={"shorter than its text allows": 2},
            splits=tuple(starmap(split, SPLITS)),
        ),
        "budget": budget("quick", num_trials, num_seeds),
        "environment": {
            "python": "3.11.7",
            "platform": "Linux-6.1-x86_64",
            "cpu": "AMD EPYC 7B13",
            "cpu_cores": "2",
            "version.torch": "2.14.1+cpu",
            "version.mlflow": "3.17.2",
            "version.optuna": "5.0.0",
            "git.commit": "ddeef36b2f0a",
            "git.dirty": "no",
            "digest.data": "9d0c6a2f31b84e57",
            "digest.spaces": "77ab01c2d3e4f566",
        },
        "tracking_uri": "sqlite:///mlflow.db",
        "design": StudyDesign(method=METHOD),
        "samples": (sample("test-000", systems),) if num_seeds else (),
        "configs": {
            name: {"variant": name, "model.cell": name[3:], "model.dropout": 0.1 + place / 10}
            for place, name in enumerate(systems)
        },
        "values": dict.fromkeys(systems, VALUES),
        "conditions": CONDITIONS,
        "train_words": {word: 3 for sentence in SENTENCES[:-1] for word in sentence.split()},
        "spaces": dict.fromkeys(systems, SPACE),
        "winners": {} if state or not num_trials else dict.fromkeys(systems, 0),
    }
    return ReportInput(**{**fields, **study.tables(), **replaced})


@pytest.fixture(name="make_input", scope="session")
def make_input_fixture() -> MakeInput:
    return make_input


@pytest.fixture(scope="session")
def study() -> ReportInput:
    return make_input()
