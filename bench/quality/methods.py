"""The methods that are compared, one line each.

A method gets a Query and returns the rows that it picks, in order, with the CPU
seconds that it took. Ours is `worker select`: a process for each query, which
reads the files that a user would give it. The others are scikit-activeml's, with
its defaults and the probe that everybody shares, fitted beforehand.
"""

import importlib
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


@dataclass(frozen=True)
class Ours:
    name: str  # in the report
    arguments: tuple  # of worker select
    cold_only = False

    def __call__(self, q: Query):
        labeled = np.flatnonzero(~np.isnan(q.labels))
        two = np.partition(q.probabilities, -2, axis=1)[:, -2:]
        np.save(q.folder / "scores.npy", 1 - (two[:, 1] - two[:, 0]))
        np.save(q.folder / "probs.npy", q.probabilities)
        (q.folder / "labeled.txt").write_text("".join(f"{row}\n" for row in labeled))
        command = [os.environ["WORKER"], "select", "--embeddings", "embeddings.npy", "--scores", "scores.npy",
                   "--batch", str(q.batch), "--seed", str(q.seed), "--method", *self.arguments]
        if len(labeled):
            command += ["--preselected", "labeled.txt"]
        environment = {**os.environ, "GOMAXPROCS": "1"}
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            process = subprocess.Popen(command, cwd=q.folder, stdout=out, stderr=err, env=environment)
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            out.seek(0), err.seek(0)
            if process.returncode:
                raise RuntimeError(err.read().decode().strip())
            return np.array(out.read().split(), dtype=int), used.ru_utime + used.ru_stime


@dataclass(frozen=True)
class Theirs:
    name: str
    strategy: str  # class of skactiveml.pool
    options: dict = field(default_factory=dict, hash=False)
    uses_probe: bool = False
    cold_only: bool = False

    def __call__(self, q: Query):
        strategy = getattr(importlib.import_module("skactiveml.pool"), self.strategy)(random_state=q.seed, **self.options)
        probe = {"clf": q.probe, "fit_clf": False} if self.uses_probe else {}
        start = time.process_time()
        rows = strategy.query(q.x, q.labels, batch_size=q.batch, **probe)
        return np.asarray(rows), time.process_time() - start


RANDOM = "random"
METHODS = [
    Ours(RANDOM, ("RANDOM",)),
    Ours("uherding", ("UHERDING",)),
    Ours("herding", ("HERDING",)),
    Ours("margin", ("ACTIVE_LEARNING",)),
    Ours("coreset", ("CORESET",)),
    Ours("coral", ("CORAL",)),
    Ours("coral capped", ("CORAL", "--distance-cap", "auto")),
    Ours("typiclust", ("TYPICLUST",)),
    Ours("badge", ("BADGE", "--probs", "probs.npy")),
    Ours("power", ("POWER",)),
    Ours("filter cluster", ("FILTER_CLUSTER",)),
    Ours("typicality", ("TYPICALITY",)),
    Theirs("sk margin", "UncertaintySampling", {"method": "margin_sampling"}, uses_probe=True),
    Theirs("sk CoreSet", "CoreSet"),
    Theirs("sk DropQuery", "DropQuery", uses_probe=True),
    Theirs("sk TypiClust", "TypiClust"),
    Theirs("sk Badge", "Badge", uses_probe=True),
    Theirs("sk MaxHerding", "MaxHerding", cold_only=True),
    Theirs("sk MaxHerding γ=1", "MaxHerding", {"metric_dict": {"gamma": 1.0}}, cold_only=True),
]
