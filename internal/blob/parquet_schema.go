package blob

import (
	"encoding/json"
	"errors"
	"slices"
)

// Physical types.
const (
	pqInt32  = 1
	pqInt64  = 2
	pqFloat  = 4
	pqDouble = 5
	pqBytes  = 6
	pqFixed  = 7
)

// leaf is a column that holds values.
type leaf struct {
	path     []string
	kind     int
	width    int // of a fixed type
	half     bool
	def, rep int // largest levels
}

// element is a node of the schema, which is stored in depth-first order.
type element struct {
	leaf
	name       string
	repetition int // 0 required, 1 optional, 2 repeated
	children   int
}

func readElement(t *thrift) (e element, err error) {
	e.kind = -1
	err = t.fields([]byte{1: thriftI32, 2: thriftI32, 3: thriftI32, 4: thriftBinary, 5: thriftI32, 10: thriftStruct}, func(id int, _ byte) error {
		if id == 4 {
			name, err := t.text()
			e.name = string(name)
			return err
		}
		if id == 10 { // the logical type; that of number 15 is float16
			return t.eachField(1, func(id int, kind byte, depth int) error {
				e.half = e.half || id == 15
				return t.skip(kind, depth)
			})
		}
		v, err := t.count()
		switch id {
		case 1:
			e.kind = int(v)
		case 2:
			e.width = int(v)
		case 3:
			e.repetition = int(v)
		case 5:
			e.children = int(v)
		}
		return err
	})
	return e, err
}

// flatten adds the leaves below a node and returns the elements after them.
func (p *parquet) flatten(rest []element, above leaf, children int) ([]element, error) {
	for range children {
		if len(rest) == 0 || len(above.path) > maxDepth {
			return nil, errors.New("has a broken schema")
		}
		e := rest[0]
		rest = rest[1:]
		e.path = append(slices.Clip(above.path), e.name)
		e.def, e.rep = above.def, above.rep
		if e.repetition > 0 {
			e.def++
		}
		if e.repetition == 2 {
			e.rep++
		}
		if e.children == 0 {
			p.leaves = append(p.leaves, e.leaf)
			continue
		}
		var err error
		if rest, err = p.flatten(rest, e.leaf, e.children); err != nil {
			return nil, err
		}
	}
	return rest, nil
}

// keyValue reads what Hugging Face's datasets say of their columns.
func (p *parquet) keyValue(t *thrift) error {
	var key, value []byte
	err := t.fields([]byte{1: thriftBinary, 2: thriftBinary}, func(id int, _ byte) (err error) {
		if id == 1 {
			key, err = t.text()
		} else {
			value, err = t.text()
		}
		return err
	})
	if err != nil || string(key) != "huggingface" {
		return err
	}
	if err := p.f.take(16 * int64(len(value))); err != nil {
		return err
	}
	var about struct {
		Info struct {
			Features map[string]json.RawMessage `json:"features"`
		} `json:"info"`
	}
	if json.Unmarshal(value, &about) != nil {
		return nil // a hint, no more
	}
	for name, feature := range about.Info.Features {
		var f struct {
			Type string `json:"_type"`
		}
		switch json.Unmarshal(feature, &f); f.Type {
		case "ClassLabel":
			p.labels = append(p.labels, name)
		case "Image":
			p.images = append(p.images, name)
		}
	}
	slices.Sort(p.images)
	return nil
}
