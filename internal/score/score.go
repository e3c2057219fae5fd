// Package score turns model predictions into acquisition scores: one number
// per image that says how much a label for it is worth, higher meaning more.
// It only computes. Opening files, matching rows to filenames, cancelling and
// running in parallel belong to the caller.
//
// The scores and their names are those of Lightly's Python package, version
// 1.2.37, edge cases included: least confidence, margin and entropy of a row of
// class probabilities (B. Settles, Active Learning Literature Survey, 2009,
// section 3.1), for whole images, the boxes of an image or its pixels; how full
// an image is; and how sure its keypoints are. Its known defects are not
// copied: a configuration may be partial, and NaN is never a valid setting.
//
// Each task has a scorer that is fed one image at a time with Add and gives
// all vectors at the end with Result. A scorer belongs to one goroutine. Only
// detection's object_frequency compares images with one another: all other
// scores of an image come out the same however the images are cut into chunks.
// Classification also scores a matrix at once, or ranges of it in parallel.
package score

// Tasks, as predictions.ready names them.
const (
	TaskClassification       = "classification"
	TaskObjectDetection      = "object_detection"
	TaskSemanticSegmentation = "semantic_segmentation"
	TaskKeypointDetection    = "keypoint_detection"
)

// uncertainties is how many scores one row of class probabilities has.
const uncertainties = 3

var names = map[string][]string{
	TaskClassification:       {leastConfidence, margin, entropy},
	TaskObjectDetection:      {"object_frequency", "objectness_least_confidence", leastConfidence, margin, entropy},
	TaskSemanticSegmentation: {leastConfidence, margin, entropy},
	TaskKeypointDetection:    {"mean_uncertainty"},
}

const (
	leastConfidence = "uncertainty_least_confidence"
	margin          = "uncertainty_margin"
	entropy         = "uncertainty_entropy"
)

// Names returns the names of the scores of a task in the order in which
// results list them, nil for an unknown task. The caller owns the slice.
func Names(task string) []string { return append([]string(nil), names[task]...) }

// Vector is one named score of every image, in input order.
type Vector struct {
	Name   string
	Values []float64
}

// NewVectors returns the vectors of a task with n zeros each.
func NewVectors(task string, n int) []Vector {
	vectors := make([]Vector, len(names[task]))
	for i, name := range names[task] {
		vectors[i] = Vector{Name: name, Values: make([]float64, n)}
	}
	return vectors
}

// appendImage adds one value to each vector.
func appendImage(vectors []Vector, values ...float64) {
	for i, v := range values {
		vectors[i].Values = append(vectors[i].Values, v)
	}
}
