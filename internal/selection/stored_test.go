package selection

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"nextbatch/internal/bitmask"
)

var update = flag.Bool("update", false, "write testdata/picks.txt anew")

// storedQuery is the same query on every machine: its numbers come from integers
// by one division each, without functions whose last bits differ.
func storedQuery(method Method) Query {
	const n, dim, classes = 500, 13, 4
	r := rand.New(rand.NewPCG(2026, 11))
	q := Query{Method: method, Rows: n, BatchSize: 15, Seed: 7, Pool: bitmask.New(n), Preselected: bitmask.New(n),
		Filenames:     func(row int) string { return fmt.Sprintf("%03d.jpg", row) },
		Embeddings:    Matrix{n, dim, make([]float32, n*dim)},
		Probabilities: Matrix{n, classes, make([]float32, n*classes)},
		Scores:        make([]float64, n),
		ScoreExponent: 1.3, DistanceExponent: 0.7, ScoreFloor: 0.05,
	}
	shares, sharpness := Matrix{n, classes, make([]float32, n*classes)}, make([]float64, n)
	for row := range n {
		for j := range dim { // twelve clusters
			q.Embeddings.Row(row)[j] = float32(2500*(row%12>>(j%4)&1)+r.IntN(2001)-1000) / 1000
		}
		parts := [classes]int{1 + r.IntN(9), r.IntN(9), r.IntN(9), r.IntN(9)}
		for k, part := range parts {
			q.Probabilities.Row(row)[k] = float32(part) / float32(parts[0]+parts[1]+parts[2]+parts[3])
			shares.Row(row)[k] = float32(r.IntN(100)) / 7
		}
		q.Scores[row] = float64(1+r.IntN(1000)) / 1000
		sharpness[row] = float64(r.IntN(5000)) / 77
		if row%17 == 3 {
			q.Preselected.Set(row)
		} else {
			q.Pool.Set(row)
		}
	}
	if method == Combined {
		rows := q.Pool.Indices()
		q.Factors = []Factor{{"score", Scale(q.Scores, rows), 1.5}, {"sharpness", Scale(sharpness, rows), -0.3}}
		q.Balances = []Balance{{"classes", shares, []float64{0.4, 0.3, 0.2, 0.1}, 1.7}}
	}
	return q
}

// described is a selection in full. %v writes as many digits as tell a number from all
// others.
func described(q Query, s Selection) (lines []string) {
	lines = append(lines, fmt.Sprintf("  radius %v, lower bound %v, cap %v", s.Radius, s.LowerBound, s.DistanceCap))
	if h := s.Herding; h != nil {
		lines = append(lines, fmt.Sprintf("  herding %+v", *h))
	}
	for _, p := range s.Picks {
		nearest, distance := "none", math.NaN()
		if p.Nearest >= 0 {
			nearest = q.Filenames(p.Nearest)
			distance = math.Sqrt(distance2(q.Embeddings.Row(p.Row), q.Embeddings.Row(p.Nearest)))
		}
		lines = append(lines, fmt.Sprintf("  %s gain %v, covers %d, %v from %s",
			q.Filenames(p.Row), p.Gain, p.Covers, distance, nearest))
	}
	return lines
}

// TestStoredPicks: every method picks what stands in testdata/picks.txt, byte for
// byte, on any machine. The file was written on amd64; the Makefile runs this test on
// arm64 too.
func TestStoredPicks(t *testing.T) {
	var got []string
	for _, method := range Methods() {
		for _, c := range []struct {
			name   string
			change func(q *Query)
		}{
			{"as it is", func(*Query) {}},
			{"without preselected rows", func(q *Query) { q.Preselected = nil }},
			{"apart", func(q *Query) { q.MinDistance = 3.3 }},
			{"other parameters", func(q *Query) {
				q.HerdingRadius, q.DistanceCap, q.ScoreExponent, q.DistanceExponent = 2.5, AutoCap, 0.45, 1.9
			}},
			{"by direction", func(q *Query) { q.Cosine = true }},
		} {
			q := storedQuery(method)
			if c.change(&q); q.Cosine && method != Herding && method != UHerding {
				continue
			}
			got = append(append(got, fmt.Sprintf("%s, %s", method, c.name)), described(q, mustSelect(t, q))...)
		}
	}
	got = append(got, "UHERDING, landmarks")
	p := mustProblem(t, storedQuery(UHerding))
	h, err := smallHerd(p, 3, fastest, 2, 200, 12).run()
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, describeHerd(p, h)...)

	const file = "testdata/picks.txt"
	if *update {
		if err := os.WriteFile(file, []byte(strings.Join(got, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(strings.TrimSpace(string(want)), "\n"), got); diff != "" {
		t.Errorf("-stored +now:\n%s", diff)
	}
}
