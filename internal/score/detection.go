package score

import (
	"fmt"
	"math"
	"slices"
)

// Detection scores images one at a time by their boxes.
//
// An image's weighted count is the sum over its distinct labels of
// 1 + (times it occurs - 1) · FrequencyPenalty; object_frequency places it
// between the smallest, which scores MinScore, and the largest of all images
// of the scorer, which scores 1. objectness_least_confidence is 1 minus the
// mean score of the boxes, not clamped. The uncertainties are those of the
// box with the largest one. Without boxes the last two are 0.
type Detection struct {
	config  DetectionConfig
	rows    rowScorer
	vectors []Vector // the first holds the weighted counts until Result
	bad     RowsError
	labels  []int // of the image being added
}

// NewDetection returns a scorer without images.
func NewDetection(c DetectionConfig, o Options) (*Detection, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	if o.Raw {
		return nil, errRaw
	}
	return &Detection{config: c, rows: rowScorer{Options: o}, vectors: NewVectors(TaskObjectDetection, 0)}, nil
}

// Boxes are the predictions of one image, one element per box in each slice.
type Boxes struct {
	// Boxes are not looked at beyond their number and being boxes, see Clip.
	// nil where they are not known.
	Boxes []Box

	ObjectProbabilities []float64
	ClassProbabilities  [][]float64 // of one common length ≥ 1

	// Scores of the boxes. nil means object probability times largest class
	// probability; an empty slice is only right without boxes.
	Scores []float64
}

// Add scores the next image. The label of a box is its first largest class. An
// error leaves the scorer as it was; the caller names the image. The boxes are
// not kept.
func (d *Detection) Add(b Boxes) error {
	n := len(b.ObjectProbabilities)
	if err := checkBoxes(b.Boxes, n); err != nil {
		return err
	}
	if len(b.ClassProbabilities) != n {
		return fmt.Errorf("%d object probabilities and %d rows of class probabilities", n, len(b.ClassProbabilities))
	}
	if b.Scores != nil && len(b.Scores) != n {
		return fmt.Errorf("%d object probabilities and %d scores", n, len(b.Scores))
	}
	for i, row := range b.ClassProbabilities {
		if len(row) != len(b.ClassProbabilities[0]) {
			return fmt.Errorf("box %d has %d class probabilities, the first has %d", i, len(row), len(b.ClassProbabilities[0]))
		}
	}
	if n > 0 {
		if err := d.rows.setCols(len(b.ClassProbabilities[0])); err != nil {
			return err
		}
	}

	d.labels = d.labels[:0]
	var most [uncertainties]float64
	var sum float64
	fault := ""
	for i, row := range b.ClassProbabilities {
		u, ok := d.rows.scoreRow(row)
		for k := range u {
			most[k] = max(most[k], u[k])
		}
		if !ok && fault == "" {
			fault = fmt.Sprintf("box %d: %s", i, explain(d.rows.Options, row))
		}
		if d.rows.normalizes() {
			row = d.rows.buf[:len(row)]
		}
		label := firstMax(row)
		d.labels = append(d.labels, label)
		score := b.ObjectProbabilities[i] * row[label]
		if b.Scores != nil {
			score = b.Scores[i]
		}
		sum += score
		if d.rows.Strict && fault == "" {
			switch {
			case !validProbability(b.ObjectProbabilities[i]):
				fault = fmt.Sprintf("box %d: object probability %v", i, b.ObjectProbabilities[i])
			case !validProbability(score):
				fault = fmt.Sprintf("box %d: score %v", i, score)
			}
		}
	}
	d.append(sum, most, fault)
	return nil
}

// AddScored scores the next image from the scores and labels of its boxes
// alone. With K the largest label of the image, at least 1, each box is taken
// to have K+1 class probabilities: its score for its label and an equal share
// of the rest for every other class. Scores must lie in [0, 1], NaN apart, and
// labels be ≥ 0; boxes is nil where they are not known. An error leaves the
// scorer as it was; the caller names the image.
func (d *Detection) AddScored(boxes []Box, scores []float64, labels []int) error {
	if err := checkBoxes(boxes, len(scores)); err != nil {
		return err
	}
	if len(labels) != len(scores) {
		return fmt.Errorf("%d scores and %d labels", len(scores), len(labels))
	}
	others := 1 // K
	for i, s := range scores {
		if s < 0 || s > 1 {
			return fmt.Errorf("score %v of box %d is outside [0, 1]", s, i)
		}
		if labels[i] < 0 {
			return fmt.Errorf("label %d of box %d is negative", labels[i], i)
		}
		others = max(others, labels[i])
	}

	d.labels = append(d.labels[:0], labels...)
	scale := newScale(float64(others)+1, false)
	var most [uncertainties]float64
	var sum float64
	fault := ""
	for i, s := range scores {
		var u [uncertainties]float64
		u[0], u[1], u[2] = scale.apply(spreadRow(s, others))
		for k := range u {
			most[k] = max(most[k], u[k])
		}
		sum += s
		if d.rows.Strict && s != s && fault == "" {
			fault = fmt.Sprintf("box %d: score NaN", i)
		}
	}
	d.append(sum, most, fault)
	return nil
}

// spreadRow is rawRow of one entry s and others entries (1 - s)/others,
// without making the row: labels come from outside and may be large.
func spreadRow(s float64, others int) (lc, mg, bits float64) {
	if s != s {
		return s, s, s
	}
	share := (1 - s) / float64(others)
	p1, p2 := max(s, share), min(s, share)
	if others > 1 {
		p2 = share // the largest of the others, also where s is not the largest
	}
	if s > 0 {
		bits = math.FMA(-s, log2(s), bits)
	}
	if share > 0 {
		bits = math.FMA(s-1, log2(share), bits)
	}
	return 1 - p1, 1 - (p1 - p2), bits
}

// Result returns the scores of all images, or a *RowsError where some are bad.
// It is an error if there are no images. The scorer must not be used
// afterwards.
func (d *Detection) Result() ([]Vector, error) {
	counts := d.vectors[0].Values
	if err := d.bad.err(len(counts)); err != nil {
		return nil, err
	}
	if len(counts) == 0 {
		return nil, errNoImages
	}
	low, high := slices.Min(counts), slices.Max(counts)
	for i, f := range counts {
		counts[i] = 1
		if f < high {
			counts[i] = d.config.MinScore + (f-low)*(1-d.config.MinScore)/(high-low)
		}
	}
	return d.vectors, nil
}

// append adds one image whose labels are in d.labels.
func (d *Detection) append(sum float64, most [uncertainties]float64, fault string) {
	if fault != "" {
		d.bad.add(len(d.vectors[0].Values), fault)
	}
	boxes := len(d.labels)
	objectness := 0.0
	if boxes > 0 {
		objectness = clean(1 - sum/float64(boxes))
	}
	slices.Sort(d.labels)
	distinct := len(slices.Compact(d.labels))
	count := float64(distinct) + float64(float64(boxes-distinct)*d.config.FrequencyPenalty)
	appendImage(d.vectors, count, objectness, most[0], most[1], most[2])
}

// firstMax returns the index of the first largest entry. NaN in first place
// stays, a later one never wins.
func firstMax(row []float64) int {
	best := 0
	for i, v := range row {
		if v > row[best] {
			best = i
		}
	}
	return best
}
