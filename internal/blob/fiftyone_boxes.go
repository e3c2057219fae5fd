package blob

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
)

// fiftyoneBoxes collects the detections of all images, whose labels are known
// at the end only.
type fiftyoneBoxes struct {
	fiftyone
	files   []string
	found   []found
	words   map[string]int32 // label → number, in the order of appearance
	numbers bool             // labels are the index of a class
	box     []float64
}

// eachFiftyOne calls use with the boxes of each image.
func (f *File) eachFiftyOne(n *nameList, use func(Detections) error) error {
	c := &fiftyoneBoxes{words: map[string]int32{}}
	var err error
	if c.fiftyone, err = f.openFiftyOne(); err != nil {
		return err
	}
	if err = c.each(c.label, c.sample); err == nil {
		err = c.from.blame("bad_fiftyone", c.number())
	}
	if err != nil {
		return err
	}
	return n.eachScored(c.files, c.found, use)
}

func (c *fiftyoneBoxes) add(name string) error {
	if len(c.files) == math.MaxInt32 {
		return errors.New("too many images")
	}
	c.files = append(c.files, name)
	return c.f.take(int64(len(name)) + 32)
}

// label reads the detections of one image in labels.json.
func (c *fiftyoneBoxes) label(name string, s *scanner) error {
	if err := c.add(name); err != nil || s.null() {
		return err
	}
	if s.peek() != '[' {
		return errors.New("is no list of detections but a class: the task of these is classification")
	}
	first := len(c.found)
	if err := c.detections(s); err != nil {
		return err
	}
	return c.sure(first)
}

// sample reads one sample of samples.json: of the field predictions, or else
// the only one that holds detections.
func (c *fiftyoneBoxes) sample(s *scanner) error {
	first, field := len(c.found), ""
	if err := c.add(""); err != nil {
		return err
	}
	name, err := c.fiftyone.sample(s, func(key []byte) error {
		if s.peek() != '{' {
			return s.skip(0)
		}
		start, kind := len(c.found), ""
		err := s.lenient([]string{"_cls", "detections"}, func(i int) error {
			if i == 0 {
				text, err := s.text()
				kind = string(text)
				return err
			}
			return c.detections(s)
		})
		switch {
		case err != nil:
			return err
		case kind != "Detections" || field == "predictions":
			c.found = c.found[:start]
		case field == "" || string(key) == "predictions":
			c.found = slices.Delete(c.found, first, start)
			field = string(key)
		default:
			return fmt.Errorf("%s holds detections too: call the field to use predictions", quote(field))
		}
		return nil
	})
	if err == nil && field == "" {
		err = fmt.Errorf("%s has no field with detections", quote(name))
	}
	if err != nil {
		return err
	}
	c.files[len(c.files)-1] = string(name)
	return c.sure(first)
}

// sure is an error if one of the results from the first has no confidence.
func (c *fiftyoneBoxes) sure(first int) error {
	for _, r := range c.found[first:] {
		if r.score != r.score {
			return errors.New("a detection has no confidence: these are labels, not predictions")
		}
	}
	return nil
}

var detectionKeys = []string{"label", "bounding_box", "confidence"}

// detections reads a list of detections of the last image.
func (c *fiftyoneBoxes) detections(s *scanner) error {
	var r found // the one being read
	boxed := false
	value := func(i int) (err error) {
		switch i {
		case 0:
			r.label, err = c.class(s)
		case 1:
			boxed = true
			if c.box, err = s.numbers(c.box[:0]); err == nil && !isBox(c.box) {
				err = fmt.Errorf("is %v, want x, y, width and height relative to the image", c.box)
			}
		case 2:
			r.score, err = s.number(64)
		}
		return err
	}
	number := 0
	return s.array(func() error {
		r, boxed = found{image: int32(len(c.files) - 1), label: -1, score: math.NaN()}, false
		err := s.lenient(detectionKeys, value)
		if err == nil && (r.label < 0 || !boxed) {
			err = errors.New("label or bounding_box is missing")
		}
		if err != nil && !final(err) {
			err = fmt.Errorf("detection %d: %w", number, err)
		}
		number++
		if err != nil {
			return err
		}
		return c.f.addFound(&c.found, r)
	})
}

// class reads a class, by its name or index.
func (c *fiftyoneBoxes) class(s *scanner) (int32, error) {
	if s.peek() != '"' {
		n, err := s.integer(0, maxCols)
		c.numbers = true
		return int32(n), err
	}
	text, err := s.text()
	if err != nil {
		return -1, err
	}
	n, known := c.words[string(text)]
	if !known {
		if len(c.words) == maxCols {
			return -1, fmt.Errorf("more than %d labels", maxCols)
		}
		if err := c.f.take(int64(len(text)) + 64); err != nil {
			return -1, err
		}
		n = int32(len(c.words))
		c.words[string(text)] = n
	}
	return n, nil
}

// number makes labels the index among the classes, or where these are not
// listed, among all labels in the order of the alphabet.
func (c *fiftyoneBoxes) number() error {
	if c.numbers {
		if len(c.words) > 0 {
			return errors.New("has labels that are names and labels that are numbers")
		}
		for _, r := range c.found {
			if int(r.label) >= len(c.classes) {
				return fmt.Errorf("has the label %d of %d classes", r.label, len(c.classes))
			}
		}
		return nil
	}
	order := c.classes
	if order == nil {
		order = slices.Sorted(maps.Keys(c.words))
	}
	index := make([]int32, len(c.words))
	known := 0
	for i, word := range order {
		if n, used := c.words[word]; used {
			delete(c.words, word)
			index[n], known = int32(i), known+1
		}
	}
	if known < len(index) {
		return fmt.Errorf("has %d labels that are no class (%s)", len(index)-known, quote(slices.Min(slices.Collect(maps.Keys(c.words)))))
	}
	for i := range c.found {
		c.found[i].label = index[c.found[i].label]
	}
	return nil
}
