"""Statistics against numbers worked out by hand."""

import math
import pathlib
import tempfile
import unittest

import stats
from stats import Run


def table(**methods):
    """Runs in scenario s, one list of accuracies for each seed."""
    return {("s", name): {seed: Run([10, 20], accuracy, 1.0) for seed, accuracy in enumerate(each)} for name, each in methods.items()}


class Stats(unittest.TestCase):
    def test_auc_is_the_mean_accuracy(self):
        self.assertEqual(Run([10, 20, 30], [50, 60, 85], 0).auc, 65)

    def test_difference_is_paired(self):
        runs = table(a=[[50, 60], [70, 80], [52, 62]], b=[[50, 58], [66, 80], [50, 58]])
        # 55-54 = 1, 75-73 = 2, 57-54 = 3: mean 2, deviation 1, over three seeds.
        self.assertEqual(stats.differences(runs, ["s"], "a", "b"), [1, 2, 3])
        m, se = stats.difference(runs, ["s"], "a", "b")
        self.assertAlmostEqual(m, 2)
        self.assertAlmostEqual(se, 1 / math.sqrt(3))

    def test_a_seed_counts_once_however_many_scenarios(self):
        runs = table(a=[[50], [50]], b=[[49], [47]])
        runs |= {("t", m): v for (_, m), v in table(a=[[60], [60]], b=[[57], [59]]).items()}
        # Seed 0: (1+3)/2 = 2. Seed 1: (3+1)/2 = 2.
        self.assertEqual(stats.difference(runs, ["s", "t"], "a", "b"), (2, 0))

    def test_only_common_seeds_are_compared(self):
        runs = table(a=[[50], [52], [99]], b=[[49], [49]])
        self.assertEqual(stats.difference(runs, ["s"], "a", "b")[0], 2)
        self.assertEqual(stats.wins(runs, ["s"], "a", "b"), 1)
        self.assertIsNone(stats.difference(table(a=[[1]], b=[[2]]), ["s"], "a", "b"))
        self.assertIsNone(stats.wins(table(a=[[1]]), ["s"], "a", "b"))

    def test_a_tie_is_half_a_win(self):
        runs = table(a=[[50, 60], [55, 65]], b=[[50, 59], [56, 64]])
        self.assertEqual(stats.wins(runs, ["s"], "a", "b"), (0.5 + 1 + 0 + 1) / 4)
        self.assertEqual(stats.wins(runs, ["s"], "b", "a"), (0.5 + 0 + 1 + 0) / 4)

    def test_labels_to_reach(self):
        self.assertEqual(stats.labels_to_reach([10, 20, 30], [50, 60, 70], 65), 25)
        self.assertEqual(stats.labels_to_reach([10, 20, 30], [50, 60, 70], 40), 10)
        self.assertEqual(stats.labels_to_reach([10, 20, 30], [50, 60, 55], 60), 20)
        self.assertEqual(stats.labels_to_reach([10, 20], [50, 60], 61), math.inf)

    def test_effort(self):
        runs = table(random=[[50, 60]], a=[[55, 65]], b=[[40, 59]])
        self.assertEqual(stats.effort(runs, ["s"], "a", "random"), (0.75, 0))  # 60 is reached at 15 of 20
        self.assertEqual(stats.effort(runs, ["s"], "b", "random"), (math.inf, 1))

    def test_runs_are_read_as_written(self):
        row = {"scenario": "s", "method": "γ=1", "seed": 3, "tests": 200, "labels": "10 20", "correct": "100 121", "seconds": 0.25}
        with tempfile.TemporaryDirectory() as folder:
            paths = [pathlib.Path(folder) / name for name in "ab"]
            for path in paths:
                stats.write(path, {"cpu": "x"}, [row])
            self.assertEqual(paths[0].read_bytes(), paths[1].read_bytes())
            self.assertEqual(stats.read(paths[0]), ({"cpu": "x"}, {("s", "γ=1"): {3: Run([10, 20], [50.0, 60.5], 0.25)}}))


if __name__ == "__main__":
    unittest.main()
