package blob

import (
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
)

// coco reads COCO results. They name images by id, and leave out those in
// which nothing was found, so they come with the images: a folder that holds
// the results, a JSON array, beside the data set, a JSON object with images; or
// one object with both, images and annotations.
type coco struct {
	f       *File
	results source         // an array, or an object with annotations
	images  source         // an object with images
	ids     map[string]int // id → image; text in quotes
	files   []string       // of the images
	stems   map[string]int // name without folder and extension → image; -1 for several
	classes map[int]int    // category id → index; nil where categories are not told

	found  []found
	points []float64 // of all instances
	id     []byte    // of the result being read
}

const cocoHint = "point to a folder that holds the results (a JSON array) and the data set (a JSON object with images), or to one object with images and annotations"

// openCOCO finds the results and the images, and reads the latter.
func (f *File) openCOCO() (*coco, error) {
	c := &coco{f: f, ids: map[string]int{}}
	if err := c.find(); err != nil {
		return nil, err
	}
	err := f.document("bad_coco", c.images, func(s *stream) error {
		images := false
		err := s.object(func(key []byte) error {
			switch string(key) {
			case "images":
				if images {
					return errors.New("is given twice")
				}
				images = true
				return s.array(c.image)
			case "categories":
				if c.classes != nil {
					return errors.New("is given twice")
				}
				c.classes = map[int]int{}
				return s.array(func(e *scanner) error { return readCategory(e, c.classes) })
			}
			return s.skip()
		})
		if err == nil && !images {
			err = fault("bad_coco", cocoHint, "has no images")
		}
		return err
	})
	return c, err
}

// find tells results and images apart.
func (c *coco) find() error {
	if c.f.tree == nil {
		whole := c.f.self()
		first, err := c.first(whole)
		if err == nil && first == '[' {
			err = fault("bad_coco", cocoHint, "holds results without the images they are about")
		}
		c.results, c.images = whole, whole
		return err
	}
	entries, err := (&tree{f: c.f}).entries(".")
	if err != nil {
		return err
	}
	total := int64(0)
	for _, e := range entries {
		if e.folder || !strings.HasSuffix(e.name, ".json") {
			continue
		}
		from, err := c.f.source(e.name)
		if err != nil {
			return source{name: e.name}.blame("bad_coco", err)
		}
		if total += from.size; total > c.f.maxBytes {
			return fault("reference_too_large", "", "holds more than %d bytes", c.f.maxBytes)
		}
		first, err := c.first(from)
		if err != nil {
			return err
		}
		slot := &c.images
		if first == '[' {
			slot = &c.results
		}
		if slot.open != nil {
			return fault("bad_coco", cocoHint, "%s and %s are of one kind", quote(slot.name), quote(from.name))
		}
		*slot = from
	}
	if c.results.open == nil || c.images.open == nil {
		return fault("bad_coco", cocoHint, "lacks the results or the data set, of %d files", len(entries))
	}
	return nil
}

func (c *coco) first(from source) (first byte, err error) {
	r, err := from.open()
	if err != nil {
		return 0, err
	}
	defer r.Close()
	first, err = newStream(&alive{c.f, r}).peek()
	return first, from.blame("bad_coco", err)
}

func (c *coco) image(s *scanner) error {
	var id, file []byte
	err := s.lenient([]string{"id", "file_name"}, func(field int) (err error) {
		if field == 0 {
			id, err = c.readID(s)
			return err
		}
		file, err = s.text()
		return err
	})
	if err != nil {
		return err
	}
	if id == nil || file == nil {
		return errors.New("id or file_name is missing")
	}
	if err := c.f.take(int64(len(id)+len(file)) + 96); err != nil {
		return err
	}
	if _, twice := c.ids[string(id)]; twice {
		return fmt.Errorf("id %s is that of another image", id)
	}
	c.ids[string(id)] = len(c.files)
	c.files = append(c.files, string(file))
	return nil
}

// readID reads an id, a number or text, which is valid until the next one. Text
// is in quotes.
func (c *coco) readID(s *scanner) ([]byte, error) {
	if s.peek() == '"' {
		text, err := s.text()
		c.id = append(append(append(c.id[:0], '"'), text...), '"')
		return c.id, err
	}
	n, err := s.integer(-1<<53, 1<<53)
	c.id = strconv.AppendInt(c.id[:0], int64(n), 10)
	return c.id, err
}

// imageOf returns the image of a result: that of its id, or as Ultralytics calls
// images, that whose name without folder and extension it is.
func (c *coco) imageOf(id, file []byte) (int, error) {
	image, ok := c.ids[string(id)]
	if !ok && len(id) > 0 && id[0] == '"' {
		if c.stems == nil {
			if err := c.f.take(int64(len(c.files)) * 64); err != nil {
				return 0, err
			}
			c.stems = make(map[string]int, len(c.files))
			for i, name := range c.files {
				name = stem(name)
				if _, twice := c.stems[name]; twice {
					i = -1
				}
				c.stems[name] = i
			}
		}
		if image, ok = c.stems[string(id[1:len(id)-1])]; image < 0 {
			return 0, fmt.Errorf("image_id %s fits several images", id)
		}
	}
	if !ok {
		return 0, fmt.Errorf("no image has the id %s", quote(id))
	}
	if file != nil && path.Base(string(file)) != path.Base(c.files[image]) {
		return 0, fmt.Errorf("image_id %s is %s among the images, not %s", id, quote(c.files[image]), quote(file))
	}
	return image, nil
}

// stem returns a name without folder and extension.
func stem(name string) string {
	name = path.Base(name)
	return strings.TrimSuffix(name, path.Ext(name))
}
