package selection

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// The twins are the methods in the words of their papers, with everything
// computed again wherever it is needed. They share Key, uniform and distance2
// with the code, which are part of the contract, and nothing else.
var twins = map[Method]func(Query) []int{
	TypiClust: twinTypiClust, Badge: twinBadge, Power: twinPower, FilterCluster: twinFilterCluster, Typicality: twinTypicality,
}

func (q Query) keyed(list []int) []int {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b int) int { return CompareKeys(q.Seed, q.Filenames(a), q.Filenames(b)) })
	return list
}

func (q Query) farFrom(row int, chosen []int) bool {
	return q.MinDistance <= 0 || !slices.ContainsFunc(chosen, func(c int) bool {
		return distance2(q.Embeddings.Row(row), q.Embeddings.Row(c)) < q.MinDistance*q.MinDistance
	})
}

// best takes rows by descending value until the batch is full.
func (q Query) best(value func(row int) float64) []int {
	list := q.keyed(q.Pool.Indices())
	slices.SortStableFunc(list, func(a, b int) int { return cmp.Compare(value(b), value(a)) })
	var picks []int
	for _, row := range list {
		if len(picks) != q.BatchSize && q.farFrom(row, append(q.Preselected.Indices(), picks...)) {
			picks = append(picks, row)
		}
	}
	return picks
}

func twinPower(q Query) []int {
	return q.best(func(row int) float64 {
		gumbel := -math.Log(-math.Log(uniform(Key(q.Seed, q.Filenames(row)), 0)))
		if q.ScoreExponent == 0 {
			return gumbel
		}
		return q.ScoreExponent*math.Log(q.Scores[row]) + gumbel
	})
}

// meanNear is the mean distance of a row to its 20 nearest others.
func (q Query) meanNear(row int, others []int) float64 {
	near := slices.Repeat([]float64{math.Inf(1)}, min(20, len(others)-1))
	for _, other := range others {
		d2 := fastest.distance2(q.Embeddings.Row(row), q.Embeddings.Row(other))
		if other == row || len(near) == 0 || d2 >= near[len(near)-1] {
			continue
		}
		near[len(near)-1] = d2
		slices.Sort(near)
	}
	if len(near) == 0 {
		return math.Inf(1)
	}
	sum := 0.0
	for _, d2 := range near {
		sum += math.Sqrt(d2)
	}
	return sum / float64(len(near))
}

func twinTypicality(q Query) []int {
	others := q.keyed(append(q.Pool.Indices(), q.Preselected.Indices()...))
	others = others[:min(len(others), 10_000)]
	mean := map[int]float64{}
	for _, row := range q.Pool.Indices() {
		mean[row] = q.meanNear(row, others)
	}
	return q.best(func(row int) float64 { return -mean[row] })
}

// kmeans clusters rows in order of their keys.
func (q Query) kmeans(rows []int, weight func(row int) float64, k int) (clusters [][]int, centers [][]float32) {
	rows = q.keyed(rows)
	some := rows[:min(len(rows), max(128*k, 32768))]
	square := func(row int) float64 { // to the nearest center, 1 without any
		least := math.Inf(1)
		for _, c := range centers {
			least = min(least, fastest.distance2(q.Embeddings.Row(row), c))
		}
		if len(centers) == 0 {
			return 1
		}
		return least
	}
	for len(centers) < k {
		best, most := -1, 0.0
		for _, row := range some {
			v := weight(row) * square(row) / -math.Log(uniform(Key(q.Seed, q.Filenames(row)), len(centers)))
			if v > most {
				best, most = row, v
			}
		}
		if best < 0 {
			break
		}
		centers = append(centers, slices.Clone(q.Embeddings.Row(best)))
	}
	assign := func(rows []int) [][]int {
		clusters := make([][]int, len(centers))
		for _, row := range rows {
			best, least := 0, math.Inf(1)
			for c := range centers {
				if d2 := fastest.distance2(q.Embeddings.Row(row), centers[c]); d2 < least {
					best, least = c, d2
				}
			}
			clusters[best] = append(clusters[best], row)
		}
		return clusters
	}
	clusters = assign(some)
	for range 10 {
		for c, members := range clusters {
			sum, total := make([]float64, q.Embeddings.Dim), 0.0
			for _, row := range members {
				total += weight(row)
				for j, v := range q.Embeddings.Row(row) {
					sum[j] += float64(weight(row) * float64(v))
				}
			}
			for j := range sum {
				if total > 0 {
					centers[c][j] = float32(sum[j] / total)
				}
			}
		}
		before := clusters
		if clusters = assign(some); slices.EqualFunc(before, clusters, slices.Equal) {
			break
		}
	}
	return assign(rows), centers
}

