"""The statistics of the report. Only Python's own library is needed here.

A table of runs maps (scenario, method) to {seed: Run}. Methods are compared seed
by seed: the same pool, the same labels to start with, the same test set.
"""

import csv
import gzip
import io
import json
import math
from dataclasses import dataclass
from statistics import mean, median, stdev


@dataclass(frozen=True)
class Run:
    labels: list  # after each batch
    accuracy: list  # percent of the test set, after each batch
    seconds: float  # of CPU, median over the queries

    @property
    def auc(self):
        """Area under the learning curve: the mean accuracy over the rounds, in percent."""
        return mean(self.accuracy)


FIELDS = ["scenario", "method", "seed", "tests", "labels", "correct", "seconds"]


def write(path, about, rows):
    """Keeps rows of FIELDS, and what is known about how they came to be; the same input gives the same bytes."""
    text = io.StringIO()
    text.write(json.dumps(about) + "\n")
    table = csv.DictWriter(text, FIELDS, lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    with open(path, "wb") as f:
        f.write(gzip.compress(text.getvalue().encode(), mtime=0))


def read(path):
    """What is known about the runs, and the table of runs in the order of the file."""
    with gzip.open(path, "rt", encoding="utf-8", newline="") as f:
        about, runs = json.loads(f.readline()), {}
        for row in csv.DictReader(f):
            numbers = {name: [int(n) for n in row[name].split()] for name in ("labels", "correct")}
            accuracy = [100 * n / int(row["tests"]) for n in numbers["correct"]]
            runs.setdefault((row["scenario"], row["method"]), {})[int(row["seed"])] = Run(numbers["labels"], accuracy, float(row["seconds"]))
    return about, runs


def seeds(runs, names, methods):
    """The seeds that all these methods have finished in all these scenarios."""
    tables = [runs.get((name, method), {}).keys() for name in names for method in methods]
    return sorted(set.intersection(*map(set, tables))) if tables else []


def differences(runs, names, a, b):
    """AUC of a minus AUC of b for each common seed, averaged over the scenarios."""
    return [mean(runs[name, a][seed].auc - runs[name, b][seed].auc for name in names) for seed in seeds(runs, names, (a, b))]


def difference(runs, names, a, b):
    """The mean of the differences and its standard error; None with fewer than two seeds.

    The scenarios are fixed, the seeds are the sample: scenarios of one seed share
    their random choices, so each seed is averaged first and counts once.
    """
    each = differences(runs, names, a, b)
    if len(each) < 2:
        return None
    return mean(each), stdev(each) / math.sqrt(len(each))


def wins(runs, names, a, b):
    """Share of all rounds in which a is more accurate than b; a tie is half a win. None without a common run."""
    won = [(x > y) + (x == y) / 2 for name in names for seed in seeds(runs, [name], (a, b))
           for x, y in zip(runs[name, a][seed].accuracy, runs[name, b][seed].accuracy)]
    return mean(won) if won else None


def curve(runs, name, method):
    """Labels and the accuracy averaged over the seeds."""
    table = list(runs[name, method].values())
    return table[0].labels, [mean(column) for column in zip(*(run.accuracy for run in table))]


def labels_to_reach(labels, accuracy, goal):
    """Labels at which a curve first reaches the goal, between two points on the line that joins them; infinite if it never does."""
    for i, value in enumerate(accuracy):
        if value >= goal:
            if i == 0:
                return labels[0]
            return labels[i - 1] + (labels[i] - labels[i - 1]) * (goal - accuracy[i - 1]) / (value - accuracy[i - 1])
    return math.inf


def effort(runs, names, method, baseline):
    """Labels to the baseline's last accuracy as a share of the baseline's labels: the median over the scenarios, and how many never reach it."""
    shares = []
    for name in names:
        labels, accuracy = curve(runs, name, baseline)
        shares.append(labels_to_reach(*curve(runs, name, method), accuracy[-1]) / labels[-1])
    return median(shares), sum(map(math.isinf, shares))


def seconds(runs, names, method):
    """Median CPU seconds of a query."""
    return median(run.seconds for name in names for run in runs[name, method].values())
