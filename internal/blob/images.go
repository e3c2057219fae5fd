package blob

import (
	"errors"
	"fmt"

	"nextbatch/internal/score"
)

// stop is an error of a caller's function: it comes back as it is.
type stop struct{ error }

func (s stop) Unwrap() error { return s.error }

// stopped makes an error of a caller's function come back as it is.
func stopped(err error) error {
	if err == nil {
		return nil
	}
	return stop{err}
}

// final reports whether an error needs no more explanation.
func final(err error) bool {
	var e *Error
	var s stop
	return errors.As(err, &e) || errors.As(err, &s)
}

// called makes an error of a caller's function name the image it was about.
func (n *nameList) called(err error) error {
	if err == nil {
		return nil
	}
	return stop{fmt.Errorf("image %s: %w", n.last(), err)}
}

// Detections are the boxes of one image: with class probabilities, or with
// scores and labels.
type Detections struct {
	Boxes  score.Boxes
	Labels []int // nil with class probabilities; else one per box, and in Boxes only Boxes and Scores are set
}

// Add scores the image.
func (d Detections) Add(to *score.Detection) error {
	if d.Labels != nil {
		return to.AddScored(d.Boxes.Boxes, d.Boxes.Scores, d.Labels)
	}
	return to.Add(d.Boxes)
}

// EachDetections calls use with the boxes of each image, in the order of the
// file, and returns the filenames in this order, nil if the file has none. It
// reads JSON rows
//
//	{"filename", "boxes", "object_probabilities", "class_probabilities", "scores"}
//	{"filename", "boxes", "scores", "labels"}
//
// with relative corners [x0, y0, x1, y1], where boxes are always and scores in
// the first form optional, or a Lightly prediction tree, where labels are the
// index of the category. An error of use ends it and comes back, wrapped with
// the image's name. After any error all that use was given is void.
func EachDetections(f *File, use func(Detections) error) (names []string, err error) {
	defer f.finish(&err)
	n := nameList{f: f}
	switch f.format {
	case "json", "jsonl":
		err = f.rows(func(s *scanner, _ int64) error {
			d, name, err := readDetections(s)
			if err == nil {
				err = n.add(name, name != nil)
			}
			if err != nil {
				return err
			}
			return n.called(use(d))
		})
	case "lightly":
		err = f.eachInTree(score.TaskObjectDetection, &n, func(all []prediction) error {
			d, err := treeDetections(all)
			if err != nil {
				return err
			}
			return n.called(use(d))
		})
	default:
		err = f.wrongFormat("detections", "jsonl or lightly")
	}
	if err != nil {
		return nil, err
	}
	return n.done()
}

func (f *File) eachInTree(task string, n *nameList, use func([]prediction) error) error {
	t, err := f.openTree(task)
	if err != nil {
		return err
	}
	return t.each(n, use)
}

var detectionFields = []string{"filename", "boxes", "object_probabilities", "class_probabilities", "scores", "labels"}

func readDetections(s *scanner) (d Detections, name []byte, err error) {
	given := [6]bool{}
	err = s.object(detectionFields, func(field int) (err error) {
		given[field] = true
		switch detectionFields[field] {
		case "filename":
			name, err = s.text()
		case "boxes":
			d.Boxes.Boxes = []score.Box{}
			err = s.array(func() error {
				v, err := s.numbers(make([]float64, 0, 4))
				if err == nil && len(v) != 4 {
					err = fmt.Errorf("box %d has %d numbers, want x0, y0, x1, y1", len(d.Boxes.Boxes), len(v))
				}
				if err == nil {
					d.Boxes.Boxes = append(d.Boxes.Boxes, score.Box{X0: v[0], Y0: v[1], X1: v[2], Y1: v[3]})
				}
				return err
			})
		case "object_probabilities":
			d.Boxes.ObjectProbabilities, err = s.numbers([]float64{})
		case "class_probabilities":
			d.Boxes.ClassProbabilities = [][]float64{}
			err = s.array(func() error {
				row, err := s.numbers(nil)
				d.Boxes.ClassProbabilities = append(d.Boxes.ClassProbabilities, row)
				return err
			})
		case "scores":
			d.Boxes.Scores, err = s.numbers([]float64{})
		case "labels":
			d.Labels = []int{}
			err = s.array(func() error {
				label, err := s.integer(0, 1<<31)
				d.Labels = append(d.Labels, label)
				return err
			})
		}
		return err
	})
	boxes, object, class, scores, labels := given[1], given[2], given[3], given[4], given[5]
	switch {
	case err != nil:
	case object && class && !labels, scores && labels && !object && !class:
	case boxes && len(d.Boxes.Boxes) == 0 && !object && !class && !labels && len(d.Boxes.Scores) == 0: // nothing detected
	default:
		err = errors.New("give object_probabilities and class_probabilities, or scores and labels")
	}
	return d, name, err
}

