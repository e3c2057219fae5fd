package blob

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"

	"nextbatch/internal/score"
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

// found is a result: of which image, what and how sure.
type found struct {
	image, label int32
	score        float64
	first, last  int // in points
}

// source is a file to be read from its beginning.
type source struct {
	name string
	size int64
	open func() (io.ReadCloser, error)
}

// document calls use with the JSON of a source, and makes sure that it ends.
func (f *File) document(code string, from source, use func(*stream) error) error {
	r, err := from.open()
	if err != nil {
		return err
	}
	defer r.Close()
	s := newStream(&alive{f, r})
	err = use(s)
	if err == nil {
		err = s.end()
	}
	return from.blame(code, err)
}

// blame says which file an error is about.
func (from source) blame(code string, err error) error {
	err = coded(code, "", err)
	if e, ok := err.(*Error); ok && from.name != "" {
		e.Message = from.name + ": " + e.Message
	}
	return err
}

// alive reads until the context of Open is done.
type alive struct {
	f *File
	r io.Reader
}

func (a *alive) Read(p []byte) (int, error) {
	if err := a.f.ctx.Err(); err != nil {
		a.f.failed = err
		return 0, err
	}
	return a.r.Read(p)
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
				return s.array(c.category)
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

// self is the file itself.
func (f *File) self() source {
	return source{"", f.size, func() (io.ReadCloser, error) { return io.NopCloser(f.reader()), nil }}
}

// source is a file in the folder.
func (f *File) source(name string) (source, error) {
	info, err := f.tree.Stat(name)
	if err != nil {
		return source{}, pathError(err)
	}
	if !info.Mode().IsRegular() {
		return source{}, notRegular(info)
	}
	return source{name, info.Size(), func() (io.ReadCloser, error) { return openRegular(f.tree, name, info) }}, nil
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

func (c *coco) category(s *scanner) error {
	id := -1
	err := s.lenient([]string{"id"}, func(int) (err error) {
		id, err = s.integer(0, 1<<31)
		return err
	})
	if _, twice := c.classes[id]; err == nil && (twice || id < 0) {
		err = errors.New("no id, or that of another category")
	}
	if err == nil && len(c.classes) == maxCols {
		err = fmt.Errorf("more than %d categories", maxCols)
	}
	c.classes[id] = len(c.classes)
	return err
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

// gather reads all results, of which use takes what it needs, and puts them
// into the order of the images.
func (c *coco) gather(field string, read func(s *scanner, r *found) error) error {
	if len(c.files) > math.MaxInt32 {
		return fault("reference_too_large", "", "has too many images")
	}
	fields := []string{"image_id", "category_id", "score", field, "file_name"}
	var s *scanner // of the result being read, as what follows
	var r found
	var id, file []byte
	var given [5]bool
	value := func(i int) (err error) {
		given[i] = true
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
			err = read(s, &r)
		case 4:
			file, err = s.text()
		}
		return err
	}
	one := func(e *scanner) error {
		s, r, id, file, given = e, found{label: -1}, nil, nil, [5]bool{}
		err := s.lenient(fields, value)
		switch {
		case err != nil:
			return err
		case !given[0] || !given[1] || !given[2] || !given[3]:
			return fmt.Errorf("image_id, category_id, score or %s is missing", field)
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

// addFound appends a result to those of all images.
func (f *File) addFound(all *[]found, r found) error {
	if len(*all) == cap(*all) {
		more := max(len(*all), 1024)
		if err := f.take(int64(more) * 32); err != nil {
			return err
		}
		*all = slices.Grow(*all, more)
	}
	*all = append(*all, r)
	return nil
}

// eachFound calls use with the results of each image, which come in the order
// of the files, whose names it adds to n.
func (n *nameList) eachFound(files []string, rest []found, use func([]found) error) error {
	for i, name := range files {
		if err := n.add([]byte(name), true); err != nil {
			return err
		}
		end := 0
		for end < len(rest) && rest[end].image == int32(i) {
			end++
		}
		if err := n.called(use(rest[:end])); err != nil {
			return err
		}
		rest = rest[end:]
	}
	return nil
}

// eachCOCO calls use with the boxes of each image.
func (f *File) eachCOCO(n *nameList, use func(Detections) error) error {
	c, err := f.openCOCO()
	if err != nil {
		return err
	}
	var box []float64
	err = c.gather("bbox", func(s *scanner, _ *found) (err error) {
		if box, err = s.numbers(box[:0]); err == nil && (len(box) != 4 || !finite(box) || box[2] < 0 || box[3] < 0) {
			err = fmt.Errorf("is %v, want x, y, width and height", box)
		}
		return err
	})
	if err != nil {
		return err
	}
	return n.eachScored(c.files, c.found, use)
}

// eachScored calls use with the scores and labels of each image's boxes.
func (n *nameList) eachScored(files []string, all []found, use func(Detections) error) error {
	d := Detections{Boxes: score.Boxes{Scores: []float64{}}, Labels: []int{}}
	return n.eachFound(files, all, func(all []found) error {
		d.Boxes.Scores, d.Labels = d.Boxes.Scores[:0], d.Labels[:0]
		for _, r := range all {
			d.Boxes.Scores, d.Labels = append(d.Boxes.Scores, r.score), append(d.Labels, int(r.label))
		}
		return use(d)
	})
}

// eachCOCOKeypoints calls use with the instances of each image.
func (f *File) eachCOCOKeypoints(n *nameList, use func([][]float64) error) error {
	c, err := f.openCOCO()
	if err != nil {
		return err
	}
	err = c.gather("keypoints", func(s *scanner, r *found) (err error) {
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
