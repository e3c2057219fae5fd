package lightly

import (
	"encoding/json"
	"fmt"
	"slices"

	"nextbatch/internal/state"
)

// singleton is one prediction: a class of an image, or an object in it.
type singleton struct {
	Type          string          `json:"type"`
	TaskName      string          `json:"taskName"`
	CategoryID    *count          `json:"categoryId"`
	Score         *float64        `json:"score"`
	CropDatasetID string          `json:"cropDatasetId,omitempty"`
	CropSampleID  string          `json:"cropSampleId,omitempty"`
	Probabilities []float64       `json:"probabilities,omitempty"` // one per category, in their order
	BBox          []float64       `json:"bbox,omitempty"`          // x, y, width, height in pixels
	Segmentation  json.RawMessage `json:"segmentation,omitempty"`  // run lengths, a list or text
	Keypoints     []float64       `json:"keypoints,omitempty"`     // x, y, score, x, …
}

const (
	classificationType = "CLASSIFICATION"
	detectionType      = "OBJECT_DETECTION"
)

// taskTypes are the types that can be stored.
var taskTypes = []string{classificationType, detectionType, "SEMANTIC_SEGMENTATION", "INSTANCE_SEGMENTATION", "KEYPOINT_DETECTION"}

// check compares a singleton with the schema of its task.
func (s singleton) check(t state.PredictionTask) error {
	switch {
	case s.Type != t.Type:
		return fmt.Errorf("type is %.40q, but task %s is %s", s.Type, t.Name, t.Type)
	case s.CategoryID == nil || s.Score == nil:
		return fmt.Errorf("categoryId or score is missing")
	case category(t, int(*s.CategoryID)) < 0:
		return fmt.Errorf("task %s has no category %d", t.Name, *s.CategoryID)
	case !probability(*s.Score):
		return fmt.Errorf("score is %v, not in 0 … 1", *s.Score)
	case s.Probabilities != nil && len(s.Probabilities) != len(t.Categories):
		return fmt.Errorf("%d probabilities for the %d categories of task %s", len(s.Probabilities), len(t.Categories), t.Name)
	case s.Type == detectionType && (len(s.BBox) != 4 || s.BBox[2] <= 0 || s.BBox[3] <= 0):
		return fmt.Errorf("bbox is %v, want x, y, and a width and height above 0", s.BBox)
	}
	for _, p := range s.Probabilities {
		if !probability(p) {
			return fmt.Errorf("probability %v, not in 0 … 1", p)
		}
	}
	return nil
}

func probability(p float64) bool { return p >= 0 && p <= 1 }

// category returns the place of a category id in its task, -1 if it has none.
func category(t state.PredictionTask, id int) int {
	return slices.IndexFunc(t.Categories, func(c state.Category) bool { return c.ID == id })
}

// scoredTasks are the types that can be scored, in the words of
// predictions.ready.
var scoredTasks = map[string]string{classificationType: "classification", detectionType: "object_detection"}

// classified and detected are lines of predictions.ready.
type classified struct {
	Filename      string    `json:"filename"`
	Probabilities []float64 `json:"probabilities"`
}

type detected struct {
	Filename            string      `json:"filename"`
	Boxes               *[]float64  `json:"boxes,omitempty"` // empty: nothing was detected
	Scores              []float64   `json:"scores,omitempty"`
	Labels              []int       `json:"labels,omitempty"`
	ObjectProbabilities []float64   `json:"object_probabilities,omitempty"`
	ClassProbabilities  [][]float64 `json:"class_probabilities,omitempty"`
}

// line writes what was predicted for an image as a line of predictions.ready.
// It returns nil for an image of which the task says nothing; an image with
// predictions of which none is of a detection task has no objects.
func line(t state.PredictionTask, filename string, all []singleton) (any, error) {
	of := slices.DeleteFunc(slices.Clone(all), func(s singleton) bool { return s.TaskName != t.Name })
	if t.Type == classificationType {
		switch {
		case len(of) == 0:
			return nil, nil
		case of[0].Probabilities == nil:
			return nil, fmt.Errorf("no probabilities")
		}
		return classified{filename, of[0].Probabilities}, nil
	}
	d := detected{Filename: filename}
	if len(of) == 0 {
		d.Boxes = &[]float64{}
		return d, nil
	}
	for _, s := range of {
		if (s.Probabilities == nil) != (of[0].Probabilities == nil) {
			return nil, fmt.Errorf("some objects with probabilities and some without")
		}
		d.Scores = append(d.Scores, *s.Score)
		if s.Probabilities != nil {
			d.ClassProbabilities = append(d.ClassProbabilities, s.Probabilities)
		} else {
			d.Labels = append(d.Labels, category(t, int(*s.CategoryID)))
		}
	}
	if d.ClassProbabilities != nil {
		d.ObjectProbabilities = d.Scores
	}
	return d, nil
}
