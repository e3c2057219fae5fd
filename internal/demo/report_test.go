package demo

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// sample is a report of two seeds that differ by one point everywhere.
func sample() Report {
	r := Report{Pool: 8000, HeldOut: 2000, Start: 100, Batch: 100, Seeds: 2, Labels: []int{100, 200, 300, 400, 500}, Events: 12345, Selected: 4000, Seconds: 61}
	for i, mean := range [][]float64{
		{68.4, 74.0, 76.6, 77.7, 78.8},
		{68.4, 75.0, 77.7, 79.3, 80.6},
		{68.4, 71.9, 73.3, 74.5, 75.4},
		{68.4, 73.9, 75.3, 78.4, 79.2},
		{68.4, 75.5, 77.8, 79.8, 80.2},
	} {
		c := Curve{Method: methods[i].name, About: methods[i].about, Events: 1000, Seconds: 2.34, SelectSeconds: 0.0125}
		for _, off := range []float64{-0.5, 0.5} {
			var row []float64
			for _, m := range mean {
				row = append(row, (m+off)/100)
			}
			c.Accuracy = append(c.Accuracy, row)
		}
		r.Curves = append(r.Curves, c)
	}
	r.summarize()
	return r
}

func TestSummarize(t *testing.T) {
	r := sample()
	if r.Reference != "random" {
		t.Errorf("reference %q, want random", r.Reference)
	}
	for i, want := range []struct{ end, labels float64 }{{0.788, 500}, {0.806, 368.75}, {0.754, -1}, {0.792, 450}, {0.802, 350}} {
		c := r.Curves[i]
		got := -1.0
		if c.LabelsToReference != nil {
			got = *c.LabelsToReference
		}
		if math.Abs(c.Mean[4]-want.end) > 1e-12 || math.Abs(c.SD[4]-0.01/math.Sqrt2) > 1e-12 || math.Abs(got-want.labels) > 1e-9 {
			t.Errorf("%s: %.4f ± %.4f at the end, reaches random with %g labels; want %v ± 0.0071", c.Method, c.Mean[4], c.SD[4], got, want)
		}
	}
	r.Curves[4].Accuracy[1][4] += 0.02
	r.summarize()
	if c := r.Curves[4]; math.Abs(c.Lead-0.024) > 1e-12 || math.Abs(c.LeadSD-0.02/math.Sqrt2) > 1e-12 {
		t.Errorf("margin leads by %.4f ± %.4f, want 0.0240 ± 0.0141", c.Lead, c.LeadSD)
	}
	r.Curves = r.Curves[1:] // without random there is nothing to compare with
	r.summarize()
	for _, c := range r.Curves {
		if r.Reference != "" || c.LabelsToReference != nil {
			t.Errorf("%s: compared with %q", c.Method, r.Reference)
		}
	}
}

func TestReach(t *testing.T) {
	x := []int{100, 200, 300}
	for _, c := range []struct {
		y      []float64
		target float64
		want   float64
		ok     bool
	}{
		{[]float64{1, 2, 3}, 2.5, 250, true},
		{[]float64{1, 2, 3}, 3, 300, true},
		{[]float64{1, 2, 3}, 0, 100, true},
		{[]float64{1, 2, 3}, 3.1, 0, false},
		{[]float64{1, 3, 2}, 2, 150, true}, // the first time counts
		{[]float64{2, 2, 2}, 2, 100, true},
	} {
		if got, ok := reach(x, c.y, c.target); got != c.want || ok != c.ok {
			t.Errorf("reach(%v, %g) = %g, %v, want %g, %v", c.y, c.target, got, ok, c.want, c.ok)
		}
	}
}

