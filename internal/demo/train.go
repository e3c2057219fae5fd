package demo

import (
	"math"
	"math/rand/v2"

	fashionmnist "nextbatch/examples/fashion-mnist"
)

const (
	classes = len(fashionmnist.Classes)

	// The classifier: small enough to be trained again in every round.
	hidden       = 64
	epochs       = 25
	batchRows    = 16
	learningRate = 0.05 // at the start, falls to 0 along a half cosine
	momentum     = 0.9
	weightDecay  = 0.003
)

// classifier is a perceptron with one hidden layer of rectified units.
type classifier struct {
	first, second [][]float64 // weights per unit, the last one its bias
}

// train fits a classifier from scratch: stochastic gradient descent on the
// cross entropy. There must be at least one row. Rows are not changed. Equal
// arguments give an equal classifier.
func train(features [][]float64, labels []uint8, seed uint64) *classifier {
	rng := rand.New(rand.NewPCG(seed, 0))
	inputs := len(features[0])
	c := &classifier{layer(hidden, inputs), layer(classes, hidden)}
	for _, weights := range [][][]float64{c.first, c.second} {
		for _, w := range weights {
			deviation := math.Sqrt(2 / float64(len(w)-1)) // He et al. 2015
			for j := range len(w) - 1 {
				w[j] = deviation * rng.NormFloat64()
			}
		}
	}
	gradient := newSums(inputs)
	velocity := &classifier{layer(hidden, inputs), layer(classes, hidden)}
	order := make([]int, len(features))
	for i := range order {
		order[i] = i
	}
	perEpoch := (len(features) + batchRows - 1) / batchRows
	for step := range epochs * perEpoch {
		if step%perEpoch == 0 {
			rng.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		}
		begin := step % perEpoch * batchRows
		batch := order[begin:min(begin+batchRows, len(order))]
		gradient.clear()
		for _, i := range batch {
			gradient.observe(c, features[i], labels[i])
		}
		rate := learningRate * (1 + math.Cos(math.Pi*float64(step)/float64(epochs*perEpoch))) / 2
		descend(c.first, gradient.first, velocity.first, rate, len(batch))
		descend(c.second, gradient.second, velocity.second, rate, len(batch))
	}
	return c
}

// predict writes the class probabilities of one row of features into dst, and
// into activity, which has room for the hidden layer, what it computes on the
// way.
func (c *classifier) predict(dst, activity, features []float64) {
	for j, w := range c.first {
		activity[j] = max(0, dot(features, w)+w[len(features)])
	}
	top := math.Inf(-1)
	for k, w := range c.second {
		dst[k] = dot(activity, w) + w[len(activity)]
		top = max(top, dst[k])
	}
	var sum float64
	for k, z := range dst {
		dst[k] = math.Exp(z - top)
		sum += dst[k]
	}
	for k := range dst {
		dst[k] /= sum
	}
}

// sums of gradients of the cross entropy, with what it takes to compute them.
type sums struct {
	classifier
	activity, blame, miss []float64
}

func newSums(inputs int) *sums {
	return &sums{classifier{layer(hidden, inputs), layer(classes, hidden)},
		make([]float64, hidden), make([]float64, hidden), make([]float64, classes)}
}

// observe adds the gradient at one row, by back-propagation.
func (s *sums) observe(c *classifier, features []float64, label uint8) {
	c.predict(s.miss, s.activity, features)
	s.miss[label]--
	clear(s.blame)
	for k, m := range s.miss {
		add(s.second[k], m, s.activity)
		add(s.blame, m, c.second[k][:hidden])
	}
	for j, b := range s.blame {
		if s.activity[j] > 0 {
			add(s.first[j], b, features)
		}
	}
}

// probabilities of the classes, one row per row of features.
func (c *classifier) probabilities(features [][]float64) [][]float64 {
	rows := make([][]float64, len(features))
	activity := make([]float64, hidden)
	for i, x := range features {
		rows[i] = make([]float64, classes)
		c.predict(rows[i], activity, x)
	}
	return rows
}

// accuracy is the share of rows whose most probable class is the right one.
// Ties go to the first class.
func accuracy(probabilities [][]float64, labels []uint8) float64 {
	right := 0
	for i, p := range probabilities {
		best := 0
		for k, v := range p {
			if v > p[best] {
				best = k
			}
		}
		if best == int(labels[i]) {
			right++
		}
	}
	return float64(right) / float64(len(labels))
}

// layer makes the weights of a layer, zero: one row per unit, the bias last.
func layer(units, inputs int) [][]float64 {
	w := make([][]float64, units)
	for i := range w {
		w[i] = make([]float64, inputs+1)
	}
	return w
}

func (s *sums) clear() {
	for _, weights := range [][][]float64{s.first, s.second} {
		for _, w := range weights {
			clear(w)
		}
	}
}

// add adds x, scaled, to dst; where dst is one longer, to its bias the scale.
func add(dst []float64, scale float64, x []float64) {
	head := dst[:len(x)]
	for j, v := range x {
		head[j] += scale * v
	}
	if len(dst) > len(x) {
		dst[len(x)] += scale
	}
}

// descend makes one step against the mean gradient of some rows.
func descend(weights, gradient, velocity [][]float64, rate float64, rows int) {
	for i, w := range weights {
		g, v := gradient[i], velocity[i]
		for j := range w {
			v[j] = momentum*v[j] - rate*(g[j]/float64(rows)+weightDecay*w[j])
			w[j] += v[j]
		}
	}
}
