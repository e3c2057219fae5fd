package blob

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
)

// gather reads all results, of which read takes what it needs of the given
// fields, one of which there must be, and puts them into the order of the images.
func (c *coco) gather(given []string, read func(field int, s *scanner, r *found) error) error {
	if len(c.files) > math.MaxInt32 {
		return fault("reference_too_large", "", "has too many images")
	}
	fields := append([]string{"image_id", "category_id", "score", "file_name"}, given...)
	var s *scanner // of the result being read, as what follows
	var r found
	var id, file []byte
	var has [5]bool // the last for any of those given
	value := func(i int) (err error) {
		has[min(i, 4)] = true
		switch i {
		case 0:
			id, err = c.readID(s)
		case 1:
			var label int
			label, err = s.integer(0, 1<<31-1)
			r.label = int32(label)
		case 2:
			r.score, err = s.number(64)
		case 3:
			file, err = s.text()
		default:
			err = read(i-4, s, &r)
		}
		return err
	}
	one := func(e *scanner) error {
		s, r, id, file, has = e, found{label: -1}, nil, nil, [5]bool{}
		err := s.lenient(fields, value)
		switch {
		case err != nil:
			return err
		case !has[0] || !has[1] || !has[2] || !has[4]:
			return fmt.Errorf("image_id, category_id, score or %s is missing", strings.Join(given, " and "))
		}
		if c.classes != nil {
			index, known := c.classes[int(r.label)]
			if !known {
				return fmt.Errorf("no category has the id %d", r.label)
			}
			r.label = int32(index)
		}
		image, err := c.imageOf(id, file)
		if err != nil {
			return err
		}
		r.image = int32(image)
		return c.f.addFound(&c.found, r)
	}
	err := c.f.document("bad_coco", c.results, func(s *stream) error {
		if c.results.name != c.images.name {
			return s.array(one)
		}
		annotations := false
		err := s.object(func(key []byte) error {
			if string(key) != "annotations" {
				return s.skip()
			}
			if annotations {
				return errors.New("is given twice")
			}
			annotations = true
			return s.array(one)
		})
		if err == nil && !annotations {
			err = fault("bad_coco", cocoHint, "has no annotations")
		}
		return err
	})
	byImage := func(a, b found) int { return cmp.Compare(a.image, b.image) }
	if !slices.IsSortedFunc(c.found, byImage) {
		slices.SortStableFunc(c.found, byImage)
	}
	return err
}

// eachCOCO calls use with the boxes, or the masks, of each image.
func (f *File) eachCOCO(n *nameList, use func(Detections) error) error {
	c, err := f.openCOCO()
	if err != nil {
		return err
	}
	var box []float64
	err = c.gather([]string{"bbox", "segmentation"}, func(field int, s *scanner, _ *found) (err error) {
		if field == 1 { // a mask, whose shape does not matter here
			return s.skip(0)
		}
		if box, err = s.numbers(box[:0]); err == nil && !isBox(box) {
			err = fmt.Errorf("is %v, want x, y, width and height", box)
		}
		return err
	})
	if err != nil {
		return err
	}
	return n.eachScored(c.files, c.found, use)
}

// eachCOCOKeypoints calls use with the instances of each image.
func (f *File) eachCOCOKeypoints(n *nameList, use func([][]float64) error) error {
	c, err := f.openCOCO()
	if err != nil {
		return err
	}
	err = c.gather([]string{"keypoints"}, func(_ int, s *scanner, r *found) (err error) {
		r.first = len(c.points)
		before := cap(c.points)
		c.points, err = s.numbers(c.points)
		if err == nil {
			err = f.take(int64(cap(c.points)-before) * 8)
		}
		r.last = len(c.points)
		return err
	})
	if err != nil {
		return err
	}
	instances := [][]float64{}
	return n.eachFound(c.files, c.found, func(all []found) error {
		instances = instances[:0]
		for _, r := range all {
			instances = append(instances, c.points[r.first:r.last:r.last])
		}
		return use(instances)
	})
}