func twinTypiClust(q Query) (picks []int) {
	selected := q.Preselected.Indices()
	budget := q.Pool.Count()
	if q.BatchSize >= 0 {
		budget = min(budget, q.BatchSize)
	}
	one := func(int) float64 { return 1 }
	clusters, _ := q.kmeans(append(q.Pool.Indices(), selected...), one, min(1000, len(selected)+budget))
	tried := map[int]bool{}
	uses := make([]int, len(clusters))
	for c, members := range clusters {
		for _, row := range members {
			if q.Preselected.Has(row) {
				uses[c]++
			}
		}
	}
	typicality := map[int]float64{}
	for len(picks) < budget {
		best := -1
		for c, members := range clusters {
			if !slices.ContainsFunc(members, func(row int) bool { return q.Pool.Has(row) && !tried[row] }) {
				continue
			}
			if best < 0 {
				best = c
				continue
			}
			other, small, otherSmall := clusters[best], len(members) <= 5, len(clusters[best]) <= 5
			switch {
			case small != otherSmall:
				if otherSmall {
					best = c
				}
			case uses[c] != uses[best]:
				if uses[c] < uses[best] {
					best = c
				}
			case len(members) != len(other):
				if len(members) > len(other) {
					best = c
				}
			case CompareKeys(q.Seed, q.Filenames(members[0]), q.Filenames(other[0])) < 0:
				best = c
			}
		}
		if best < 0 {
			break
		}
		others := clusters[best][:min(len(clusters[best]), 10_000)]
		var left []int
		for _, row := range clusters[best] {
			if q.Pool.Has(row) && !tried[row] {
				left = append(left, row)
				if _, ok := typicality[row]; !ok {
					typicality[row] = 1 / q.meanNear(row, others)
				}
			}
		}
		slices.SortStableFunc(left, func(a, b int) int { return cmp.Compare(typicality[b], typicality[a]) })
		uses[best]++
		for _, row := range left {
			tried[row] = true
			if q.farFrom(row, append(selected, picks...)) {
				picks = append(picks, row)
				break
			}
		}
	}
	return picks
}

func twinFilterCluster(q Query) (picks []int) {
	all := q
	all.BatchSize, all.MinDistance = -1, 0
	ranking := all.best(func(row int) float64 { return q.Scores[row] })
	budget := len(ranking)
	if q.BatchSize >= 0 {
		budget = min(budget, q.BatchSize)
	}
	top := ranking[:min(len(ranking), 10*budget)]
	weight := func(row int) float64 { return max(0, q.Scores[row]) }
	if !slices.ContainsFunc(top, func(row int) bool { return q.Scores[row] > 0 }) {
		weight = func(int) float64 { return 1 }
	}
	clusters, centers := q.kmeans(top, weight, budget)
	order := make([]int, len(clusters))
	mass := make([]float64, len(clusters))
	for c, members := range clusters {
		order[c] = c
		for _, row := range members {
			mass[c] += weight(row)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(mass[b], mass[a]) })
	for _, c := range order {
		members := slices.Clone(clusters[c])
		slices.SortStableFunc(members, func(a, b int) int {
			return cmp.Compare(distance2(q.Embeddings.Row(a), centers[c]), distance2(q.Embeddings.Row(b), centers[c]))
		})
		for _, row := range members {
			if q.farFrom(row, append(q.Preselected.Indices(), picks...)) {
				picks = append(picks, row)
				break
			}
		}
	}
	for _, row := range ranking {
		if len(picks) < budget && !slices.Contains(picks, row) && q.farFrom(row, append(q.Preselected.Indices(), picks...)) {
			picks = append(picks, row)
		}
	}
	return picks
}

