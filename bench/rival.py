"""What people use today, timed on command.

Reads one JSON object a line from stdin and answers each with one line:
{"seconds": time taken, "done": units of work done in it}, or {"error": text}.
Long work is done in stretches, each of which goes on where the last stopped.
"""

import json
import sys
import time

import numpy as np


class Rival:
    def load(self, path, **_):
        self.x = np.load(path)  # in memory: faster for numpy than a mapping
        self.norm2 = self.weight = None
        return 1

    def prepare(self):
        """Squared norms and infinite distances; part of no measurement."""
        if self.norm2 is None:
            self.norm2 = np.einsum("ij,ij->i", self.x, self.x)
            self.nearest2 = np.full(len(self.x), np.inf, dtype=np.float32)
            self.center = 0

    def kcenter(self, seconds, units, weighted=False):
        """Farthest-first, one pass over the data for each center."""
        x, norm2, md, c = self.x, self.norm2, self.nearest2, self.center
        start, done = time.perf_counter(), 0
        while done < units and (done < 8 or time.perf_counter() - start < seconds):
            md = np.minimum(md, norm2 + norm2[c] - 2 * (x @ x[c]))
            c = int((self.weight * md).argmax() if weighted else md.argmax())
            done += 1
        self.nearest2, self.center = md, c
        return done

    def coral(self, seconds, units):
        """The same with squared distances weighted by squared scores."""
        return self.kcenter(seconds, units, weighted=True)

    def preselected(self, seconds, units, block=1024, chunk=2048):
        """Distances to centers that are given, as matrix products that stay in cache."""
        x, norm2, md = self.x, self.norm2, self.nearest2
        product = np.empty((chunk, block), dtype=np.float32)
        start, done = time.perf_counter(), 0
        while done < units and (done == 0 or time.perf_counter() - start < seconds):
            block = min(block, units - done)
            centers = -2 * x[done : done + block].T
            center2 = norm2[done : done + block]
            for i in range(0, len(x), chunk):
                rows = x[i : i + chunk]
                p = np.matmul(rows, centers, out=product[: len(rows), :block])
                p += center2
                near = p.min(axis=1) + norm2[i : i + chunk]
                np.minimum(md[i : i + chunk], near, out=md[i : i + chunk])
            done += block
        return done

    def scores(self, seconds, units):
        """Least confidence, margin and entropy of every row, from 0 to 1."""
        p = self.x
        classes = p.shape[1]
        least = 1 - p.max(axis=1)
        two = np.partition(p, -2, axis=1)[:, -2:]
        margin = 1 - (two[:, 1] - two[:, 0])
        log = np.log2(p, where=p > 0, out=np.zeros_like(p))
        entropy = -(p * log).sum(axis=1)
        for raw, most in ((least, 1 - 1 / classes), (margin, 1), (entropy, np.log2(classes))):
            np.interp(np.nan_to_num(raw), [0, most], [0, 1])
        return units

    def mundig(self, seconds, units):
        """The engine of Lightly; only the run is timed by the caller."""
        from lightly_mundig import Selection

        s = Selection()
        s.add_diversifying_strategy(self.x, 1.0)
        self.start = time.perf_counter()
        return len(s.run_selection([], len(self.x), units))

    def skactiveml(self, seconds, units):
        """CoreSet of scikit-activeml."""
        from skactiveml.pool import CoreSet

        labels = np.full(len(self.x), np.nan)
        self.start = time.perf_counter()
        return len(CoreSet(random_state=0).query(self.x, labels, batch_size=units))

    def maxherding(self, seconds, units):
        """MaxHerding of scikit-activeml, which holds the kernel of all pairs."""
        from skactiveml.pool import MaxHerding

        labels = np.full(len(self.x), np.nan)
        self.start = time.perf_counter()
        return len(MaxHerding(random_state=0).query(self.x, labels, batch_size=units))

    def answer(self, op, **arguments):
        if op == "load":
            return {"seconds": 0, "done": self.load(**arguments)}
        if op in ("kcenter", "coral", "preselected"):
            self.prepare()
        if op == "coral" and self.weight is None:
            self.weight = np.random.default_rng(4).random(len(self.x), dtype=np.float32) ** 2
        self.start = time.perf_counter()
        done = getattr(self, op)(**arguments)
        return {"seconds": time.perf_counter() - self.start, "done": done}


def main():
    rival = Rival()
    for line in sys.stdin:
        try:
            answer = rival.answer(**json.loads(line))
        except (Exception, MemoryError) as e:
            answer = {"error": f"{type(e).__name__}: {e}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
