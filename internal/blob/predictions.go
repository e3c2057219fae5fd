package blob

import (
	"errors"
	"fmt"
)

// prediction is one prediction of an image. What is absent is nil or -1.
type prediction struct {
	category      int // index among the categories
	score         float64
	hasScore      bool
	probabilities []float64 // one per category
	box           []float64 // x, y, width, height in pixels
	keypoints     []float64
	pixels        int // of the mask
}

var predictionFields = []string{"category_id", "score", "probabilities", "bbox", "keypoints", "segmentation"}

// each calls use with all predictions of each image, which are only valid
// during the call, in the order of the files.
func (t *tree) each(names *nameList, use func([]prediction) error) error {
	return t.walk(t.folder, 0, func(name string) error {
		return t.json(name, func(s *scanner) error {
			t.all = t.all[:0]
			t.numbers.reset()
			var file []byte
			found := false
			err := s.object([]string{"file_name", "predictions"}, func(field int) (err error) {
				if field == 0 {
					file, err = s.text()
					return err
				}
				found = true
				return s.array(func() error {
					p, err := t.prediction(s)
					if err != nil {
						return fmt.Errorf("%d: %w", len(t.all), err)
					}
					t.all = append(t.all, p)
					return nil
				})
			})
			if err != nil {
				return err
			}
			if file == nil || !found {
				return errors.New("file_name or predictions is missing")
			}
			if err := names.add(file, true); err != nil {
				return err
			}
			return use(t.all)
		})
	})
}

func (t *tree) prediction(s *scanner) (prediction, error) {
	p := prediction{category: -1, pixels: -1}
	err := s.object(predictionFields, func(field int) (err error) {
		switch predictionFields[field] {
		case "category_id":
			id, err := s.integer(0, 1<<31)
			if err != nil {
				return err
			}
			index, known := t.categories[id]
			if !known {
				return fmt.Errorf("schema.json has no category %d", id)
			}
			p.category = index
		case "score":
			p.score, err = s.number(64)
			p.hasScore = true
		case "probabilities":
			p.probabilities, err = t.numbers.read(s)
			if err == nil && len(p.probabilities) != len(t.categories) {
				err = fmt.Errorf("%d values for %d categories", len(p.probabilities), len(t.categories))
			}
		case "bbox":
			p.box, err = t.numbers.read(s)
			if err == nil && (len(p.box) != 4 || p.box[2] <= 0 || p.box[3] <= 0) {
				err = fmt.Errorf("is %v, want x, y and a width and height above 0", p.box)
			}
		case "keypoints":
			p.keypoints, err = t.numbers.read(s)
		case "segmentation":
			p.pixels, err = maskPixels(s)
		}
		return err
	})
	if err == nil && p.category < 0 {
		err = errors.New("category_id is missing")
	}
	return p, err
}

// maskPixels reads a run-length encoding, which begins with the number of
// pixels before the mask, and returns how many are in it.
func maskPixels(s *scanner) (pixels int, err error) {
	const most = 1 << 40
	run, all := 0, 0
	err = s.array(func() error {
		n, err := s.integer(0, most)
		if all += n; err == nil && all > most {
			err = fmt.Errorf("has more than %d pixels", most)
		}
		pixels += n * (run & 1)
		run++
		return err
	})
	return pixels, err
}
