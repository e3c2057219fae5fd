package lightly

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"

	"nextbatch/internal/bitmask"
	"nextbatch/internal/state"
)

// sampleID is the id of a row: what makes it one of its dataset, then the row.
func sampleID(d state.Dataset, row int) string { return string(appendSampleID(nil, d, row)) }

func appendSampleID(dst []byte, d state.Dataset, row int) []byte {
	const digits = "0123456789abcdef"
	dst = append(dst, d.ID[:16]...)
	for shift := 28; shift >= 0; shift -= 4 {
		dst = append(dst, digits[row>>shift&15])
	}
	return dst
}

// mappings lists names or ids of all rows, in the order of the bits of masks.
func (c *call) mappings() error {
	field, err := c.oneOf("field", "fileName", "_id")
	if err != nil {
		return err
	}
	if field == "" {
		return bad("query parameter field is missing: want fileName or _id")
	}
	d, _, err := c.dataset()
	if err != nil {
		return err
	}
	if field == "_id" {
		return c.lines("application/json", func(w *bufio.Writer) error {
			line := []byte(`["`)
			for row := range d.Rows {
				line = append(appendSampleID(line, d, row), '"')
				w.Write(line)
				line = append(line[:0], ',', '"')
			}
			return closeList(w, d.Rows)
		})
	}
	names, err := c.store.Names(c.r.Context(), d)
	if err != nil {
		return err
	}
	return c.lines("application/json", func(w *bufio.Writer) error {
		line := []byte("[")
		for row := range d.Rows {
			line = appendText(line, names.At(row))
			w.Write(line)
			line = append(line[:0], ',')
		}
		return closeList(w, d.Rows)
	})
}

func closeList(w *bufio.Writer, n int) error {
	if n == 0 {
		w.WriteByte('[')
	}
	return w.WriteByte(']')
}

// appendText writes a JSON string.
func appendText(dst []byte, text string) []byte {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' {
			quoted, _ := json.Marshal(text)
			return append(dst, quoted...)
		}
	}
	return append(append(append(dst, '"'), text...), '"')
}

// initial is the tag that holds every row. It is not stored.
func initial(d state.Dataset) state.Tag {
	return state.Tag{ID: state.InitialTagID(d), Dataset: d.Name, Name: state.InitialTag, Count: d.Rows, Rows: d.Rows, Created: d.Created}
}

// tags returns the tags of a dataset: initial-tag, which a draft has not, then
// the others by the time of their creation.
func (c *call) tags(d state.Dataset) (all []state.Tag, err error) {
	if err := c.store.Tags(c.r.Context(), d.Name, func(t state.Tag) error { all = append(all, t); return nil }); err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b state.Tag) int {
		if order := a.Created.Compare(b.Created); order != 0 {
			return order
		}
		return strings.Compare(a.ID, b.ID)
	})
	if !d.Draft {
		all = slices.Insert(all, 0, initial(d))
	}
	return all, nil
}

// tagByID returns a tag of a dataset, or ErrNotFound.
func (c *call) tagByID(d state.Dataset, id string) (state.Tag, error) {
	if id == state.InitialTagID(d) && !d.Draft {
		return initial(d), nil
	}
	key := d.ID + id
	if name, ok := c.tagName.Load(key); ok {
		if t, _, err := c.store.Tag(c.r.Context(), d.Name, name.(string)); err == nil && t.ID == id {
			return t, nil
		}
		c.tagName.Delete(key)
	}
	var found *state.Tag
	err := c.store.Tags(c.r.Context(), d.Name, func(t state.Tag) error {
		if t.ID == id {
			found = &t
		}
		return nil
	})
	if err != nil {
		return state.Tag{}, err
	}
	if found == nil {
		return state.Tag{}, state.ErrNotFound
	}
	c.tagName.Store(key, found.Name)
	return *found, nil
}

// tagOf reads the tag of a dataset that the path names.
func (c *call) tagOf(d state.Dataset) (state.Tag, error) {
	id := c.r.PathValue("t")
	t, err := c.tagByID(d, id)
	if errors.Is(err, state.ErrNotFound) {
		err = refuse(http.StatusNotFound, "TAG_UNKNOWN", "dataset %q has no tag %.40q", d.Name, id)
	}
	return t, err
}

// tag reads the dataset and the tag that the path names.
func (c *call) tag() (d state.Dataset, t state.Tag, err error) {
	if d, _, err = c.dataset(); err == nil {
		t, err = c.tagOf(d)
	}
	return d, t, err
}

// mask reads the rows of a tag.
func (c *call) mask(ctx context.Context, d state.Dataset, t state.Tag) (*bitmask.Mask, error) {
	if t.Name == state.InitialTag {
		m := bitmask.New(d.Rows)
		m.Invert(d.Rows)
		return m, nil
	}
	hex, err := c.store.MaskHex(ctx, t)
	if err != nil {
		return nil, err
	}
	return bitmask.FromHex(hex)
}

// parent is the name of the tag before another one: that of which it was made,
// or else what was preselected, or else initial-tag; "" for that one itself.
func parent(t state.Tag) string {
	for _, name := range []string{t.Prev, t.PreselectedTag} {
		if name != "" {
			return name
		}
	}
	if t.Name == state.InitialTag {
		return ""
	}
	return state.InitialTag
}

// wireTag is a tag as clients see it; ids has those of the dataset's tags by
// name.
func (c *call) wireTag(d state.Dataset, t state.Tag, ids func(name string) (string, error)) (w Tag, err error) {
	w = Tag{ID: t.ID, DatasetID: d.ID, Name: t.Name, TotSize: int64(d.Rows), CreatedAt: millis(t.Created), LastModifiedAt: millis(t.Created)}
	if t.Name == state.InitialTag {
		m, _ := c.mask(c.r.Context(), d, t)
		w.BitMaskData = m.Hex()
	} else if w.BitMaskData, err = c.store.MaskHex(c.r.Context(), t); err != nil {
		return w, err
	}
	if name := parent(t); name != "" {
		id, err := ids(name)
		if err != nil {
			return w, err
		}
		if id == "" { // it was deleted with a worker's tag on the way
			id = state.InitialTagID(d)
		}
		w.PrevTagID = &id
	}
	if w.QueryTagID, err = ids(t.QueryTag); err != nil {
		return w, err
	}
	w.PreselectedTagID, err = ids(t.PreselectedTag)
	return w, err
}

// tagIDs looks ids up by name; a tag that was deleted has the id "".
func (c *call) tagIDs(d state.Dataset) func(string) (string, error) {
	return func(name string) (string, error) {
		switch name {
		case "":
			return "", nil
		case state.InitialTag:
			return state.InitialTagID(d), nil
		}
		t, _, err := c.store.Tag(c.r.Context(), d.Name, name)
		if errors.Is(err, state.ErrNotFound) {
			return "", nil
		}
		return t.ID, err
	}
}

func (c *call) listTags() error {
	d, _, err := c.dataset()
	if err != nil {
		return err
	}
	all, err := c.tags(d)
	if err != nil {
		return err
	}
	byName := map[string]string{state.InitialTag: state.InitialTagID(d)}
	for _, t := range all {
		byName[t.Name] = t.ID
	}
	return c.list(func(item func(any) error) error {
		for _, t := range all {
			w, err := c.wireTag(d, t, func(name string) (string, error) { return byName[name], nil })
			if err == nil {
				err = item(w)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func (c *call) getTag() error {
	d, t, err := c.tag()
	if err != nil {
		return err
	}
	w, err := c.wireTag(d, t, c.tagIDs(d))
	if err != nil {
		return err
	}
	return c.answer(w)
}
