"""Writes docs/quality.md and its drawings from the runs that are kept in results.csv.gz.

    python report.py            # needs nothing but Python
    python report.py FOLDER     # to look at it somewhere else
"""

import math
import pathlib
import sys

import stats
from chart import chart

HERE = pathlib.Path(__file__).parent
RANDOM, BEST, CORAL, CAPPED, HERDING = "random", "uherding", "coral", "coral capped", "herding"
CAPS = "coral cap "  # begins the names of those with other caps than auto
SHAPES = ("balanced", "tail", "redundant")
SET_ASIDE = ("mnist-net", "digits-pca")
# What the drawings show: enough lines to tell apart.
DRAWN = [BEST, CAPPED, "margin", HERDING, "sk Badge", "sk TypiClust", "sk CoreSet", "sk MaxHerding γ=1"]
NAMES = {"cold": "cold", "warm": "warm", "long": "to 2,000 labels", "raw": "cold, not centered"}  # of regimes, in the targets
COSINE, RIVAL = " cosine", "sk MaxHerding"


class Part:
    """The scenarios of one regime: cold, warm, long, wide or raw."""

    def __init__(self, runs, regime):
        self.runs, self.regime = runs, regime
        self.names = list(dict.fromkeys(name for name, _ in runs if name.endswith(regime)))
        self.aside = [n for n in self.names if n.startswith(SET_ASIDE)]
        self.open = [n for n in self.names if n not in self.aside]
        self.seeds = stats.seeds(runs, self.names, [RANDOM])
        begun = dict.fromkeys(m for n, m in runs if n in self.names and not m.startswith(CAPS))
        self.methods = [m for m in begun if len(self.seeds) > 1 and stats.seeds(runs, self.names, [RANDOM, m]) == self.seeds]
        self.unfinished = [m for m in begun if m not in self.methods]

    def shaped(self, shape):
        return [n for n in self.open if f"-{shape}-" in n]


def points(value):
    if value is None or math.isnan(value[0]):
        return "–"
    m, se = value
    return f"{m:+.1f} ±{se:.1f}".replace("-", "−")


def percent(value):
    return "–" if value is None else f"{100 * value:.0f}"


def share(value):
    middle, missed = value
    text = "> 100 %" if math.isinf(middle) else f"{100 * middle:.0f} %"
    return text + (f" ({missed} never)" if missed else "")


def duration(value):
    return f"{value:.2f}" if value < 1 else f"{value:.1f}"


def table(head, rows):
    return "\n".join(["| " + " | ".join(head) + " |", "|" + " --- |" + " --: |" * (len(head) - 1)] + ["| " + " | ".join(r) + " |" for r in rows])


def bold(method):
    return f"**{method}**" if method in (BEST, CAPPED) else method


def summary(part):
    """One row for each method, best first."""
    against = lambda names, m: stats.difference(part.runs, names, m, RANDOM)
    order = sorted((m for m in part.methods if m != RANDOM), key=lambda m: -against(part.open, m)[0])
    large = [n for n in part.names if not n.startswith("digits")]
    base = stats.seconds(part.runs, large, RANDOM)
    rows = []
    for m in order:
        gross = stats.seconds(part.runs, large, m)
        net = gross if m.startswith("sk ") else max(0, gross - base)
        rows.append([bold(m), *(points(against(part.shaped(s), m)) for s in SHAPES), f"**{points(against(part.open, m))}**", points(against(part.aside, m)),
                     percent(stats.wins(part.runs, part.open, m, RANDOM)), share(stats.effort(part.runs, part.open, m, RANDOM)), f"{duration(net)} / {duration(gross)}"])
    return table(["method", *SHAPES, "mean", "set aside", "rounds won, %", "labels to random's end", "CPU s, net / gross"], rows) + unfinished(part)


def unfinished(part):
    """Names what is in no table because runs of it are missing."""
    done = lambda m: sum(len(part.runs.get((n, m), {})) for n in part.names)
    missing = ", ".join(f"{m} ({done(m)} of {len(part.names) * len(part.seeds)} runs)" for m in part.unfinished)
    return f"\n\nNot finished, so in no table: {missing}." if missing else ""