// twinBadge makes the gradient embeddings.
func twinBadge(q Query) (picks []int) {
	residual := func(row int) []float64 {
		var r []float64
		for _, p := range q.Probabilities.Row(row) {
			r = append(r, float64(p))
		}
		top := slices.Index(r, slices.Max(r))
		r[top] = float64(float32(r[top] - 1))
		return r
	}
	gradient := func(row int) (g []float64) {
		for _, r := range residual(row) {
			for _, h := range q.Embeddings.Row(row) {
				g = append(g, r*float64(h))
			}
		}
		return g
	}
	length2 := func(row int) float64 { // of an outer product: the product of the lengths
		r2 := 0.0
		for _, r := range residual(row) {
			r2 += r * r
		}
		return r2 * distance2(q.Embeddings.Row(row), make([]float32, q.Embeddings.Dim))
	}
	var seats [][]float64
	for _, row := range q.Preselected.Indices() {
		if p := q.Probabilities.Row(row)[0]; p == p {
			seats = append(seats, gradient(row))
		}
	}
	left := q.keyed(q.Pool.Indices())
	for len(picks) != q.BatchSize {
		left = slices.DeleteFunc(left, func(row int) bool { return !q.farFrom(row, append(q.Preselected.Indices(), picks...)) })
		best, most := -1, -1.0
		for at, row := range left {
			v := length2(row)
			if len(seats) > 0 {
				g := gradient(row)
				v = math.Inf(1)
				for _, s := range seats {
					d2 := 0.0
					for i := range g {
						d2 += (g[i] - s[i]) * (g[i] - s[i])
					}
					v = min(v, d2)
				}
				v /= -math.Log(uniform(Key(q.Seed, q.Filenames(row)), len(seats)))
			}
			if v > most {
				best, most = at, v
			}
		}
		if best < 0 {
			break
		}
		picks, seats = append(picks, left[best]), append(seats, gradient(left[best]))
		left = slices.Delete(left, best, best+1)
	}
	return picks
}

// TestTwins: every method is its paper, on data of every kind, with and
// without a minimum distance, on any instruction set and number of cores.
func TestTwins(t *testing.T) {
	for method, twin := range twins {
		for name, make := range data {
			t.Run(fmt.Sprint(method, " on ", name), func(t *testing.T) {
				for seed := range uint64(6) {
					r := rand.New(rand.NewPCG(seed, 21))
					n := []int{1, 2, 7, 40, 90, 150}[seed]
					q := query(r, method, make(r, n, []int{1, 2, 7, 16, 33}[r.IntN(5)]), r.IntN(1+n/3), []int{-1, 0, 1, 4, 12, n}[r.IntN(6)])
					q.ScoreExponent = []float64{0, 0.5, 1, 2}[r.IntN(4)]
					for _, row := range q.Preselected.Indices() {
						if r.IntN(3) == 0 {
							q.Probabilities.Row(row)[0] = float32(math.NaN())
						}
					}
					for _, distance := range []float64{0, someDistance(t, r, q)} {
						q.MinDistance = distance
						var want []int
						if q.BatchSize != 0 {
							want = twin(q)
						}
						onEveryKernel(func(k string, threads int) {
							if got := pickedRows(mustSelect(t, q)); !slices.Equal(got, want) {
								t.Fatalf("seed %d, %d × %d, %d preselected, batch of %d, at least %v apart, %s, %d threads: picks %v, want %v",
									seed, n, q.Embeddings.Dim, q.Preselected.Count(), q.BatchSize, distance, k, threads, got, want)
							}
						})
					}
				}
			})
		}
	}
}
