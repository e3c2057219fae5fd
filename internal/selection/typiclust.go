package selection

import (
	"cmp"
	"slices"
)

// The bounds of TYPICLUST. The paper has at most 500 clusters; here batches may
// be larger. Its authors' code passes over clusters of five rows or fewer; here
// they come last.
const (
	typicalClusters = 1000
	fewMembers      = 5
)

// typiclust picks the most typical row of one cluster after the other (Hacohen,
// Dekel and Weinshall 2022, see typicality.go). The pool and the preselected rows
// are clustered by k-means into as many clusters as there are to be selected
// rows; each pick comes from the largest of the clusters that hold the fewest
// selected rows.
func (p *problem) typiclust(m *meter) ([]Pick, error) {
	c, ok := p.cloudOf(slices.Concat(p.pool, p.centers), m)
	if !ok {
		return nil, ErrCanceled
	}
	t := p.newTiles(fastest, processors(), m)
	s, ok := t.cluster(c, min(len(p.centers)+p.k, typicalClusters))
	if !ok {
		return nil, ErrCanceled
	}
	groups, ok := p.groups(c, s, m)
	if !ok {
		return nil, ErrCanceled
	}
	slices.SortFunc(groups, compareGroups)
	// No pick comes from another than the first k groups before each of them
	// had its pick.
	if !t.rankAll(groups[:min(p.k, len(groups))]) {
		return nil, ErrCanceled
	}
	b := p.newBatch(m)
	for len(b.picks) < p.k && len(groups) > 0 {
		g := groups[0]
		if !g.ranked && !t.rank(&t.workers[0], g, t.scan) {
			return nil, ErrCanceled
		}
		for len(g.rows) > 0 {
			i, mean := g.rows[0], g.mean[0]
			g.rows, g.mean = g.rows[1:], g.mean[1:]
			if taken, ok := b.take(int(i), 1/mean); !ok {
				return nil, ErrCanceled
			} else if taken {
				break
			}
		}
		groups = groups[1:]
		if g.selected++; len(g.rows) > 0 {
			at, _ := slices.BinarySearchFunc(groups, g, compareGroups)
			groups = slices.Insert(groups, at, g)
		}
	}
	return b.picks, nil
}

// group is a cluster that has candidates left.
type group struct {
	first    int       // place of its lowest key in the cloud
	members  []int32   // dataset rows, by ascending key
	rows     []int32   // candidates left, once ranked the most typical first
	mean     []float64 // of each, once ranked: the mean distance to its neighbors
	selected int
	ranked   bool
}

// compareGroups orders groups: from which comes the next pick?
func compareGroups(a, b *group) int {
	few := func(g *group) int {
		if len(g.members) <= fewMembers {
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(few(a), few(b)), cmp.Compare(a.selected, b.selected),
		-cmp.Compare(len(a.members), len(b.members)), cmp.Compare(a.first, b.first))
}

// groups lists the clusters that have candidates. It reports false when the
// caller has canceled.
func (p *problem) groups(c cloud, s clusters, m *meter) (list []*group, ok bool) {
	from, members := s.members()
	for at := range s.centers {
		g := &group{}
		for _, i := range members[from[at]:from[at+1]] {
			row := c.rows[i]
			if !m.spend(100) {
				return nil, false
			}
			if g.members == nil {
				g.first = int(i)
			}
			g.members = append(g.members, row)
			if candidate, ok := slices.BinarySearch(p.pool, row); ok {
				g.rows = append(g.rows, int32(candidate))
			} else {
				g.selected++
			}
		}
		if len(g.rows) > 0 {
			list = append(list, g)
		}
	}
	return list, true
}

// rankAll ranks groups: large ones on all cores, small ones side by side.
func (t *tiles) rankAll(groups []*group) bool {
	var small []*group
	for _, g := range groups {
		if len(g.members) <= 4*chunkMost {
			small = append(small, g)
		} else if !t.rank(&t.workers[0], g, t.scan) {
			return false
		}
	}
	return t.parallel(len(small), typicalNeighbors*t.Embeddings.Dim, func(w *worker, at int) {
		t.rank(w, small[at], func(points []int32, refs references, v visit) bool {
			for from := 0; from < len(points); from += t.chunkRows() {
				t.scanChunk(w, points, from, min(len(points), from+t.chunkRows()), refs, v)
			}
			return !t.meter.canceled.Load()
		})
	})
}

// rank orders the candidates of a group by typicality, those of equal
// typicality by Key. Neighbors are sought among the members of the group, of
// more than typicalSample among those of lowest Key.
func (t *tiles) rank(w *worker, g *group, scan func([]int32, references, visit) bool) bool {
	points := make([]int32, len(g.rows))
	for at, i := range g.rows {
		points[at] = t.pool[i]
	}
	mean, ok := t.meanDistances(points, g.members[:min(len(g.members), typicalSample)], typicalNeighbors, scan)
	if !ok {
		return false
	}
	order := countTo(len(points))
	slices.SortFunc(order, func(a, b int32) int {
		w.spend(10)
		return cmp.Or(cmp.Compare(mean[a], mean[b]), cmp.Compare(a, b))
	})
	rows := slices.Clone(g.rows)
	for at, from := range order {
		g.rows[at], g.mean = rows[from], append(g.mean, mean[from])
	}
	g.ranked = true
	return true
}
