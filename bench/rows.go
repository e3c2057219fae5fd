package main

import (
	"fmt"

	"nextbatch/internal/selection"
)

// A scenario is one job for us, and the rivals that do the same job.
type scenario struct {
	name   string
	data   string // a kind of data.go
	n, dim int
	pre, k int // rows preselected, rows to pick
	job    string
	rivals []rival
}

// Jobs beside the selection methods.
const (
	scores    = "scores"     // classification scores of all rows
	nextRound = "next round" // a CORESET selection from the state of the one before
)

// A rival is known by what it runs: an operation of rival.py, or one of ours.
type rival struct {
	name string
	goal float64 // the ratio to reach, 0 for none
}

const (
	numpy      = "numpy"
	bruteForce = "own brute force"
	oneThread  = "own, one thread"
	firstRound = "own first round"
	mundig     = "lightly-mundig"
	skactiveml = "scikit-activeml"
	maxHerding = "scikit-activeml MaxHerding"
)

// inPython reports whether rival.py runs it.
func (r rival) inPython() bool {
	return r.name == numpy || r.name == mundig || r.name == skactiveml || r.name == maxHerding
}

// scenarios lists the table from top to bottom.
func scenarios(huge bool) []scenario {
	const coreset, coral, uherding, herding = string(selection.Coreset), string(selection.Coral), string(selection.UHerding), string(selection.Herding)
	var list []scenario
	add := func(s scenario, rivals ...rival) {
		s.rivals = rivals
		if s.name == "" {
			s.name = fmt.Sprintf("%s %s × %d, k = %s: %s", label(s.job), count(s.n), s.dim, count(s.k), s.data)
		}
		list = append(list, s)
	}
	for _, g := range []struct {
		data         string
		numpy, brute float64
	}{{"gauss", 120, 50}, {"mog", 100, 45}, {"pow", 85, 40}} {
		rivals := []rival{{numpy, g.numpy}, {bruteForce, g.brute}, {oneThread, 0}}
		add(scenario{data: g.data, n: 1_000_000, dim: 128, k: 10_000, job: coreset}, rivals...)
	}
	for _, g := range []struct {
		data  string
		numpy float64
	}{{"gauss", 60}, {"mog", 25}, {"pow", 20}} {
		add(scenario{data: g.data, n: 1_000_000, dim: 128, k: 1_000, job: coreset}, rival{numpy, g.numpy}, rival{bruteForce, 0})
	}
	add(scenario{data: "gauss", n: 1_000_000, dim: 512, k: 10_000, job: coreset}, rival{numpy, 200}, rival{bruteForce, 0})
	add(scenario{data: "pow", n: 1_000_000, dim: 512, k: 10_000, job: coreset}, rival{numpy, 110}, rival{bruteForce, 0})
	for _, data := range []string{"gauss", "mog", "pow"} {
		add(scenario{data: data, n: 100_000, dim: 768, k: 10_000, job: coreset}, rival{numpy, 35}, rival{bruteForce, 0})
	}
	add(scenario{data: "fashion", n: 60_000, dim: 784, k: 6_000, job: coreset}, rival{numpy, 25}, rival{bruteForce, 0})
	for _, data := range []string{"gauss", "mog", "pow"} {
		add(scenario{data: data, n: 1_000_000, dim: 128, k: 10_000, job: coral}, rival{numpy, 0})
	}

	for _, k := range []int{1_000, 10_000} {
		add(scenario{data: "tail", n: 1_000_000, dim: 128, pre: 1_000, k: k, job: uherding}, rival{oneThread, 0})
	}

	for _, n := range []int{5_000, 10_000, 20_000} { // it holds 8n² bytes several times
		add(scenario{data: "tail", n: n, dim: 128, k: 100, job: herding}, rival{maxHerding, 0})
	}

	// Where laziness cannot help: everything is equally far apart, or everything is picked.
	for _, s := range []scenario{{data: "one-hot", n: 20_000, dim: 512, k: 2_000}, {data: "gauss", n: 20_000, dim: 128, k: 20_000}} {
		s.job = coreset
		add(s, rival{numpy, 0}, rival{bruteForce, 1})
	}

	// From small to large, until a rival would take too long.
	for _, size := range []struct{ n, k int }{{20_000, 1_000}, {100_000, 1_000}, {100_000, 10_000}, {1_000_000, 1_000}, {1_000_000, 10_000}} {
		add(scenario{name: fmt.Sprintf("diversity %s × 128, k = %s: pow", count(size.n), count(size.k)),
			data: "pow", n: size.n, dim: 128, k: size.k, job: coreset}, rival{mundig, 20}, rival{skactiveml, 20})
	}
	for _, data := range []string{"gauss", "mog", "pow"} {
		warm := scenario{data: data, n: 1_000_000, dim: 128, pre: 100_000, k: 1_000}
		warm.name, warm.job = "warm start, 100k of 1M × 128, 1k new: "+data, coreset
		add(warm, rival{numpy, 50})
		warm.name, warm.job = "warm start, the round after it: "+data, nextRound
		add(warm, rival{firstRound, 5}, rival{numpy, 0})
	}
	add(scenario{name: "scores 1M × 10", data: "probabilities", n: 1_000_000, dim: 10, job: scores}, rival{numpy, 20})
	add(scenario{name: "scores 200k × 1,000", data: "probabilities", n: 200_000, dim: 1_000, job: scores}, rival{numpy, 25})
	if huge {
		add(scenario{data: "gauss", n: 10_000_000, dim: 128, k: 10_000, job: coreset}, rival{numpy, 200})
	}
	return list
}

// quick is the scenario at a size at which figures say nothing, so without goals.
func (s scenario) quick() scenario {
	s.n = min(s.n/100, 2_000)
	s.dim = min(s.dim, 32)
	s.pre, s.k = min(s.pre, s.n/10), min(s.k, s.n/20)
	s.name += fmt.Sprintf(" (quick: %d × %d, k = %d)", s.n, s.dim, s.k)
	rivals := make([]rival, len(s.rivals))
	for i, r := range s.rivals {
		rivals[i].name = r.name
	}
	s.rivals = rivals
	return s
}

func label(job string) string {
	if job == string(selection.Coreset) {
		return "k-center"
	}
	return job
}

// count writes a number as people say it: 1M, 100k, 60k, 512.
func count(n int) string {
	switch {
	case n >= 1_000_000 && n%1_000_000 == 0:
		return fmt.Sprintf("%dM", n/1_000_000)
	case n >= 1_000 && n%1_000 == 0:
		return fmt.Sprintf("%dk", n/1_000)
	}
	return fmt.Sprint(n)
}
