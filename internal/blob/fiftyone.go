package blob

import (
	"errors"
	"fmt"
	"path"
	"strings"
)

// fiftyone reads what FiftyOne exports: samples.json of a FiftyOneDataset, an
// object with samples, or labels.json of a FiftyOneImageDetectionDataset or
// FiftyOneImageClassificationDataset, an object with classes and labels, whose
// images are named by their path in the folder data, without extension.
type fiftyone struct {
	f       *File
	from    source
	images  map[string]string // path without extension → path, in the folder data; nil where it is not at hand
	classes []string          // that are listed
}

// openFiftyOne finds the document: the file, or in the folder of an export
// samples.json or labels.json.
func (f *File) openFiftyOne() (c fiftyone, err error) {
	c = fiftyone{f: f, from: f.self()}
	if f.tree == nil {
		return c, nil
	}
	if c.from, err = f.source("samples.json"); !missing(err) {
		return c, err
	}
	if c.from, err = f.source("labels.json"); missing(err) {
		err = fault("bad_fiftyone", "point to what dataset.export(…) has written", "holds neither samples.json nor labels.json")
	}
	if err != nil {
		return c, err
	}
	c.images = map[string]string{}
	if err = c.folder(&tree{f: f}, "data", 0); missing(err) {
		c.images, err = nil, nil
	}
	return c, err
}

// folder lists the images in a folder.
func (c *fiftyone) folder(t *tree, dir string, depth int) error {
	entries, err := t.entries(dir)
	if err == nil && depth > maxDepth {
		err = fault("bad_fiftyone", "", "has folders nested deeper than %d levels", maxDepth)
	}
	for _, e := range entries {
		if err != nil {
			break
		}
		name := path.Join(dir, e.name)
		if e.folder {
			err = c.folder(t, name, depth+1)
			continue
		}
		if err = c.f.take(2*int64(len(name)) + 96); err != nil {
			break
		}
		name = strings.TrimPrefix(name, "data/")
		key := strings.TrimSuffix(name, path.Ext(name))
		if other, twice := c.images[key]; twice {
			err = fault("bad_fiftyone", "", "data: %s and %s differ in their extension only", quote(other), quote(name))
		}
		c.images[key] = name
	}
	return err
}

// each calls label with the name and the labels of each image in labels.json,
// or sample with the fields of each in samples.json. That one returns the name.
func (c *fiftyone) each(label func(name string, s *scanner) error, sample func(s *scanner) error) error {
	seen := map[string]bool{}
	return c.f.document("bad_fiftyone", c.from, func(s *stream) error {
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
				return s.array(sample)
			case "classes":
				if null, err := s.null(); null || err != nil {
					return err
				}
				return s.array(c.class)
			}
			return s.object(func(key []byte) error { return c.image(s, key, label) })
		})
		if err == nil && seen["samples"] == seen["labels"] {
			err = fault("bad_fiftyone", "export as FiftyOneDataset, FiftyOneImageDetectionDataset or FiftyOneImageClassificationDataset", "has neither samples nor labels, or both")
		}
		return err
	})
}

func (c *fiftyone) class(s *scanner) error {
	name, err := s.text()
	if err == nil && len(c.classes) == maxCols {
		err = fmt.Errorf("more than %d classes", maxCols)
	}
	if err == nil {
		err = c.f.take(int64(len(name)) + 16)
	}
	c.classes = append(c.classes, string(name))
	return err
}

// image reads what is said of one image in labels.json.
func (c *fiftyone) image(s *stream, key []byte, label func(string, *scanner) error) error {
	name := string(key)
	if c.images != nil {
		var known bool
		if name, known = c.images[name]; !known {
			return errors.New("no image in data has this name")
		}
	}
	raw, err := s.value()
	if err != nil {
		return err
	}
	e := &scanner{b: raw}
	if err := label(name, e); err != nil {
		return err
	}
	return e.end()
}

// sample reads one sample of samples.json: field reads each value that is an
// object or an array. The name is valid until the next sample.
func (c *fiftyone) sample(s *scanner, field func(key []byte) error) (name []byte, err error) {
	err = s.entries(func(key []byte) error {
		switch first := s.peek(); {
		case string(key) == "filepath":
			name, err = s.text()
			return err
		case first != '{' && first != '[':
			return s.skip(0)
		}
		return within(string(key), field(key))
	})
	if err == nil && name == nil {
		err = errors.New("filepath is missing")
	}
	return []byte(strings.TrimPrefix(string(name), "data/")), err // where an export keeps its images
}
