"""Runs what is missing in the cache: every method, scenario and seed.

    python run.py --worker ../../bin/worker --jobs 2
    python run.py --worker ../../bin/worker --methods '^coral' --scenarios 'tail-cold' --again
"""

import argparse
import itertools
import json
import multiprocessing
import os
import pathlib
import platform
import re
import statistics
import tempfile
import time
import warnings
from dataclasses import dataclass
from importlib.metadata import version

# One core for each run, whatever library does the work.
os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")

import numpy as np
from sklearn.linear_model import LogisticRegression
from skactiveml.classifier import SklearnClassifier

import data
import stats
from methods import METHODS, Query

warnings.filterwarnings("ignore", module="skactiveml")  # that nothing is labeled yet: its probabilities are uniform then
PROTOCOL = 1  # raise it when a change below makes kept runs worthless
C = 0.3  # of the probe: best of seven on Fashion-MNIST's sources, outside pools and tests
RUNS = data.CACHE / f"runs-{PROTOCOL}"


@dataclass(frozen=True)
class Scenario:
    data: str
    embedding: str
    shape: str
    start: int  # random labels that everybody starts with
    batch: int
    rounds: int
    regime: str  # cold, warm, or one of the studies of fewer methods

    @property
    def name(self):
        return f"{self.data}-{self.embedding}-{self.shape}-{self.regime}"


def scenarios():
    for name, kind, shape in itertools.product(("fashion", "mnist"), ("pca", "net"), ("balanced", "tail", "redundant")):
        yield Scenario(name, kind, shape, 0, 20, 10, "cold")
        yield Scenario(name, kind, shape, 100, 100, 8, "warm")
    for shape in ("balanced", "redundant"):
        yield Scenario("digits", "pca", shape, 0, 10, 10, "cold")
        yield Scenario("digits", "pca", shape, 50, 25, 8, "warm")
    for name, kind in itertools.product(("fashion", "mnist"), ("pca", "net")):
        yield Scenario(name, kind, "balanced", 100, 100, 19, "long")
    for name in ("fashion60k", "mnist60k"):
        yield Scenario(name, "pca", "tail", 0, 20, 10, "wide")
        for shape in ("tail", "redundant"):
            yield Scenario(name, "pca", shape, 100, 100, 19, "long")
    for name, shape in itertools.product(("fashion", "mnist"), ("balanced", "tail", "redundant")):
        yield Scenario(name, "raw", shape, 0, 20, 10, "raw")


def probe(x, labels):
    estimator = LogisticRegression(C=C, max_iter=1000, tol=1e-3)
    return SklearnClassifier(estimator, classes=range(10), random_state=0).fit(x, labels)


def run(scenario, method, seed):
    """One learning curve: correct answers in the test set after each batch, and what each query cost."""
    p = data.pool(scenario.data, scenario.embedding, scenario.shape, seed)
    labels = np.full(len(p.x), np.nan)
    start = np.random.default_rng([seed, 4]).permutation(len(p.x))[: scenario.start]
    labels[start] = p.y[start]
    result = {"tests": len(p.test_y), "labels": [], "correct": [], "seconds": []}
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        np.save(folder / "embeddings.npy", p.x)
        fitted = probe(p.x, labels)
        for n in range(scenario.rounds):
            q = Query(p.x, labels.copy(), fitted, fitted.predict_proba(p.x), scenario.batch, 1000 * seed + n, folder)
            picks, seconds = method(q)
            fresh = picks[np.isnan(labels[picks])]
            if len(np.unique(fresh)) != scenario.batch or len(picks) != scenario.batch:
                raise RuntimeError(f"{len(picks)} picks, {len(np.unique(fresh))} of them new, want {scenario.batch}")
            labels[picks] = p.y[picks]
            fitted = probe(p.x, labels)
            result["labels"].append(int((~np.isnan(labels)).sum()))
            result["correct"].append(int((fitted.predict(p.test) == p.test_y).sum()))
            result["seconds"].append(round(seconds, 4))
    return result


def path(scenario, method, seed):
    return RUNS / scenario.name / method.name / f"{seed}.json"


def keep(task):
    scenario, method, seed = task
    began = time.perf_counter()
    try:
        result = run(scenario, method, seed)
    except Exception as e:
        return f"{scenario.name} {method.name} {seed}: {type(e).__name__}: {e}"
    target = path(*task)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(f".{os.getpid()}")
    part.write_text(json.dumps(result))
    part.rename(target)
    return f"{scenario.name} {method.name} {seed}: {time.perf_counter() - began:.1f} s"


def machine():
    names = [line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")]
    return f"{names[0] if names else 'unknown CPU'}, {os.cpu_count()} cores"


def collect(seeds):
    """Puts the runs of the cache with so many seeds into the one file that the report is made from."""
    rows = []
    for task in ((s, m, seed) for s in scenarios() for m in METHODS for seed in range(seeds * m.more)):
        if path(*task).exists():
            r = json.loads(path(*task).read_text())
            rows.append({"scenario": task[0].name, "method": task[1].name, "seed": task[2], "tests": r["tests"], "labels": " ".join(map(str, r["labels"])),
                         "correct": " ".join(map(str, r["correct"])), "seconds": round(statistics.median(r["seconds"]), 4)})
    about = {"machine": machine(), "python": platform.python_version(), "c": C, **{p: version(p) for p in ("scikit-activeml", "scikit-learn", "numpy", "onnxruntime")}}
    stats.write(data.HERE / "results.csv.gz", about, rows)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--worker", required=True, help="the program to measure")
    arguments.add_argument("--methods", default="", help="only those whose name matches")
    arguments.add_argument("--scenarios", default="", help="only those whose name matches")
    arguments.add_argument("--seeds", type=int, default=10)
    arguments.add_argument("--again", action="store_true", help="also what is kept, as after a change of the worker")
    arguments.add_argument("--jobs", type=int, default=2, help="runs at a time, one core each")
    a = arguments.parse_args()
    os.environ["WORKER"] = str(pathlib.Path(a.worker).resolve(strict=True))
    data.CACHE.mkdir(exist_ok=True)
    chosen = [s for s in scenarios() if re.search(a.scenarios, s.name)]
    for s in chosen:
        data.embed(s.data, s.embedding)  # by one process, before many want it
    tasks = [(s, m, seed) for m in METHODS if re.search(a.methods, m.name) for seed in range(a.seeds * m.more) for s in chosen
             if re.search(m.scenarios, s.name) and (a.again or not path(s, m, seed).exists())]
    failed = 0
    try:
        with multiprocessing.get_context("spawn").Pool(a.jobs) as workers:
            for n, line in enumerate(workers.imap_unordered(keep, tasks), 1):
                print(f"{n}/{len(tasks)} {line}", flush=True)
                failed += not line.endswith(" s")
    finally:
        collect(a.seeds)
    if failed:
        raise SystemExit(f"{failed} of {len(tasks)} runs failed; the same command tries them again")


if __name__ == "__main__":
    main()
