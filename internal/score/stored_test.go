package score

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write testdata/scores.txt anew")

// TestStoredScores: scores of every task are what stands in testdata/scores.txt, to
// the last bit, on any machine: %v writes as many digits as tell a number from all
// others. The file was written on amd64; the Makefile runs this test on arm64 too.
func TestStoredScores(t *testing.T) {
	r := rand.New(rand.NewPCG(2026, 11))
	random := func() float64 { return float64(r.IntN(1000)) / 999 } // nothing that has other bits elsewhere
	row := func(cols int) (list []float64) {
		for range cols {
			list = append(list, random())
		}
		return list
	}
	var got []string
	note := func(what string, vectors []Vector, err error) {
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		for _, v := range vectors {
			got = append(got, fmt.Sprintf("%s, %s %v", what, v.Name, v.Values))
		}
	}

	for _, o := range []Options{{}, {Raw: true}, {Normalization: NormalizeSum}, {Normalization: NormalizeSoftmax}} {
		for _, cols := range []int{2, 3, 17} {
			m := Matrix[float64]{Rows: 9, Cols: cols}
			for range m.Rows {
				m.Data = append(m.Data, row(cols)...)
			}
			if o.Normalization == NormalizeSoftmax {
				for i := range m.Data {
					m.Data[i] = (m.Data[i] - 0.5) * 40
				}
			}
			vectors, err := Classify(m, o)
			note(fmt.Sprintf("%d classes %+v", cols, o), vectors, err)
		}
	}

	d, _ := NewDetection(DetectionConfig{FrequencyPenalty: 0.1, MinScore: 0.3}, Options{Normalization: NormalizeSoftmax})
	scored, _ := NewDetection(DetectionConfig{FrequencyPenalty: 0.7, MinScore: 0.9}, Options{})
	s, _ := NewSegmentation(Options{Normalization: NormalizeSum})
	k, _ := NewKeypoints(Options{})
	for image := range 12 {
		b := Boxes{ObjectProbabilities: row(image)}
		labels := []int{}
		var regions []Region
		for range image {
			b.ClassProbabilities = append(b.ClassProbabilities, row(3))
			labels = append(labels, r.IntN(5))
			regions = append(regions, Region{Pixels: 1 + r.IntN(9999), Probabilities: row(4)})
		}
		regions = append(regions, Region{Pixels: 7, Probabilities: row(4)})
		for _, err := range []error{d.Add(b), scored.AddScored(nil, row(image), labels), s.AddRegions(regions), k.Add([][]float64{row(15), row(6)})} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	for what, result := range map[string]func() ([]Vector, error){"boxes": d.Result, "scored boxes": scored.Result, "regions": s.Result, "keypoints": k.Result} {
		vectors, err := result()
		note(what, vectors, err)
	}
	empty, _ := NewSegmentation(Options{})
	empty.AddRegions(nil)
	vectors, err := empty.Result()
	note("no pixels", vectors, err)
	got = append(got, fmt.Sprintf("no pixels: bits %#x", math.Float64bits(vectors[0].Values[0])))
	for x := 0.0; x > -720; x -= 17.3 {
		got = append(got, fmt.Sprintf("exp(%v) = %v", x, exp(x)))
	}

	const file = "testdata/scores.txt"
	slices.Sort(got)
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
