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

// EachDetections calls use with the boxes of each image, which are only valid
// during the call, in the order of the file, and returns the filenames in this order, nil if the file has none. It
// reads JSON rows
//
//	{"filename", "boxes", "object_probabilities", "class_probabilities", "scores"}
//	{"filename", "boxes", "scores", "labels"}
//
// with relative corners [x0, y0, x1, y1], where boxes are always and scores in
// the first form optional, a Lightly prediction tree, COCO results with their
// images, Ultralytics' text files, or FiftyOne's labels. There labels are the
// index of the category, or its id where categories are not listed. An error of use ends it and comes back, wrapped with
// the image's name. After any error all that use was given is void.
func EachDetections(f *File, use func(Detections) error) (names []string, err error) {
	if f.several != nil {
		return eachImage(f, EachDetections, use)
	}
	defer f.finish(&err)
	n := nameList{f: f}
	r := newBoxReader()
	switch f.format {
	case "json", "jsonl":
		err = f.rows(func(s *scanner, _ int64) error {
			d, name, err := r.read(s)
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
			d, err := r.fromTree(all)
			if err != nil {
				return err
			}
			return n.called(use(d))
		})
	case "coco":
		err = f.eachCOCO(&n, use)
	case "ultralytics":
		err = f.eachTXTBoxes(&n, use)
	case "fiftyone":
		err = f.eachFiftyOne(&n, use)
	default:
		err = f.wrongFormat("detections", "jsonl, lightly, coco, ultralytics or fiftyone")
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

// boxReader reads the boxes of each image into the memory of those before.
type boxReader struct {
	boxes   []score.Box
	rows    [][]float64
	labels  []int
	scores  []float64
	numbers numberLists
}

func newBoxReader() *boxReader {
	return &boxReader{boxes: []score.Box{}, rows: [][]float64{}, labels: []int{}, scores: []float64{}} // nil is absent
}

func (r *boxReader) read(s *scanner) (d Detections, name []byte, err error) {
	r.numbers.reset()
	given := [6]bool{}
	err = s.object(detectionFields, func(field int) (err error) {
		given[field] = true
		switch detectionFields[field] {
		case "filename":
			name, err = s.text()
		case "boxes":
			d.Boxes.Boxes, err = r.readBoxes(s)
		case "object_probabilities":
			d.Boxes.ObjectProbabilities, err = r.numbers.read(s)
		case "class_probabilities":
			r.rows = r.rows[:0]
			err = s.array(func() error {
				row, err := r.numbers.read(s)
				r.rows = append(r.rows, row)
				return err
			})
			d.Boxes.ClassProbabilities = r.rows
		case "scores":
			d.Boxes.Scores, err = r.numbers.read(s)
		case "labels":
			r.labels = r.labels[:0]
			err = s.array(func() error {
				label, err := s.integer(0, 1<<31)
				r.labels = append(r.labels, label)
				return err
			})
			d.Labels = r.labels
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

func (r *boxReader) readBoxes(s *scanner) ([]score.Box, error) {
	r.boxes = r.boxes[:0]
	var corners [4]float64
	err := s.array(func() error {
		v, err := s.numbers(corners[:0])
		if err == nil && len(v) != 4 {
			err = fmt.Errorf("box %d has %d numbers, want x0, y0, x1, y1", len(r.boxes), len(v))
		}
		if err == nil {
			r.boxes = append(r.boxes, score.Box{X0: v[0], Y0: v[1], X1: v[2], Y1: v[3]})
		}
		return err
	})
	return r.boxes, err
}

func (r *boxReader) fromTree(all []prediction) (Detections, error) {
	r.rows, r.scores, r.labels = r.rows[:0], r.scores[:0], r.labels[:0]
	for i, p := range all {
		switch {
		case !p.hasScore || p.box == nil:
			return Detections{}, fmt.Errorf("predictions: %d: score or bbox is missing", i)
		case (p.probabilities == nil) != (all[0].probabilities == nil):
			return Detections{}, errors.New("predictions: some have probabilities and some do not")
		case p.probabilities != nil:
			r.rows = append(r.rows, p.probabilities)
		}
		r.scores = append(r.scores, p.score)
		r.labels = append(r.labels, p.category)
	}
	if len(r.rows) > 0 {
		return Detections{Boxes: score.Boxes{Scores: r.scores, ObjectProbabilities: r.scores, ClassProbabilities: r.rows}}, nil
	}
	return Detections{Boxes: score.Boxes{Scores: r.scores}, Labels: r.labels}, nil
}

// EachKeypoints calls use with the instances of each image, each
// [x0, y0, c0, x1, y1, c1, …] and only valid during the call, as EachDetections does with boxes. It reads JSON
// rows {"filename", "instances": [{"keypoints", "category_id", "score"}]}, of
// which only the keypoints are needed, a Lightly prediction tree, COCO
// results with their images, or Ultralytics' text files.
func EachKeypoints(f *File, use func(instances [][]float64) error) (names []string, err error) {
	if f.several != nil {
		return eachImage(f, EachKeypoints, use)
	}
	defer f.finish(&err)
	n := nameList{f: f}
	var r instanceReader
	switch f.format {
	case "json", "jsonl":
		err = f.rows(func(s *scanner, _ int64) error {
			instances, name, err := r.read(s)
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
			r.instances = r.instances[:0]
			for i, p := range all {
				if p.keypoints == nil {
					return fmt.Errorf("predictions: %d: keypoints are missing", i)
				}
				r.instances = append(r.instances, p.keypoints)
			}
			return n.called(use(r.instances))
		})
	case "coco":
		err = f.eachCOCOKeypoints(&n, use)
	case "ultralytics":
		err = f.eachTXTKeypoints(&n, use)
	default:
		err = f.wrongFormat("keypoints", "jsonl, lightly, coco or ultralytics")
	}
	if err != nil {
		return nil, err
	}
	return n.done()
}

// instanceReader reads the instances of each image into the memory of those
// before.
type instanceReader struct {
	instances [][]float64
	numbers   numberLists
}

var instanceFields = []string{"keypoints", "category_id", "score"}

func (r *instanceReader) read(s *scanner) (instances [][]float64, name []byte, err error) {
	r.numbers.reset()
	r.instances = r.instances[:0]
	found := false
	err = s.object([]string{"filename", "instances"}, func(field int) (err error) {
		if field == 0 {
			name, err = s.text()
			return err
		}
		found = true
		return s.array(func() error {
			points, err := r.instance(s)
			if err == nil && points == nil {
				err = fmt.Errorf("%d: keypoints are missing", len(r.instances))
			}
			r.instances = append(r.instances, points)
			return err
		})
	})
	if err == nil && !found {
		err = errors.New("instances are missing")
	}
	return r.instances, name, err
}

func (r *instanceReader) instance(s *scanner) (points []float64, err error) {
	err = s.object(instanceFields, func(field int) (err error) {
		switch field {
		case 0:
			points, err = r.numbers.read(s)
		case 1:
			_, err = s.integer(-1, 1<<31)
		case 2:
			_, err = s.number(64)
		}
		return err
	})
	return points, err
}
