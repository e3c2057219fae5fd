package blob

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// fiftyone reads detections as FiftyOne exports them: samples.json of a
// FiftyOneDataset, an object with samples, or labels.json of a
// FiftyOneImageDetectionDataset, an object with classes and labels, whose
// images are named by what they are called in the folder data, without
// extension.
type fiftyone struct {
	f       *File
	images  map[string]string // name without extension → name, of the folder data; nil where it is not at hand
	files   []string
	found   []found
	classes []string         // that are listed
	words   map[string]int32 // label → number, in the order of appearance
	numbers bool             // labels are the index of a class
	box     []float64
}

// openFiftyOne finds the document: the file, or in the folder of an export
// samples.json or labels.json.
func (f *File) openFiftyOne() (c *fiftyone, from source, err error) {
	c = &fiftyone{f: f, words: map[string]int32{}}
	if f.tree == nil {
		return c, f.self(), nil
	}
	if from, err = f.source("samples.json"); !missing(err) {
		return c, from, err
	}
	if from, err = f.source("labels.json"); err != nil {
		if missing(err) {
			err = fault("bad_fiftyone", "point to what dataset.export(…) has written", "holds neither samples.json nor labels.json")
		}
		return c, from, err
	}
	entries, err := (&tree{f: f}).entries("data")
	if missing(err) {
		return c, from, nil
	}
	c.images = make(map[string]string, len(entries))
	for _, e := range entries {
		key := stem(e.name)
		if other, twice := c.images[key]; twice && err == nil {
			err = fault("bad_fiftyone", "", "data: %s and %s differ in their extension only", quote(other), quote(e.name))
		}
		c.images[key] = e.name
	}
	return c, from, err
}

// eachFiftyOne calls use with the boxes of each image.
func (f *File) eachFiftyOne(n *nameList, use func(Detections) error) error {
	c, from, err := f.openFiftyOne()
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	err = f.document("bad_fiftyone", from, func(s *stream) error {
		err := s.object(func(key []byte) error {
			name := string(key)
			if name != "samples" && name != "labels" && name != "classes" {
				return s.skip()
			}
			if seen[name] {
				return errors.New("is given twice")
			}
			seen[name] = true
			switch name {
			case "samples":
				return s.array(c.sample)
			case "classes":
				return s.array(c.class)
			}
			return s.object(func(key []byte) error { return c.image(s, key) })
		})
		if err == nil && seen["samples"] == seen["labels"] {
			err = fault("bad_fiftyone", "export as FiftyOneDataset or FiftyOneImageDetectionDataset", "has neither samples nor labels, or both")
		}
		return err
	})
	if err == nil {
		err = from.blame("bad_fiftyone", c.number())
	}
	if err != nil {
		return err
	}
	return n.eachScored(c.files, c.found, use)
}

func (c *fiftyone) class(s *scanner) error {
	name, err := s.text()
	if err == nil && len(c.classes) == maxCols {
		err = fmt.Errorf("more than %d classes", maxCols)
	}
	c.classes = append(c.classes, string(name))
	return err
}

func (c *fiftyone) add(name string) error {
	if len(c.files) == math.MaxInt32 {
		return errors.New("too many images")
	}
	c.files = append(c.files, name)
	return c.f.take(int64(len(name)) + 32)
}

// image reads the labels of one image in labels.json.
func (c *fiftyone) image(s *stream, key []byte) error {
	name := string(key)
	if c.images != nil {
		var known bool
		if name, known = c.images[name]; !known {
			return errors.New("no image in data has this name")
		}
	}
	if err := c.add(name); err != nil {
		return err
	}
	raw, err := s.value()
	if err != nil {
		return err
	}
	e := &scanner{b: raw}
	if !e.null() {
		if e.peek() != '[' {
			return errors.New("is no list of detections: a class alone cannot be scored, send its probabilities as npz or parquet")
		}
		first := len(c.found)
		if err = c.detections(e); err == nil {
			err = c.sure(first)
		}
	}
	if err != nil {
		return err
	}
	return e.end()
}

// sample reads one sample of samples.json: of the field predictions, or else
// the only one that holds detections.
func (c *fiftyone) sample(s *scanner) error {
	first := len(c.found)
	file, field := "", ""
	if err := c.add(""); err != nil {
		return err
	}
	err := s.entries(func(key []byte) error {
		switch {
		case string(key) == "filepath":
			text, err := s.text()
			file = string(text)
			return err
		case s.peek() != '{':
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
			return within(string(key), err)
		case kind != "Detections" || field == "predictions":
			c.found = c.found[:start]
		case field == "" || string(key) == "predictions":
			c.found = slices.Delete(c.found, first, start)
			field = string(key)
		default:
			return fmt.Errorf("fields %s and %s both hold detections: call the one to use predictions", quote(field), quote(key))
		}
		return nil
	})
	if err == nil && file == "" {
		err = errors.New("filepath is missing")
	}
	if err == nil && field == "" {
		err = fmt.Errorf("%s has no field with detections", quote(file))
	}
	if err != nil {
		return err
	}
	c.files[len(c.files)-1] = strings.TrimPrefix(file, "data/") // where an export keeps its images
	return c.sure(first)
}

// sure is an error if one of the results from the first has no confidence.
func (c *fiftyone) sure(first int) error {
	for _, r := range c.found[first:] {
		if r.score != r.score {
			return errors.New("a detection has no confidence: these are labels, not predictions")
		}
	}
	return nil
}

var detectionKeys = []string{"label", "bounding_box", "confidence"}

// detections reads a list of detections of the last image.
func (c *fiftyone) detections(s *scanner) error {
	var r found // the one being read
	boxed := false
	value := func(i int) (err error) {
		switch i {
		case 0:
			r.label, err = c.label(s)
		case 1:
			boxed = true
			if c.box, err = s.numbers(c.box[:0]); err == nil && (len(c.box) != 4 || !finite(c.box) || c.box[2] < 0 || c.box[3] < 0) {
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

// label reads a class, by its name or index.
func (c *fiftyone) label(s *scanner) (int32, error) {
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
func (c *fiftyone) number() error {
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
		for word := range c.words {
			order = append(order, word)
		}
		slices.Sort(order)
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
