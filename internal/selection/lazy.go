package selection

import (
	"math"
	"slices"
	"sync/atomic"
)

// lazy is exact greedy selection that computes only the distances that matter.
//
// Every candidate keeps its squared distance to the nearest of the centers it
// was compared with: an upper bound, because centers that it has not seen can
// only bring it nearer. A level opens with a mark, a candidate such that not
// too many others come before it by their bounds. Those are compared with the
// centers they have not seen, and each leaves as soon as its bound falls behind
// the mark (sweep). The survivors have exact distances and everyone else comes
// after the mark, so greedy selection among the survivors alone is greedy
// selection among all, until the best of them falls behind the mark as well.
// What laziness saves are all comparisons of candidates that never come near
// the top, which is nearly everyone.
//
// Comparisons run in tiles of points × centers through filter, a proven float32
// test, and only pairs that pass need distance2. Neither levels nor tiles,
// filter, threads or instruction set change what is selected.
type lazy struct {
	tiles
	weight []float64 // of squared distances; nil: all 1
	closed float64   // candidates nearer than this cannot be picked: min2, or 0

	// Of each candidate: the squared distance to its owner, which a state may have
	// rounded up, or picked. The owner is the nearest of all centers before seen, and of
	// those that probes met (a center is named by its place in seats).
	d2          []float64
	owner, seen []int32

	seats  []int32 // dataset rows of the centers
	bias   []float32
	panels panels // of all centers in order
	probes probes
	known  *State      // from an earlier selection, nil if there is none that fits
	wrong  atomic.Bool // it is
	steps  []step
	reach  int  // candidates that the next level puts before its mark, so that about
	aim    int  // so many survive
	warm   bool // there were centers before the first pick
	stale  bool // the bounds say nothing about where to put it

	found, sorted, sampled []int32 // space for lists of candidates
	actives                space   // for the points of a level

	compared     int     // comparisons in order so far
	perCandidate float64 // and how many a candidate took lately
}

const (
	activeMost = 512  // survivors that a level works with
	activeLess = 64   // fewer are not worth opening a level for
	sampleSize = 4096 // candidates among which a mark is sought
	solvedSize = 512  // by their exact distances
	farReach   = 64   // candidates among which the farthest is sought first
	outgrown   = 256  // times a norm2 of the sample: may be that of a row that is gone
)

// search is bruteForce, faster.
func search(p *problem, weight []float64, k kernel, threads int, m *meter) (steps []step, far2 float64, state *State, err error) {
	n, chosen := len(p.pool), len(p.centers)+p.k
	room := n
	if p.KeepState {
		room = p.Rows // see state
	}
	e := &lazy{tiles: p.newBlind(k, threads, m), weight: weight, closed: p.min2,
		d2: make([]float64, n), owner: make([]int32, n, room), seen: make([]int32, n, room),
		found: make([]int32, n, room), sampled: make([]int32, min(sampleSize, n)),
		seats: make([]int32, 0, chosen), bias: make([]float32, 0, chosen), steps: make([]step, 0, p.k),
		panels: panels{list: make([]panel, 0, chosen/lanes+1), most: max(panelsLast, p.Rows/panelsShare)}, reach: 4 * activeMost, aim: activeMost / 2}
	for w := range e.workers {
		e.workers[w].panel = e.newPanel()
	}
	if err = e.run(); err == nil {
		far2, err = e.farthest()
	}
	if e.wrong.Load() {
		p.State, m.done = nil, 0
		return search(p, weight, k, threads, m)
	}
	if err == nil && p.KeepState {
		state = e.state()
	}
	if err == nil && m.canceled.Load() {
		err = ErrCanceled
	}
	if err != nil {
		return nil, 0, nil, err
	}
	return e.steps, far2, state, nil
}

func (e *lazy) run() error {
	centers, ok := e.plan()
	if !ok {
		return ErrCanceled
	}
	first := -1
	if len(centers) == 0 && e.k > 0 && len(e.pool) > 0 {
		first = e.first()
	}
	if err := e.seeFirst(centers, first); err != nil {
		return err
	}
	e.filter = e.newFilter(e.kernel)
	if first >= 0 {
		e.pick(first)
	} else if !e.restore(centers) {
		return ErrCanceled
	}
	if e.known != nil {
		if some, _ := e.sample(sampleSize); !e.confirm(some) || !e.recallProbes() {
			return ErrCanceled
		}
	}
	if !e.renewProbes() {
		return ErrCanceled
	}
	e.warm = e.known == nil && len(e.seats) > lanes
	e.stale = e.warm
	for len(e.steps) < e.k {
		left := e.k - len(e.steps)
		e.aimAt(min(max(2*left, activeLess), activeMost/2))
		active, m, err := e.open(min(left, activeLess))
		if err != nil {
			return err
		}
		if len(active) == 0 {
			break
		}
		e.pickAmong(active, m)
		if !e.renewProbes() || !e.meter.spend(len(e.pool)) {
			return ErrCanceled
		}
	}
	return nil
}

