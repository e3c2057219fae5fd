package blob

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"unsafe"

	"github.com/klauspost/compress/zlib"
)

// fiftyoneRows reads a row for each image: the logits of its classification,
// the confidences of all its classifications, or the vector of an embedding.
type fiftyoneRows struct {
	fiftyone
	kind    kind
	bits    int
	row     []float64 // of the field being read, and before that of the one chosen
	all     labeled
	class   []byte
	rows    int
	npy     []byte
	unzlib  io.ReadCloser
	packed  bytes.Reader
	decoded []byte
}

const (
	alone  = "the confidence of one class does not tell margin and entropy: keep all of them in fo.Classification(…, logits=…) and export as FiftyOneDataset, or send them as npz or parquet"
	nobody = "has no classification: leave the image out"
)

// fromFiftyOne reads a row per image.
func (t *table[F]) fromFiftyOne() (err error) {
	r := &fiftyoneRows{kind: t.kind, bits: 8 * int(unsafe.Sizeof(F(0)))}
	if r.fiftyone, err = t.f.openFiftyOne(); err != nil {
		return err
	}
	add := func(name []byte, err error) error {
		if err != nil {
			return err
		}
		for _, v := range r.row {
			t.value(F(v))
		}
		r.rows++
		return t.endRow(name, true, 0)
	}
	return r.each(
		func(name string, s *scanner) error { return add([]byte(name), r.label(s)) },
		func(s *scanner) error { return add(r.sample(s)) })
}

// label reads the classes of an image in labels.json.
func (r *fiftyoneRows) label(s *scanner) error {
	switch {
	case r.kind.field == embeddingKind.field:
		return errors.New("labels are no embeddings: export as FiftyOneDataset")
	case s.null():
		return errors.New(nobody)
	case s.peek() != '[':
		return errors.New(alone)
	}
	return r.classifications(s)
}

// sample reads the row of a sample in samples.json: of the field predictions,
// or else the only one that holds one. Embeddings have a field that is named
// for them.
func (r *fiftyoneRows) sample(s *scanner) (name []byte, err error) {
	var chosen []float64
	var list []byte // instead
	field, single := "", false
	name, err = r.fiftyone.sample(s, func(key []byte) error {
		var c fiftyoneField
		var err error
		switch {
		case r.kind.field == classificationKind.field:
			c, err = r.classification(s)
		case slices.Contains(r.kind.arrays, string(key)):
			c.vector, err = true, r.vector(s)
		default:
			err = s.skip(0)
		}
		single = single || c.confident
		switch {
		case err != nil:
			return err
		case !c.vector && c.list == nil || field == "predictions":
			return nil
		case field != "" && string(key) != "predictions":
			return fmt.Errorf("%s holds %s too: call the field to use predictions", quote(field), r.kind.noun)
		}
		field, list = string(key), c.list
		chosen, r.row = r.row, chosen
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case field == "" && single:
		return nil, fmt.Errorf("%s: %s", quote(name), alone)
	case field == "":
		return nil, fmt.Errorf("%s has no field with %s", quote(name), r.kind.noun)
	case list != nil:
		return name, within(field, r.classifications(&scanner{b: list}))
	}
	r.row = chosen
	return name, nil
}

// fiftyoneField is what a field of a sample holds.
type fiftyoneField struct {
	vector    bool   // which is in row
	list      []byte // of classifications
	confident bool   // there is a confidence
}

// classification looks at a field.
func (r *fiftyoneRows) classification(s *scanner) (c fiftyoneField, err error) {
	if s.peek() != '{' {
		return c, s.skip(0)
	}
	kind := ""
	confidence := func(int) error {
		c.confident = true
		return s.skip(0)
	}
	err = s.lenient([]string{"_cls", "logits", "classifications", "confidence"}, func(i int) (err error) {
		switch i {
		case 0:
			text, err := s.text()
			kind = string(text)
			return err
		case 1:
			c.vector = true
			return r.vector(s)
		case 2:
			s.peek()
			from := s.i
			err = s.array(func() error { return s.lenient([]string{"confidence"}, confidence) })
			c.list = s.b[from:s.i]
			return err
		}
		return confidence(i)
	})
	switch {
	case kind != "Classification" && kind != "Classifications":
		return fiftyoneField{}, err
	case c.vector || !c.confident: // a list without confidence is the truth
		c.list = nil
	}
	return c, err
}

// classifications reads a list with every class and how sure the model is of it.
func (r *fiftyoneRows) classifications(s *scanner) error {
	var class []byte
	score := 0.0
	field := func(i int) (err error) {
		switch i {
		case 0:
			if class, err = r.class[:0], nil; s.peek() == '"' {
				class, err = s.text()
				return err
			}
			n, err := s.integer(0, maxCols)
			class = strconv.AppendInt(class, int64(n), 10)
			r.class = class
			return err
		case 1:
			score, err = s.number(r.bits)
			return err
		}
		return errors.New("is that of a detection: the task of these is object_detection")
	}
	err := s.array(func() error {
		if class, score = nil, math.NaN(); s.peek() != '{' {
			return errors.New(alone)
		}
		err := s.lenient([]string{"label", "confidence", "bounding_box"}, field)
		if err == nil && (class == nil || score != score) {
			err = errors.New("label or confidence is missing")
		}
		if err != nil {
			return err
		}
		return r.all.put(r.f, class, score, r.rows+1)
	})
	if err == nil {
		err = r.all.end(0)
	}
	r.row = append(r.row[:0], r.all.scores...)
	return err
}

// vector reads an array of numbers: as JSON, or as FiftyOne keeps them, base64
// of a zlib stream of an npy.
func (r *fiftyoneRows) vector(s *scanner) (err error) {
	if s.peek() == '[' {
		r.row, err = s.numbers(r.row[:0])
		return err
	}
	found := false
	err = s.lenient([]string{"$binary"}, func(int) error {
		return s.lenient([]string{"base64"}, func(int) error {
			text, err := s.text()
			if err == nil {
				found, err = true, r.unpack(text)
			}
			return err
		})
	})
	if err == nil && !found {
		err = errors.New("is no vector")
	}
	return err
}

// unpack decodes a vector.
func (r *fiftyoneRows) unpack(text []byte) error {
	const most = maxCols*8 + maxNPYHeader
	if r.decoded == nil {
		if err := r.f.take(most); err != nil {
			return err
		}
		r.decoded = make([]byte, most)
	}
	var err error
	if r.npy, err = base64.StdEncoding.AppendDecode(r.npy[:0], text); err != nil {
		return errors.New("is no base64")
	}
	r.packed.Reset(r.npy)
	if r.unzlib == nil {
		r.unzlib, err = zlib.NewReader(&r.packed)
	} else {
		err = r.unzlib.(zlib.Resetter).Reset(&r.packed, nil)
	}
	n := 0
	if err == nil {
		n, err = io.ReadFull(r.unzlib, r.decoded)
	}
	switch err {
	case nil:
		return fmt.Errorf("unpacks to more than %d values", maxCols)
	case io.ErrUnexpectedEOF: // not full, as it should be
	default:
		return errors.New("is no vector of FiftyOne")
	}
	a, err := readHeader(bytes.NewReader(r.decoded[:n]), int64(n))
	switch {
	case err != nil:
		return err
	case len(a.shape) != 1 || a.shape[0] > maxCols || a.kind == 'U' || a.kind == 'S':
		return fmt.Errorf("has shape %v and type %s, want one axis of numbers", a.shape, a.descr)
	}
	r.row = slices.Grow(r.row[:0], a.shape[0])[:a.shape[0]]
	return readNext(r.row, a)
}
