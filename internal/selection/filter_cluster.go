package selection

import (
	"cmp"
	"slices"
)

// filterFactor is how many candidates FILTER_CLUSTER keeps for each pick.
const filterFactor = 10

// filterCluster picks one row of each of k clusters of the rows that score best
// (Zhdanov, Diverse mini-batch active learning, 2019): of the filterFactor·k
// candidates of highest score, weighted by their scores, k-means makes k
// clusters, and the row nearest to the center of each is picked, those of
// clusters with the largest sum of scores first. Where clusters have none that
// may be picked, or there are fewer, the best scores that are left follow.
//
// Scores below 0 weigh nothing; if none is above 0, all weigh the same.
func (p *problem) filterCluster(m *meter) ([]Pick, error) {
	order, ok := p.byValue(m)
	if !ok {
		return nil, ErrCanceled
	}
	best := make(map[int32]int32) // candidate of a row that passed the filter
	var rows []int32
	for _, i := range order[:min(len(order), filterFactor*p.k)] {
		best[p.pool[i]] = i
		rows = append(rows, p.pool[i])
	}
	c, ok := p.cloudOf(rows, m)
	if !ok {
		return nil, ErrCanceled
	}
	for _, row := range c.rows {
		c.weight = append(c.weight, max(0, p.Scores[row]))
	}
	if len(c.weight) == 0 || slices.Max(c.weight) == 0 {
		c.weight = nil
	}
	t := p.newTiles(fastest, processors(), m)
	s, ok := t.cluster(c, p.k)
	if !ok {
		return nil, ErrCanceled
	}
	b, taken := p.newBatch(m), make(map[int32]bool)
	for _, members := range s.byWeight(c) {
		for _, at := range members {
			i := best[c.rows[at]]
			if taken[i], ok = b.take(int(i), p.Scores[c.rows[at]]); !ok {
				return nil, ErrCanceled
			}
			if taken[i] {
				break
			}
		}
	}
	for _, i := range order {
		if len(b.picks) == p.k {
			break
		}
		if !taken[i] {
			if _, ok := b.take(int(i), p.value[i]); !ok {
				return nil, ErrCanceled
			}
		}
	}
	return b.picks, nil
}

// byWeight lists the members of each cluster, the nearest to its center first,
// those of the heaviest cluster first.
func (s clusters) byWeight(c cloud) [][]int32 {
	from, all := s.members()
	lists, weight := make([][]int32, len(s.centers)), make([]float64, len(s.centers))
	order := make([]int, len(s.centers))
	for at := range order {
		order[at] = at
		lists[at] = all[from[at]:from[at+1]]
		for _, i := range lists[at] {
			weight[at] += c.weightOf(int(i))
		}
		slices.SortStableFunc(lists[at], func(i, j int32) int { return cmp.Compare(s.d2[i], s.d2[j]) })
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(weight[b], weight[a]) })
	sorted := make([][]int32, len(order))
	for i, at := range order {
		sorted[i] = lists[at]
	}
	return sorted
}