def matrix(part):
    """Who beats whom: percent of the rounds of the scenarios that were not set aside."""
    rows = [[f"{i} {m}", *("" if m == other else percent(stats.wins(part.runs, part.open, m, other)) for other in part.methods)]
            for i, m in enumerate(part.methods, 1)]
    return table(["won, % against", *(str(i) for i in range(1, len(part.methods) + 1))], rows)


def each_scenario(part):
    rows = [["random, at the end, %", *(f"{stats.curve(part.runs, n, RANDOM)[1][-1]:.1f}" for n in part.names)]]
    rows += [[bold(m), *(points(stats.difference(part.runs, [n], m, RANDOM)) for n in part.names)] for m in part.methods if m != RANDOM]
    return table(["method", *(n.removesuffix("-" + part.regime).replace("-", " ") for n in part.names)], rows)


def drawing(part):
    panels = []
    for n in part.names:
        labels, base = stats.curve(part.runs, n, RANDOM)
        curves = {m: [a - b for a, b in zip(stats.curve(part.runs, n, m)[1], base)] for m in DRAWN if m in part.methods}
        panels.append((n.removesuffix("-" + part.regime).replace("-", " ") + (" (set aside)" if n in part.aside else ""), labels, curves))
    return chart(f"Test accuracy in points above random, {part.regime} start", f"A small chart for each of {len(panels)} scenarios; a line for each method over the number of labels.",
                 panels, [(m, m.startswith("sk ")) for m in DRAWN if m in part.methods])


def share_of(truths):
    truths = list(truths)
    return sum(truths) / len(truths) if truths else None


def targets(cold, warm, long, raw):
    """Claim, goal, and what was measured on the scenarios that were open and those set aside."""
    rows = []

    def row(claim, needs, goal, holds, show, measure):
        part, *methods = needs
        if not all(m in part.methods for m in methods):
            rows.append([claim, goal, "not run", "", ""])
            return
        seen, aside = measure(part, part.open), measure(part, part.aside)
        rows.append([claim, goal, show(seen), show(aside), "met" if holds(seen) else "**missed**"])

    def ahead(part, rival, goal, names=lambda part, names: names, ours=BEST, label=""):
        row(f"{NAMES[part.regime]}{label}: {ours} minus {rival}, points", (part, ours, rival), f"≥ {goal:+g}".replace("-", "−"), lambda v: v[0] >= goal, points,
            lambda p, ns: stats.difference(p.runs, names(p, ns), ours, rival) or (math.nan, math.nan))

    of_shape = lambda shape: lambda part, names: [n for n in names if f"-{shape}-" in n]
    for rival, goal in (("sk margin", 3), ("sk Badge", 2.5), ("sk TypiClust", 1.5), ("sk CoreSet", 6)):
        ahead(cold, rival, goal)
    for part in (warm, long):
        for rival, goal in (("sk margin", 0.3), ("sk Badge", 0.4), ("sk CoreSet", 3)):
            ahead(part, rival, goal)
        ahead(part, "sk margin", 0.7, of_shape("redundant"), label=", redundant pools")
        row(f"{NAMES[part.regime]}, redundant pools: seeds in which {BEST} is ahead of sk margin, %", (part, BEST, "sk margin"), "100", lambda v: v == 1, percent,
            lambda p, ns: share_of(d > 0 for d in stats.differences(p.runs, of_shape("redundant")(p, ns), BEST, "sk margin")))
    ahead(cold, BEST, 0, of_shape("tail"), CAPPED, ", long tails")
    for rival, goal in ((RANDOM, 0.95), ("sk margin", 0.70), ("sk Badge", 0.75)):
        for part in (cold, warm, long):
            row(f"{NAMES[part.regime]}: rounds {BEST} wins against {rival}, %", (part, BEST, rival), f"≥ {100 * goal:.0f}", lambda v: v >= goal, percent,
                lambda p, ns: stats.wins(p.runs, ns, BEST, rival))
    for part in (cold, warm):
        row(f"{part.regime}: worst scenario, {BEST} minus random, points", (part, BEST), "≥ 0", lambda v: v[0] >= 0, points,
            lambda p, ns: min(stats.difference(p.runs, [n], BEST, RANDOM) for n in ns))
        row(f"{part.regime}: labels to random's last accuracy", (part, BEST), "≤ 45 %", lambda v: v[0] <= 0.45, share,
            lambda p, ns: stats.effort(p.runs, ns, BEST, RANDOM))
    row(f"cold: {HERDING} and {RIVAL} γ=1 are level, points apart", (cold, HERDING, RIVAL + " γ=1"), "± 0.2", lambda v: abs(v[0]) <= 0.2, points,
        lambda p, ns: stats.difference(p.runs, ns, HERDING, RIVAL + " γ=1"))
    for part in (cold, raw):
        for ours in (HERDING, HERDING + COSINE):
            ahead(part, RIVAL, -0.2, ours=ours)
    return table(["claim", "target", "measured", "set aside", ""], rows)


