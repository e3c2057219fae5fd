package selection

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestApart: what filter.apart says of a point and a center is never above their
// distance, and on ordinary data not far below.
func TestApart(t *testing.T) {
	for name, make := range data {
		for _, k := range kernels() {
			r := rand.New(rand.NewPCG(12, 12))
			q := query(r, Coreset, make(r, 4*lanes, 40), 0, 1)
			clearNaN(q, r)
			p := mustProblem(t, q)
			if err := p.checkVectors(new(meter)); err != nil {
				t.Fatal(err)
			}
			e := &lazy{tiles: p.newTiles(k, 1, new(meter)), panels: panels{most: 8}}
			if !e.seatAll(p.pool[:lanes]) {
				t.Fatal("canceled")
			}
			w, s := &e.workers[0], e.newSpace(tileRows)
			points := [tileRows]point{}
			for from := lanes; from < 2*lanes; from += tileRows {
				for i := range points {
					x := e.Embeddings.Row(int(p.pool[from+i]))
					points[i] = e.point(&s, i, x, x)
					w.enter(i, &points[i], &e.panels.list[0])
				}
				e.multiply(w, &e.panels.list[0])
				for i := range points {
					for l, v := range w.tile.values[i] {
						d := math.Sqrt(distance2(e.Embeddings.Row(int(p.pool[from+i])), e.Embeddings.Row(int(p.pool[l]))))
						apart := e.filter.apart(v, &points[i], &e.panels.list[0])
						if !(apart <= d) || name == "gauss" && apart < 0.9*d {
							t.Fatalf("%s, %s: apart %v, distance %v", name, k.name, apart, d)
						}
					}
				}
			}
		}
	}
}

// TestLook: no panel that a point need not meet has a center as near as its owner, and
// in clusters most are of that kind.
func TestLook(t *testing.T) {
	const rows, labels = 50_000, 9_000
	for _, name := range []string{"clusters", "gauss", "duplicates", "far away", "mixed", "grid"} {
		r := rand.New(rand.NewPCG(13, 13))
		q := query(r, Coreset, data[name](r, rows, 8), labels, 1)
		clearNaN(q, r)
		p := mustProblem(t, q)
		e := &lazy{tiles: p.newBlind(fastest, 1, new(meter)), d2: make([]float64, rows), owner: make([]int32, rows), seen: make([]int32, rows)}
		e.panels.most = rows
		centers, _ := e.plan()
		if err := e.seeFirst(centers, -1); err != nil {
			t.Fatal(err)
		}
		e.filter = e.newFilter(e.kernel)
		if !e.restore(centers) || e.probes.count == 0 || !e.findBalls() {
			t.Fatalf("%s: %d anchors", name, e.probes.count)
		}
		var some []int32
		for i := range int32(sightTry) { // with owners such as they have when they are swept
			for c, row := range e.seats {
				e.bring(int(i), fastest.distance2(e.Embeddings.Row(int(e.pool[i])), e.Embeddings.Row(int(row))), int32(c))
			}
			some = append(some, i)
		}
		w := &e.workers[0]
		e.load(w, some)
		if !e.look(w, w.chunk.members[:len(some)]) {
			t.Errorf("%s: nobody looks", name)
			continue
		}
		seen := 0
		for _, at := range some {
			for panel := range e.probes.loose {
				if len(w.inSight([]int32{at}, panel, len(e.probes.open))) > 0 {
					seen++
					continue
				}
				for _, row := range e.seats[panel*lanes : (panel+1)*lanes] {
					if d2 := distance2(e.Embeddings.Row(int(e.pool[at])), e.Embeddings.Row(int(row))); !(d2 > e.d2[at]) {
						t.Fatalf("%s: a center at %v is out of sight, the owner is at %v", name, d2, e.d2[at])
					}
				}
			}
		}
		if share := float64(seen) / float64(len(some)*len(e.probes.loose)); name == "clusters" && share > 0.5 {
			t.Errorf("%s: %.2f of the panels are in sight", name, share)
		} else {
			t.Logf("%s: %.2f of the panels are in sight", name, share)
		}
	}
}

// TestSearchRefuses: the fast engine finds rows that are not finite while it looks at
// them first, in the pool and among the centers, with and without a state.
func TestSearchRefuses(t *testing.T) {
	r := rand.New(rand.NewPCG(14, 14))
	for _, preselected := range []int{0, 300} {
		q := query(r, Coreset, data["gauss"](r, 9_000, 12), preselected, 100)
		clearNaN(q, r)
		q.KeepState = true
		state := mustSelect(t, q).State
		for _, value := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
			for _, state := range []*State{nil, state} {
				bad := q
				bad.State, bad.Embeddings.Data = state, slices.Clone(q.Embeddings.Data)
				rows := []int{17, 4_000, 8_999}
				for _, row := range rows {
					bad.Embeddings.Row(row)[row%12] = float32(value)
				}
				if preselected > 0 {
					rows = append(rows, q.Preselected.Indices()[7])
					bad.Embeddings.Row(rows[3])[3] = float32(value)
				}
				_, err := Select(bad)
				got, ok := err.(*RowsError)
				if slices.Sort(rows); !ok || got.Count != len(slices.Compact(rows)) {
					t.Errorf("%d preselected, %v, state %t: %v, want rows %v", preselected, value, state != nil, err, rows)
				}
			}
		}
	}
}
