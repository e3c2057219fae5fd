package selection

import (
	"math"
	"slices"
)

// Typicality is the inverse of the mean distance to the nearest others (Hacohen,
// Dekel and Weinshall, Active learning on a budget: opposite strategies suit high
// and low budgets, 2022): high where the data are dense.
const (
	typicalNeighbors = 20     // as in the paper
	typicalSample    = 10_000 // rows among which TYPICALITY looks for them, and TYPICLUST in a cluster
)

// typical ranks by typicality alone: the value of a candidate is the mean
// distance to its nearest others, negated. Others are the rows of the pool and
// those preselected, or the typicalSample rows of lowest Key among them.
func (p *problem) typical(m *meter) ([]Pick, error) {
	mean, err := p.poolDistances(typicalNeighbors, m)
	if err != nil {
		return nil, err
	}
	p.value = make([]float64, len(p.pool))
	for i, d := range mean {
		p.value[i] = -d
	}
	return p.ranked(m)
}

// poolDistances returns for each candidate the mean distance to so many nearest
// others.
func (p *problem) poolDistances(neighbors int, m *meter) ([]float64, error) {
	c, ok := p.cloudOf(slices.Concat(p.pool, p.centers), m)
	if !ok {
		return nil, ErrCanceled
	}
	t := p.newTiles(fastest, processors(), m)
	mean, ok := t.meanDistances(p.pool, c.first(typicalSample).rows, neighbors, t.scan)
	if !ok {
		return nil, ErrCanceled
	}
	return mean, nil
}

// Density returns for each row of the pool of a query how dense the data are
// around it: the least mean distance to its nearest neighbors that there is in
// the pool, divided by its own, in [0, 1]. Neighbors are sought as for
// TYPICALITY. Other rows are NaN.
func Density(q Query, neighbors int) ([]float64, error) {
	q.Method, q.BatchSize, q.MinDistance = Typicality, 0, 0
	m := meter{report: q.Progress}
	p, err := newProblem(q, &m)
	if err != nil {
		return nil, err
	}
	mean, err := p.poolDistances(neighbors, &m)
	if err != nil {
		return nil, err
	}
	values := make([]float64, q.Rows)
	for row := range values {
		values[row] = math.NaN()
	}
	least := math.Inf(1) // above 0
	for _, d := range mean {
		if d > 0 {
			least = min(least, d)
		}
	}
	for i, row := range p.pool {
		switch d := mean[i]; {
		case d <= least: // also of duplicates, which have none between them
			values[row] = 1
		default:
			values[row] = least / d
		}
	}
	return values, nil
}

// meanDistances returns for each point the mean distance to the nearest others,
// itself excepted: to so many of them, or all if there are fewer; +Inf if there
// are none. It reports false when the caller has canceled.
func (t *tiles) meanDistances(points, others []int32, neighbors int, scan func([]int32, references, visit) bool) ([]float64, bool) {
	const block = 16 << 10 // whose neighbors are in memory together
	refs := t.refer(t.vectors(others))
	mean := make([]float64, len(points))
	if len(others) < 2 {
		for at := range mean {
			mean[at] = math.Inf(1)
		}
		return mean, true
	}
	for from := 0; from < len(points); from += block {
		part := points[from:min(from+block, len(points))]
		near := newNeighborhoods(len(part), others, neighbors)
		if !scan(part, refs, near.visit(part)) {
			return nil, false
		}
		for at := range part {
			mean[from+at] = near.mean(at)
		}
	}
	return mean, true
}

// vectors lists the vectors of rows.
func (t *tiles) vectors(rows []int32) [][]float32 {
	list := make([][]float32, len(rows))
	for i, row := range rows {
		list[i] = t.Embeddings.Row(int(row))
	}
	return list
}

// neighborhoods holds, for each of some points, the squared distances to the
// nearest of others, ascending.
type neighborhoods struct {
	others []int32 // dataset rows
	size   int     // of a neighborhood, at least 1: there are that many others for every point
	found  []int
	d2     []float64
}

func newNeighborhoods(points int, others []int32, neighbors int) *neighborhoods {
	size := min(neighbors, len(others)-1)
	return &neighborhoods{others, size, make([]int, points), make([]float64, points*size)}
}

// visit finds the neighborhoods of points. A row is no neighbor of itself.
func (n *neighborhoods) visit(points []int32) visit {
	bound := func(at int) float64 {
		if n.found[at] < n.size {
			return math.Inf(1)
		}
		return n.d2[(at+1)*n.size-1]
	}
	return visit{begin: bound, near: func(at int, ref int32, d2 float64) float64 {
		if n.others[ref] == points[at] {
			return bound(at)
		}
		near := n.d2[at*n.size : (at+1)*n.size]
		place := n.found[at]
		if place < n.size {
			n.found[at]++
		} else if place--; d2 >= near[place] {
			return bound(at)
		}
		for ; place > 0 && d2 < near[place-1]; place-- {
			near[place] = near[place-1]
		}
		near[place] = d2
		return bound(at)
	}}
}

// mean returns the mean distance to the neighborhood of a point.
func (n *neighborhoods) mean(at int) float64 {
	sum := 0.0
	for _, d2 := range n.d2[at*n.size : (at+1)*n.size] {
		sum += math.Sqrt(d2)
	}
	return sum / float64(n.size)
}