def later(part):
    """What is left of the lead when many labels are there."""
    rows = [[m, *(points(stats.difference(part.runs, ns, BEST, m)) for ns in (*map(part.shaped, SHAPES), part.aside)),
             percent(stats.wins(part.runs, part.open, BEST, m))] for m in part.methods if m != BEST]
    return table([f"{BEST} minus", *SHAPES, "set aside, balanced", "rounds won, %"], rows)


def lengths(cold, raw):
    """Herding with and without the lengths of the vectors, where they lie around the origin and where they do not."""
    of = lambda names: [n for n in names if n.split("-")[1] in ("pca", "raw")]
    columns = [(part, of(names)) for part in (cold, raw) for names in (part.open, part.shaped("tail"))]
    head = ["centered", "long tails", "not centered", "long tails"]
    against = lambda other, methods: [[m, *(points(stats.difference(p.runs, ns, m, other)) for p, ns in columns)] for m in methods]
    return (table(["minus random", *head], against(RANDOM, [BEST, BEST + COSINE, HERDING, HERDING + COSINE, RIVAL]))
            + "\n\n" + table([f"minus {RIVAL}", *head], against(RIVAL, [HERDING, HERDING + COSINE])))


def caps(cold, wide):
    """CORAL by its cap on long tails, beside uherding."""
    tails = [[n for n in cold.open if "-tail-" in n], [n for n in cold.aside if "-tail-" in n], wide.names]
    lengths = sorted({m for _, m in cold.runs if m.startswith(CAPS)}, key=lambda m: float(m.split()[2]))
    rows = []
    for m in [*lengths, CAPPED, CORAL]:
        rows.append([m] + [points(stats.difference(cold.runs, ns, m, against)) for ns in tails for against in (RANDOM, BEST)])
    of = lambda name: [f"{name}: minus random", f"minus {BEST}"]
    return table(["cap", *of("tail"), *of("set aside"), *of("larger tail")], rows)


def main(docs=HERE.parent.parent / "docs"):
    about, runs = stats.read(HERE / "results.csv.gz")
    cold, warm, long, wide, raw = (Part(runs, regime) for regime in ("cold", "warm", "long", "wide", "raw"))
    for part in (cold, warm):
        (pathlib.Path(docs) / f"quality-{part.regime}.svg").write_text(drawing(part), encoding="utf-8")
    interim = "" if len(cold.seeds) >= 10 else f"**Interim figures: {len(cold.seeds)} seeds of 10.** `make bench-quality` does the rest.\n\n"
    values = dict(about, interim=interim, seeds=len(cold.seeds), runs=sum(map(len, runs.values())), targets=targets(cold, warm, long, raw),
                  cold=summary(cold), warm=summary(warm), cold_matrix=matrix(cold), warm_matrix=matrix(warm),
                  cold_each=each_scenario(cold), warm_each=each_scenario(warm), later=later(long), lengths=lengths(cold, raw), caps=caps(cold, wide))
    text = (HERE / "quality.md.in").read_text(encoding="utf-8")
    for name, value in values.items():
        text = text.replace("{{" + name + "}}", str(value))
    if "{{" in text:
        sys.exit("quality.md.in asks for something unknown: " + text[text.index("{{") :][:40])
    (pathlib.Path(docs) / "quality.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