func treeDetections(all []prediction) (Detections, error) {
	d := Detections{Boxes: score.Boxes{Scores: []float64{}}, Labels: []int{}}
	for i, p := range all {
		switch {
		case !p.hasScore || p.box == nil:
			return d, fmt.Errorf("predictions: %d: score or bbox is missing", i)
		case (p.probabilities == nil) != (all[0].probabilities == nil):
			return d, errors.New("predictions: some have probabilities and some do not")
		case p.probabilities != nil:
			d.Boxes.ClassProbabilities = append(d.Boxes.ClassProbabilities, p.probabilities)
		}
		d.Boxes.Scores = append(d.Boxes.Scores, p.score)
		d.Labels = append(d.Labels, p.category)
	}
	if d.Boxes.ClassProbabilities != nil {
		d.Boxes.ObjectProbabilities, d.Labels = d.Boxes.Scores, nil
	}
	return d, nil
}

// EachKeypoints calls use with the instances of each image, each
// [x0, y0, c0, x1, y1, c1, …], as EachDetections does with boxes. It reads JSON
// rows {"filename", "instances": [{"keypoints", "category_id", "score"}]}, of
// which only the keypoints are needed, or a Lightly prediction tree.
func EachKeypoints(f *File, use func(instances [][]float64) error) (names []string, err error) {
	defer f.finish(&err)
	n := nameList{f: f}
	switch f.format {
	case "json", "jsonl":
		err = f.rows(func(s *scanner, _ int64) error {
			instances, name, err := readInstances(s)
			if err == nil {
				err = n.add(name, name != nil)
			}
			if err != nil {
				return err
			}
			return n.called(use(instances))
		})
	case "lightly":
		err = f.eachInTree(score.TaskKeypointDetection, &n, func(all []prediction) error {
			instances := make([][]float64, len(all))
			for i, p := range all {
				if p.keypoints == nil {
					return fmt.Errorf("predictions: %d: keypoints are missing", i)
				}
				instances[i] = p.keypoints
			}
			return n.called(use(instances))
		})
	default:
		err = f.wrongFormat("keypoints", "jsonl or lightly")
	}
	if err != nil {
		return nil, err
	}
	return n.done()
}

func readInstances(s *scanner) (instances [][]float64, name []byte, err error) {
	found := false
	err = s.object([]string{"filename", "instances"}, func(field int) (err error) {
		if field == 0 {
			name, err = s.text()
			return err
		}
		found = true
		return s.array(func() error {
			var points []float64
			err := s.object([]string{"keypoints", "category_id", "score"}, func(field int) (err error) {
				switch field {
				case 0:
					points, err = s.numbers([]float64{})
				case 1:
					_, err = s.integer(-1, 1<<31)
				case 2:
					_, err = s.number(64)
				}
				return err
			})
			if err == nil && points == nil {
				err = fmt.Errorf("%d: keypoints are missing", len(instances))
			}
			instances = append(instances, points)
			return err
		})
	})
	if err == nil && !found {
		err = errors.New("instances are missing")
	}
	return instances, name, err
}
