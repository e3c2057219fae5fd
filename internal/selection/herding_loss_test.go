package selection

import (
	"math"
	"testing"
)

// exactGain is what a selection adds to the covered mass of the whole pool.
func exactGain(t testing.TB, p *problem, radius float64, steps []herdStep) float64 {
	t.Helper()
	h := smallHerd(p, radius, fastest, 2, len(p.pool), 0)
	panels, _ := h.packAll(h.landmarks)
	covered, mass := make([]uint16, len(h.landmarks)), []uint32{}
	for _, i := range h.order {
		mass = append(mass, h.mass(i))
	}
	sum := func() (s float64) {
		for n, k := range covered {
			s += float64(mass[n]) * float64(k)
		}
		return s
	}
	h.coverBy(covered, p.centers, panels)
	before := sum()
	var rows []int32
	for _, s := range steps {
		rows = append(rows, p.pool[s.candidate])
	}
	h.coverBy(covered, rows, panels)
	return sum() - before
}

// TestHerdingLoss says how much of what exact greedy selection gains is left when
// half of the rows are landmarks, and when in addition lists are short and cells
// save three of four comparisons. With many rows it lets the engine choose: go test -run
// HerdingLoss -v -timeout 1h -args -n 100000 -dim 128 -k 1000 -pre 1000
func TestHerdingLoss(t *testing.T) {
	n, dim, pre, k := 20_000, 24, 100, 400
	if testing.Short() {
		n, pre, k = 5_000, 25, 100
	}
	chosen := *benchN > 20_000
	if chosen {
		n, dim, pre, k = *benchN, *benchDim, *benchPre, *benchK
	}
	for _, kind := range benchKinds {
		p := mustProblem(t, benchQueryOf(UHerding, kind.make(n, dim), pre, k))
		radius, err := p.fairShareRadius(new(meter))
		if err != nil {
			t.Fatal(err)
		}
		gain := func(h *herd) float64 {
			before := cpuTime()
			got, err := h.run()
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%s: %.1f s of CPU, %+v", kind.name, (cpuTime() - before).Seconds(), got.report)
			return exactGain(t, p, radius, got.steps)
		}
		exact := smallHerd(p, radius, fastest, processors(), len(p.pool), 0)
		exact.pairs, exact.budget = math.Inf(1), listsMost
		all := gain(exact)
		check := func(name string, h *herd, want float64) {
			got := 100 * gain(h) / all
			t.Logf("%s, %s: %.1f %% of the exact gain", kind.name, name, got)
			if got < want {
				t.Errorf("%s, %s: %.1f %% of the exact gain, want %v %%", kind.name, name, got, want)
			}
		}
		if chosen {
			h := p.newHerd(radius, fastest, processors(), new(meter))
			if !h.chooseLandmarks() {
				t.Fatal("canceled")
			}
			check("as chosen", h, 94)
			continue
		}
		landmarks := landmarksEach * (pre + k) // half of the rows
		h := smallHerd(p, radius, fastest, processors(), landmarks, 0)
		h.pairs = pairsMost
		check("half of the rows are landmarks", h, 94)
		h = smallHerd(p, radius, fastest, processors(), landmarks, listsEach/entryBytes)
		h.pairs = float64(n) * float64(landmarks) / 4
		want := 94.0
		if kind.name == "gauss" { // without structure a row covers very many others a little, and all cells are neighbors
			want = 90
		}
		check("short lists and a quarter of the pairs", h, want)
	}
}