// aimAt has the next levels look for another number of survivors.
func (e *lazy) aimAt(aim int) {
	e.reach, e.aim = max(e.reach*aim/e.aim, activeLess), aim
}

// first returns the candidate to pick without any center.
func (e *lazy) first() int {
	best := 0
	for i := range e.pool {
		v, top := 1.0, 1.0
		if e.weight != nil {
			v, top = e.weight[i], e.weight[best]
		}
		if v > top || v == top && e.before(i, best) {
			best = i
		}
	}
	e.d2[best] = math.Inf(1)
	return best
}

// pick makes a candidate the next pick and a center.
func (e *lazy) pick(i int) {
	nearest := -1
	if len(e.seats) > 0 {
		nearest = int(e.seats[e.owner[i]])
	}
	e.steps = append(e.steps, step{i, nearest, e.d2[i]})
	e.meter.done = len(e.steps)
	e.d2[i] = picked
	e.seat(e.pool[i])
	e.probes.follow(int(e.owner[i]))
}

// bring lowers the bound of a candidate to its squared distance to center c, if
// that is nearer than its owner or as near and first by filename.
func (e *lazy) bring(i int, d2 float64, c int32) bool {
	if e.rounded(i) {
		e.unround(i)
	}
	if d2 < e.d2[i] || d2 == e.d2[i] && e.nameOf(c) < e.nameOf(e.owner[i]) {
		e.d2[i], e.owner[i] = d2, c
		return true
	}
	return false
}

// nameOf returns the filename of a center.
func (e *lazy) nameOf(c int32) string { return e.Filenames(int(e.seats[c])) }

// seeFirst recalls what is known of every candidate, without reading its row, or else
// compares it with the first of the centers or, where there is none, the candidate that is
// picked first. On the way it refuses rows whose embeddings are not finite, and bounds
// norm2: no row is longer than that center and the distance to it together, or than
// what the state knows, unless that was of rows that are gone: then all are measured.
func (e *lazy) seeFirst(centers []int32, first int) error {
	at := slices.IndexFunc(centers, func(row int32) bool { return row != nobody })
	if at < 0 && first < 0 {
		return e.checkVectors(e.meter)
	}
	if at < 0 {
		centers, at = e.pool[first:first+1], 0
	}
	c, known := e.Embeddings.Row(int(centers[at])), 0
	e.norm2 = 0
	if e.known != nil {
		known, e.norm2 = len(e.known.Centers), e.known.Norm2
	}
	farthest := make([]float64, len(e.workers)) // squared
	ok := e.blocks(centers[known:], func(w *worker, from, end int) {
		most := farthest[w.number]
		some := centers[known+from : known+end]
		for n, row := range some {
			e.Embeddings.ask(some[min(n+ahead, len(some)-1)])
			most = max(most, e.kernel.distance2(e.Embeddings.Row(int(row)), c))
		}
		farthest[w.number] = most
	})
	ok = ok && e.blocks(e.pool, func(w *worker, from, end int) {
		most := farthest[w.number]
		for i := from; i < end; i++ {
			if i == first || e.recall(i, centers) {
				continue
			}
			e.d2[i], e.owner[i], e.seen[i] = e.kernel.distance2(e.Embeddings.Row(int(e.pool[i])), c), int32(at), int32(at+1)
			most = max(most, e.d2[i])
		}
		farthest[w.number] = most
	})
	if !ok {
		return ErrCanceled
	}
	reach := float64(math.Sqrt(slices.Max(farthest)) * (1 + 0x1p-40))
	longer := math.Sqrt(e.kernel.distance2(c, e.origin)) + reach
	if !finite(longer) {
		return e.badVectors()
	}
	if e.known == nil {
		e.middle, e.within = c, reach
	}
	e.norm2 = max(e.norm2, longer*longer*(1+0x1p-40))
	if e.known != nil && e.norm2 > outgrown*e.sampledNorm2() {
		return e.checkVectors(e.meter)
	}
	return nil
}

// sampledNorm2 returns the largest squared norm of a sample.
func (e *lazy) sampledNorm2() (most float64) {
	some, _ := e.sample(solvedSize)
	for _, i := range some {
		most = max(most, e.kernel.distance2(e.Embeddings.Row(int(e.pool[i])), e.origin))
	}
	return most
}
