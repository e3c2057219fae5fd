package demo

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestPCA: images with variance in two known directions only.
func TestPCA(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var images [][]byte
	for range 500 {
		a, b := 60*rng.Float64(), 20*rng.Float64()
		images = append(images, []byte{byte(100 + a), byte(100 - a), byte(50 + b), byte(50 + b), 7})
	}
	p := fitPCA(images, 3)
	want := [][]float64{{1, -1, 0, 0, 0}, {0, 0, 1, 1, 0}}
	for k, w := range want {
		if c := math.Abs(dot(w, p.basis[k])) / math.Sqrt2; c < 0.999 {
			t.Errorf("direction %d is %.3f, want ±%v/√2", k, p.basis[k], w)
		}
	}
	for k, v := range p.basis {
		for j, u := range p.basis[:k+1] {
			want := 0.0
			if j == k && k < 2 { // nothing is left for the third
				want = 1
			}
			if d := dot(u, v); math.Abs(d-want) > 1e-9 {
				t.Errorf("basis[%d]·basis[%d] = %g, want %g", j, k, d, want)
			}
		}
	}
	var total float64 // centered, and of variance 1 per feature in the mean
	sum := make([]float64, 3)
	for _, f := range p.features(images) {
		total += dot(f, f)
		for k, x := range f {
			sum[k] += x
		}
	}
	if v := total / 500 / 3; math.Abs(v-1) > 1e-9 {
		t.Errorf("mean variance of a feature is %g, want 1", v)
	}
	for k, s := range sum {
		if math.Abs(s) > 1e-6 {
			t.Errorf("feature %d has mean %g, want 0", k, s/500)
		}
	}
}

// TestCovariance against the definition, two passes in floating point.
func TestCovariance(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	images := make([][]byte, 40)
	for i := range images {
		images[i] = []byte{byte(rng.IntN(256)), 0, byte(rng.IntN(3)), byte(rng.IntN(256))}
	}
	got, mean := covarianceOf(images)
	for i := range 4 {
		for j := range 4 {
			var want float64
			for _, x := range images {
				want += (float64(x[i]) - mean[i]) * (float64(x[j]) - mean[j]) / 40
			}
			if math.Abs(got[i][j]-want) > 1e-9*(1+math.Abs(want)) {
				t.Errorf("covariance[%d][%d] = %g, want %g", i, j, got[i][j], want)
			}
		}
	}
}

func TestPCAOfEqualImages(t *testing.T) {
	p := fitPCA([][]byte{{9, 9, 9}, {9, 9, 9}}, 2)
	for _, f := range p.features([][]byte{{9, 9, 9}}) {
		if diff := cmp.Diff([]float64{0, 0}, f); diff != "" {
			t.Error(diff)
		}
	}
}

// rings are two classes that no straight line separates, and eight empty ones.
func rings(n int, seed uint64) (features [][]float64, labels []uint8) {
	rng := rand.New(rand.NewPCG(seed, 0))
	for i := range n {
		radius, angle := 0.5+1.5*float64(i%2), 2*math.Pi*rng.Float64()
		features = append(features, []float64{radius * math.Cos(angle), radius * math.Sin(angle)})
		labels = append(labels, uint8(i%2))
	}
	return features, labels
}

func TestTrain(t *testing.T) {
	features, labels := rings(200, 1)
	before := slices.Clone(labels)
	c := train(features, labels, 1)
	unseen, truth := rings(1000, 2)
	probabilities := c.probabilities(unseen)
	if a := accuracy(probabilities, truth); a < 0.99 {
		t.Errorf("accuracy %.3f on two rings, want 0.99", a)
	}
	for i, row := range probabilities {
		var sum float64
		for _, p := range row {
			sum += p
		}
		if math.Abs(sum-1) > 1e-12 {
			t.Fatalf("row %d sums to %g", i, sum)
		}
	}
	if !slices.Equal(before, labels) {
		t.Error("train changed the order of its arguments")
	}
	if diff := cmp.Diff(probabilities, train(features, labels, 1).probabilities(unseen)); diff != "" {
		t.Error("the same seed gave another classifier")
	}
	if cmp.Equal(probabilities, train(features, labels, 2).probabilities(unseen)) {
		t.Error("another seed gave the same classifier")
	}
}

// TestGradient: one step without momentum and decay follows the derivative of
// the cross entropy, taken by finite differences.
func TestGradient(t *testing.T) {
	features, labels := rings(1, 3)
	loss := func(c *classifier) float64 { return -math.Log(c.probabilities(features)[0][labels[0]]) }
	rng := rand.New(rand.NewPCG(5, 6))
	c := &classifier{layer(hidden, 2), layer(classes, hidden)}
	for _, weights := range [][][]float64{c.first, c.second} {
		for _, w := range weights {
			for j := range w {
				w[j] = rng.NormFloat64()
			}
		}
	}
	g := newSums(2)
	g.observe(c, features[0], labels[0])
	for layer, weights := range [][][]float64{c.first, c.second} {
		for i, w := range weights {
			for j := range w {
				const h = 1e-6
				w[j] += h
				up := loss(c)
				w[j] -= 2 * h
				down := loss(c)
				w[j] += h
				want, got := (up-down)/(2*h), [][][]float64{g.first, g.second}[layer][i][j]
				if math.Abs(got-want) > 1e-5*(1+math.Abs(want)) {
					t.Fatalf("layer %d, weight %d,%d: gradient %g, want %g", layer, i, j, got, want)
				}
			}
		}
	}
}

func TestAccuracy(t *testing.T) {
	p := [][]float64{{0.2, 0.8}, {0.9, 0.1}, {0.5, 0.5}, {0.1, 0.9}}
	if a := accuracy(p, []uint8{1, 0, 1, 0}); a != 0.5 { // the tie goes to class 0
		t.Errorf("accuracy %g, want 0.5", a)
	}
}

// TestLearns: the perceptron on the components must be worth a learning curve.
func TestLearns(t *testing.T) {
	c, err := theCollection()
	if err != nil {
		t.Fatal(err)
	}
	var right []float64
	for _, n := range []int{100, 1000} {
		right = append(right, accuracy(train(c.features[:n], c.pool.classes[:n], 1).probabilities(c.unseen), c.heldOut.classes))
	}
	t.Logf("accuracy with 100 and 1,000 labels: %.3f", right)
	if right[0] < 0.62 || right[1] < 0.79 {
		t.Errorf("accuracy with 100 and 1,000 labels: %.3f, want 0.62 and 0.79", right)
	}
}
