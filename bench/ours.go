package main

import (
	"cmp"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"time"

	"nextbatch/internal/bitmask"
	"nextbatch/internal/hugepage"
	"nextbatch/internal/score"
	"nextbatch/internal/selection"
)

// A timing is one measurement of a whole job.
type timing struct {
	seconds float64
	note    string // what of the job was timed, where not all of it
}

// A contestant does the job of a scenario once, or as much as it takes to know
// how long the job takes.
type contestant func() (timing, error)

// turnTime is how long a turn takes at least: the first run after a pause wakes
// threads and fills caches, which is all that a job of milliseconds would show.
const turnTime = 500 * time.Millisecond

// turn repeats a job that is done before a turn is over, and returns the median.
func (c contestant) turn() (timing, error) {
	var runs []timing
	for start := time.Now(); len(runs) == 0 || time.Since(start) < turnTime; {
		t, err := c()
		if err != nil {
			return t, err
		}
		runs = append(runs, t)
	}
	slices.SortFunc(runs, func(a, b timing) int { return cmp.Compare(a.seconds, b.seconds) })
	return runs[len(runs)/2], nil
}

// ours are our contestants for one scenario.
type ours struct {
	scenario
	x     selection.Matrix
	query selection.Query
	next  selection.Query // the round after query, once that has run
}

func newOurs(s scenario, x selection.Matrix) *ours {
	o := &ours{scenario: s, x: x}
	if s.job == scores {
		return o
	}
	names := rowNames(s.n)
	method := selection.Method(s.job)
	if s.job == nextRound {
		method = selection.Coreset
	}
	o.query = selection.Query{Method: method, Rows: s.n, Embeddings: x, BatchSize: s.k,
		Filenames: names.at,
		Pool:      bitmask.New(s.n), Preselected: bitmask.New(s.pre),
		ScoreExponent: 1, DistanceExponent: 1, KeepState: s.pre > 0}
	o.query.Pool.Invert(s.n)
	o.query.Preselected.Invert(s.pre)
	o.query.Pool.Difference(o.query.Preselected)
	if method.NeedsScores() {
		r := rand.New(rand.NewPCG(4, 4))
		o.query.Scores = make([]float64, s.n)
		for row := range o.query.Scores {
			o.query.Scores[row] = r.Float64()
		}
	}
	return o
}

// names are the filenames "0", "1", …, held as a dataset holds its own.
type names struct {
	text  string
	start []uint32
}

func rowNames(n int) names {
	start := make([]uint32, 0, n+1)
	var text []byte
	for row := range n {
		start = append(start, uint32(len(text)))
		text = strconv.AppendInt(text, int64(row), 10)
	}
	return names{string(text), append(start, uint32(len(text)))}
}

func (s names) at(row int) string { return s.text[s.start[row]:s.start[row+1]] }

// run does the job.
func (o *ours) run() (timing, error) {
	switch o.job {
	case scores:
		return o.score()
	case nextRound:
		if o.next.State == nil {
			if _, err := o.first(); err != nil {
				return timing{}, err
			}
		}
		_, t, err := choose(o.next)
		return t, err
	}
	_, t, err := choose(o.query)
	return t, err
}

// first is the round before nextRound, which leaves the state that starts it.
func (o *ours) first() (timing, error) {
	o.next.State = nil // of an earlier turn: nobody would hold two
	s, t, err := choose(o.query)
	if err != nil {
		return t, err
	}
	o.next = o.query
	o.next.State = s.State
	o.next.Pool, o.next.Preselected = o.query.Pool.Clone(), o.query.Preselected.Clone()
	for _, p := range s.Picks {
		o.next.Pool.Unset(p.Row)
		o.next.Preselected.Set(p.Row)
	}
	return t, nil
}

func (o *ours) oneThread() (timing, error) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	return o.run()
}

func choose(q selection.Query) (selection.Selection, timing, error) {
	runtime.GC()
	start := time.Now()
	s, err := selection.Select(q)
	return s, timing{seconds: time.Since(start).Seconds()}, err
}

// score scores on all cores, in parts and into large pages as the worker does.
func (o *ours) score() (timing, error) {
	const step = 1 << 14
	runtime.GC()
	start := time.Now()
	m := score.Matrix[float32]{Rows: o.x.Rows, Cols: o.x.Dim, Data: o.x.Data}
	dst := score.NewVectors(score.TaskClassification, m.Rows)
	for _, v := range dst {
		hugepage.Advise(v.Values)
	}
	workers := runtime.GOMAXPROCS(0)
	errs := make([]error, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for from, to := w*m.Rows/workers, (w+1)*m.Rows/workers; from < to && errs[w] == nil; from += step {
				part := score.Matrix[float32]{Rows: min(step, to-from), Cols: m.Cols}
				part.Data = m.Data[from*m.Cols:][:part.Rows*m.Cols]
				errs[w] = score.ClassifyRows(dst, from, part, score.Options{})
			}
		})
	}
	wg.Wait()
	return timing{seconds: time.Since(start).Seconds()}, score.JoinRows(errs...)
}
