"""The methods that are compared, one line each.

A method gets a Query and returns the rows that it picks, in order, with the CPU
seconds that it took. Ours is `worker select`: a process for each query, which
reads the files that a user would give it. The others are scikit-activeml's, with
its defaults and the probe that everybody shares, fitted beforehand.
"""

import importlib
import json
import os
import pathlib
import subprocess
import tempfile
import time
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass
class Query:
    x: NDArray[np.float32]  # embeddings of the pool
    labels: NDArray[np.float64]  # classes, NaN where nobody has labeled yet
    probe: object  # fitted SklearnClassifier
    probabilities: NDArray[np.float64]  # of the pool, by the probe; uniform before the first label
    batch: int
    seed: int
    folder: pathlib.Path  # of this run, holds embeddings.npy


MAIN = "-(cold|warm)$"
LONG = "-(cold|warm|long)$"
WIDE = "-(cold|warm|long|wide|raw)$"
LENGTHS = "-(cold|warm|raw)$"
AUTO = 0.7  # share of the fair-share radius that --distance-cap auto is


@dataclass(frozen=True)
class Ours:
    name: str  # in the report
    arguments: tuple  # of worker select
    scenarios: str = MAIN  # those whose name matches
    more: int = 1  # times as many seeds as the others have

    def __call__(self, q: Query):
        labeled = np.flatnonzero(~np.isnan(q.labels))
        two = np.partition(q.probabilities, -2, axis=1)[:, -2:]
        np.save(q.folder / "scores.npy", 1 - (two[:, 1] - two[:, 0]))
        np.save(q.folder / "probs.npy", q.probabilities)
        (q.folder / "labeled.txt").write_text("".join(f"{row}\n" for row in labeled))
        out, seconds = self.select(q, *(("--preselected", "labeled.txt") if len(labeled) else ()))
        return np.array(out.split(), dtype=int), seconds

    def select(self, q, *more):
        command = [os.environ["WORKER"], "select", "--embeddings", "embeddings.npy", "--scores", "scores.npy",
                   "--batch", str(q.batch), "--seed", str(q.seed), "--method", *self.arguments, *more]
        environment = {**os.environ, "GOMAXPROCS": "1"}
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            process = subprocess.Popen(command, cwd=q.folder, stdout=out, stderr=err, env=environment)
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            out.seek(0), err.seek(0)
            if process.returncode:
                raise RuntimeError(err.read().decode().strip())
            return out.read(), used.ru_utime + used.ru_stime


@dataclass(frozen=True)
class Capped(Ours):
    """CORAL with a cap of so many fair-share radii, which the cap that auto chooses tells."""

    radii: float = AUTO

    def select(self, q, *more):
        auto, _ = super().select(q, "--distance-cap", "auto", "--json", *more)
        cap = json.loads(auto)["parameters"]["distance_cap"] * self.radii / AUTO
        return super().select(q, "--distance-cap", str(cap), *more)


@dataclass(frozen=True)
class Theirs:
    name: str
    strategy: str  # class of skactiveml.pool
    options: dict = field(default_factory=dict, hash=False)
    uses_probe: bool = False
    scenarios: str = MAIN
    more: int = 1

    def __call__(self, q: Query):
        strategy = getattr(importlib.import_module("skactiveml.pool"), self.strategy)(random_state=q.seed, **self.options)
        probe = {"clf": q.probe, "fit_clf": False} if self.uses_probe else {}
        start = time.process_time()
        rows = strategy.query(q.x, q.labels, batch_size=q.batch, **probe)
        return np.asarray(rows), time.process_time() - start


RANDOM = "random"
METHODS = [
    Ours(RANDOM, ("RANDOM",), WIDE),
    Ours("uherding", ("UHERDING",), WIDE),
    Ours("uherding cosine", ("UHERDING", "--metric", "cosine"), LENGTHS),
    Ours("herding", ("HERDING",), LENGTHS, more=2),
    Ours("herding cosine", ("HERDING", "--metric", "cosine"), LENGTHS, more=2),
    Ours("margin", ("ACTIVE_LEARNING",)),
    Ours("coreset", ("CORESET",)),
    Ours("coral", ("CORAL",), MAIN + "|-wide$"),
    Ours("coral capped", ("CORAL", "--distance-cap", "auto"), MAIN + "|-wide$"),
    Ours("typiclust", ("TYPICLUST",)),
    Ours("badge", ("BADGE", "--probs", "probs.npy")),
    Ours("power", ("POWER",)),
    Ours("filter cluster", ("FILTER_CLUSTER",)),
    Ours("typicality", ("TYPICALITY",)),
    *(Capped(f"coral cap {radii} r", ("CORAL",), "-tail-(cold|wide)$", radii=radii) for radii in (0.35, 0.5, 1.0, 1.5)),
    Theirs("sk margin", "UncertaintySampling", {"method": "margin_sampling"}, uses_probe=True, scenarios=LONG),
    Theirs("sk CoreSet", "CoreSet", scenarios=LONG),
    Theirs("sk DropQuery", "DropQuery", uses_probe=True),
    Theirs("sk TypiClust", "TypiClust"),
    Theirs("sk Badge", "Badge", uses_probe=True, scenarios=LONG),
    Theirs("sk MaxHerding", "MaxHerding", scenarios=LENGTHS, more=2),
    Theirs("sk MaxHerding γ=1", "MaxHerding", {"metric_dict": {"gamma": 1.0}}, scenarios="-cold$", more=2),
]