func TestWriteTable(t *testing.T) {
	var b bytes.Buffer
	if err := sample().WriteTable(&b); err != nil {
		t.Fatal(err)
	}
	want := `Accuracy in % on 2,000 images never selected, mean ± standard deviation over 2 seeds.

labels                                  random     uherding       coreset        coral       margin
100                                 68.4 ± 0.7   68.4 ± 0.7    68.4 ± 0.7   68.4 ± 0.7   68.4 ± 0.7
200                                 74.0 ± 0.7   75.0 ± 0.7    71.9 ± 0.7   73.9 ± 0.7   75.5 ± 0.7
300                                 76.6 ± 0.7   77.7 ± 0.7    73.3 ± 0.7   75.3 ± 0.7   77.8 ± 0.7
400                                 77.7 ± 0.7   79.3 ± 0.7    74.5 ± 0.7   78.4 ± 0.7   79.8 ± 0.7
500                                 78.8 ± 0.7   80.6 ± 0.7    75.4 ± 0.7   79.2 ± 0.7   80.2 ± 0.7

points above random, seed by seed                +1.8 ± 0.0    -3.4 ± 0.0   +0.4 ± 0.0   +1.4 ± 0.0
labels to random's final accuracy          500          369   not reached          450          350
from request to selection                12 ms        12 ms         12 ms        12 ms        12 ms
time of a loop                           2.3 s        2.3 s         2.3 s        2.3 s        2.3 s
events sent                              1,000        1,000         1,000        1,000        1,000

uherding reaches with 369 labels what random reaches with 500: 131 labels saved.
4,000 images selected, 12,345 events sent, 61 s.
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
}

func TestReportJSON(t *testing.T) {
	b, err := json.Marshal(sample())
	if err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sample(), back); diff != "" {
		t.Error(diff)
	}
	if n := strings.Count(string(b), "labels_to_reference"); n != 4 {
		t.Errorf("%d methods reach the reference, want 4: %s", n, b)
	}
}

// elements counts the elements of a well-formed document by name.
func elements(t *testing.T, document []byte) map[string]int {
	t.Helper()
	counts := map[string]int{}
	d := xml.NewDecoder(bytes.NewReader(document))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return counts
		}
		if err != nil {
			t.Fatalf("%v\n%s", err, document)
		}
		if e, ok := token.(xml.StartElement); ok {
			counts[e.Name.Local]++
			for _, a := range e.Attr {
				if strings.Contains(a.Value, "NaN") || strings.Contains(a.Value, "Inf") {
					t.Errorf("<%s %s=%q>", e.Name.Local, a.Name.Local, a.Value)
				}
			}
		}
	}
}

func TestLearningCurve(t *testing.T) {
	r := sample()
	drawing := r.LearningCurve()
	elements(t, drawing)
	for _, c := range r.Curves {
		if n := bytes.Count(drawing, []byte(`<path id="`+c.Method+`"`)); n != 1 {
			t.Errorf("%s: %d curves, want 1", c.Method, n)
		}
		if tip := fmt.Sprintf("%s, 500 labels: %.1f ± 0.7 %%", c.Method, 100*c.Mean[4]); !bytes.Contains(drawing, []byte(tip)) {
			t.Errorf("%q is missing", tip)
		}
	}
	for _, want := range []string{"labeled images", "8,000 images", "Mean of 2 seeds", "reaches 78.8 % with 350", "does not reach 78.8 %", ">75 %<"} {
		if !bytes.Contains(drawing, []byte(want)) {
			t.Errorf("%q is missing", want)
		}
	}
	if !bytes.Equal(drawing, sample().LearningCurve()) {
		t.Error("the same report gave another drawing")
	}
}

// TestLearningCurveOfOddReports: whatever is compared, the drawing is one.
func TestLearningCurveOfOddReports(t *testing.T) {
	one := sample()
	one.Curves, one.Seeds = one.Curves[3:], 1
	one.Curves[0].Accuracy = one.Curves[0].Accuracy[:1]
	one.summarize()
	flat := sample()
	for i := range flat.Curves {
		for _, row := range flat.Curves[i].Accuracy {
			for k := range row {
				row[k] = 0.5
			}
		}
	}
	flat.summarize()
	many := sample()
	for i := range 5 {
		c := many.Curves[1]
		c.Method = fmt.Sprintf("<new & %d>", i)
		many.Curves = append(many.Curves, c)
	}
	many.summarize()
	for name, r := range map[string]Report{"empty": {}, "one method, one seed": one, "flat": flat, "nine methods": many} {
		drawing := r.LearningCurve()
		if n := bytes.Count(drawing, []byte("<path id=")); n != len(r.Curves) {
			t.Errorf("%s: %d curves, want %d", name, n, len(r.Curves))
		}
		elements(t, drawing)
	}
}

func TestFirstPicks(t *testing.T) {
	pool, _, err := loadPhotos()
	if err != nil {
		t.Fatal(err)
	}
	r := sample()
	for i := range r.Curves {
		r.Curves[i].FirstBatch = pool.names[20*i : 20*i+20]
	}
	drawing, err := r.FirstPicks()
	if err != nil {
		t.Fatal(err)
	}
	if n := elements(t, drawing)["image"]; n != 5*14 {
		t.Errorf("%d photos, want %d", n, 5*14)
	}
	if again, err := r.FirstPicks(); err != nil || !bytes.Equal(drawing, again) {
		t.Errorf("the same report gave another drawing: %v", err)
	}
	r.Curves[2].FirstBatch = []string{"nobody.png"}
	if _, err := r.FirstPicks(); err == nil || !strings.Contains(err.Error(), `"nobody.png"`) {
		t.Errorf("unknown photo: error %v", err)
	}
}

func TestSpread(t *testing.T) {
	for _, c := range []struct{ y, want []float64 }{
		{[]float64{10, 50, 90}, []float64{10, 50, 90}},
		{[]float64{10, 12, 90}, []float64{10, 30, 90}},
		{[]float64{80, 95, 99}, []float64{60, 80, 100}},
		{[]float64{-5, 0, 1}, []float64{0, 20, 40}},
	} {
		got := append([]float64(nil), c.y...)
		spread(got, 20, 0, 100)
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%v: %s", c.y, diff)
		}
	}
}

func TestNiceStep(t *testing.T) {
	for _, c := range []struct {
		span float64
		n    int
		want float64
	}{{16.5, 6, 5}, {900, 10, 100}, {0, 6, 1}, {7, 7, 1}, {7.1, 7, 2}, {4000, 10, 500}, {math.NaN(), 6, 1}} {
		if got := niceStep(c.span, c.n); got != c.want {
			t.Errorf("niceStep(%g, %d) = %g, want %g", c.span, c.n, got, c.want)
		}
	}
}

func TestThousands(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 123456: "123,456", 1234567: "1,234,567"} {
		if got := thousands(n); got != want {
			t.Errorf("thousands(%d) = %q, want %q", n, got, want)
		}
	}
}
