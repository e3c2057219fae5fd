package lightly

import (
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"nextbatch/internal/blob"
	"nextbatch/internal/state"
)

// sampleFields are what clients say of a sample. A field that is absent or
// null leaves what is known.
type sampleFields struct {
	FileName       *string         `json:"fileName"`
	ThumbName      *string         `json:"thumbName"`
	Exif           json.RawMessage `json:"exif"`
	MetaData       json.RawMessage `json:"metaData"`
	CustomMetaData json.RawMessage `json:"customMetaData"`
	VideoFrameData json.RawMessage `json:"videoFrameData"`
	CropData       json.RawMessage `json:"cropData"`
}

// maxCustom is how many bytes of metadata a user may attach to a sample.
const maxCustom = 256 << 10

// check looks at the parts and drops those that are null.
func (f *sampleFields) check() error {
	if len(f.CustomMetaData) > maxCustom {
		return refuse(http.StatusRequestEntityTooLarge, "CUSTOM_METADATA_AT_MAX_SIZE", "customMetaData has %d bytes, at most %d are allowed", len(f.CustomMetaData), maxCustom)
	}
	for _, part := range []struct {
		name string
		raw  *json.RawMessage
	}{{"exif", &f.Exif}, {"metaData", &f.MetaData}, {"customMetaData", &f.CustomMetaData}, {"videoFrameData", &f.VideoFrameData}, {"cropData", &f.CropData}} {
		switch raw := *part.raw; {
		case string(raw) == "null":
			*part.raw = nil
		case len(raw) > 0 && raw[0] != '{':
			return bad("%s must be an object", part.name)
		}
	}
	if f.ThumbName != nil && *f.ThumbName != "" {
		return checkFilename("thumbName", *f.ThumbName)
	}
	return nil
}

// checkFilename refuses what is no name of a sample.
func checkFilename(field, name string) error {
	if strings.ContainsRune(name, ',') {
		return bad("%s is %.140q: a comma would break the embeddings file", field, name)
	}
	var fault *blob.Error
	if err := blob.CheckNames([]string{name}); errors.As(err, &fault) {
		return bad("%s: %s; %s", field, fault.Message, fault.Hint)
	}
	return nil
}

func (f *sampleFields) empty() bool {
	return f.ThumbName == nil && f.Exif == nil && f.MetaData == nil && f.CustomMetaData == nil && f.VideoFrameData == nil && f.CropData == nil
}

// fill writes the fields into a record.
func (f *sampleFields) fill(s *state.Sample) {
	if f.ThumbName != nil {
		s.ThumbName = *f.ThumbName
	}
	for _, part := range []struct {
		to  *json.RawMessage
		raw json.RawMessage
	}{{&s.Exif, f.Exif}, {&s.MetaData, f.MetaData}, {&s.CustomMetaData, f.CustomMetaData}, {&s.VideoFrameData, f.VideoFrameData}, {&s.CropData, f.CropData}} {
		if part.raw != nil {
			*part.to = part.raw
		}
	}
}

func (c *call) createSample() error {
	var in sampleFields
	if err := c.read(&in); err != nil {
		return err
	}
	if in.FileName == nil {
		return bad("fileName is missing")
	}
	if err := checkFilename("fileName", *in.FileName); err != nil {
		return err
	}
	if err := in.check(); err != nil {
		return err
	}
	d, _, err := c.dataset()
	if err != nil {
		return err
	}
	r := &newRow{name: *in.FileName}
	if !in.empty() {
		r.fill, r.size = in.fill, int(c.r.ContentLength)
	}
	row, err := c.appendRow(d.ID, r)
	if err != nil {
		return err
	}
	return c.answer(createdEntity{ID: sampleID(d, row)})
}

var rowPattern = regexp.MustCompile(`^[a-f0-9]{24}$`)

// rowOf is the row of a sample's id.
func rowOf(d state.Dataset, id string) (int, bool) {
	if !rowPattern.MatchString(id) || id[:16] != d.ID[:16] {
		return 0, false
	}
	row, err := strconv.ParseUint(id[16:], 16, 32)
	return int(row), err == nil && int(row) < d.Rows
}

// sample reads the dataset and the row that the path names.
func (c *call) sample() (d state.Dataset, row int, err error) {
	if d, _, err = c.dataset(); err != nil {
		return d, 0, err
	}
	row, ok := rowOf(d, c.r.PathValue("s"))
	if !ok {
		err = refuse(http.StatusNotFound, "SAMPLE_UNKNOWN", "dataset %q has no sample %.40q", d.Name, c.r.PathValue("s"))
	}
	return d, row, err
}

func wireSample(d state.Dataset, names *state.Names, s state.Sample) Sample {
	w := Sample{ID: sampleID(d, s.Row), DatasetID: d.ID, Type: "IMAGE", FileName: names.At(s.Row), Index: s.Row, CreatedAt: millis(s.Created), LastModifiedAt: millis(s.Modified),
		ThumbName: s.ThumbName, Exif: s.Exif, MetaData: s.MetaData, CustomMetaData: s.CustomMetaData, VideoFrameData: s.VideoFrameData, CropData: s.CropData}
	switch {
	case s.CropData != nil:
		w.Type = "CROP"
	case s.VideoFrameData != nil:
		w.Type = "VIDEO_FRAME"
	}
	return w
}

func (c *call) getSample() error {
	d, row, err := c.sample()
	if err != nil {
		return err
	}
	names, err := c.store.Names(c.r.Context(), d)
	if err != nil {
		return err
	}
	s, _, err := c.store.Sample(c.r.Context(), d, row)
	if err != nil {
		return err
	}
	return c.answer(wireSample(d, names, s))
}

func (c *call) updateSample() error {
	if _, _, err := c.flag("enableDatasetUpdate"); err != nil {
		return err
	}
	var in sampleFields
	if err := c.read(&in); err != nil {
		return err
	}
	if err := in.check(); err != nil {
		return err
	}
	d, row, err := c.sample()
	if err != nil {
		return err
	}
	names, err := c.store.Names(c.r.Context(), d)
	if err != nil {
		return err
	}
	if in.FileName != nil && *in.FileName != names.At(row) {
		if err := checkFilename("fileName", *in.FileName); err != nil {
			return err
		}
		return bad("a sample keeps its fileName, which is %q", names.At(row))
	}
	if in.empty() {
		return c.done()
	}
	if err := c.changeSample(d, row, in.fill); err != nil {
		return err
	}
	return c.done()
}

// changeSample changes the record of a row.
func (c *call) changeSample(d state.Dataset, row int, change func(*state.Sample)) error {
	return c.again(func() error {
		s, rev, err := c.store.Sample(c.r.Context(), d, row)
		if err != nil {
			return err
		}
		change(&s)
		s.Modified = time.Now().UTC()
		var b state.Batch
		b.Sample(s, rev)
		return c.commit(&b)
	})
}

// rows reads the rows that a list of samples is about: those of the page, or
// the one with the filename of the query.
func (c *call) rows() (d state.Dataset, names *state.Names, from, to int, err error) {
	if c.args.Has("fileName") && c.args.Get("fileName") == "" {
		err = bad("query parameter fileName is empty")
		return
	}
	p, err := c.page()
	if err != nil {
		return
	}
	if d, _, err = c.dataset(); err != nil {
		return
	}
	if names, err = c.store.Names(c.r.Context(), d); err != nil {
		return
	}
	from, to = p.of(d.Rows)
	if c.args.Has("fileName") {
		row, ok := names.Row(c.args.Get("fileName"))
		if !ok || p.from > 0 {
			return d, names, 0, 0, nil
		}
		from, to = row, row+1
	}
	return
}

func (c *call) listSamples() error {
	if _, err := c.oneOf("sortBy", "_id", "index"); err != nil {
		return err
	}
	mode, err := c.oneOf("mode", "ids", "fileNames", "full")
	if err != nil {
		return err
	}
	d, names, from, to, err := c.rows()
	if err != nil {
		return err
	}
	return c.answerSamples(d, names, from, to, mode)
}

func (c *call) listPartialSamples() error {
	mode, err := c.oneOf("mode", "ids", "fileNames", "full")
	if err != nil {
		return err
	}
	d, names, from, to, err := c.rows()
	if err != nil {
		return err
	}
	return c.answerSamples(d, names, from, to, mode)
}

// answerSamples lists rows from … to-1; mode "" is full.
func (c *call) answerSamples(d state.Dataset, names *state.Names, from, to int, mode string) error {
	if mode == "ids" || mode == "fileNames" {
		return c.list(func(item func(any) error) error {
			var line []byte
			for row := from; row < to; row++ {
				line = append(appendSampleID(append(line[:0], `{"id":"`...), d, row), '"')
				if mode == "fileNames" {
					line = appendText(append(line, `,"fileName":`...), names.At(row))
				}
				if err := item(rawJSON(append(line, '}'))); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return c.list(func(item func(any) error) error {
		return c.eachSample(d, from, to, func(s state.Sample) error { return item(wireSample(d, names, s)) })
	})
}

// eachSample calls f with what is known of the rows from … to-1, reading the
// records of a block at a time.
func (c *call) eachSample(d state.Dataset, from, to int, f func(state.Sample) error) error {
	for row := from; row < to; {
		if to-from == 1 {
			s, _, err := c.store.Sample(c.r.Context(), d, row)
			if err != nil {
				return err
			}
			return f(s)
		}
		block := row / state.SampleBlock
		records, err := c.store.Samples(c.r.Context(), d, block)
		if err != nil {
			return err
		}
		for ; row < min(to, (block+1)*state.SampleBlock); row++ {
			s, ok := records[row]
			if !ok {
				s = state.Sample{Dataset: d.ID, Row: row, Created: d.Created, Modified: d.Created}
			}
			if err := f(s); err != nil {
				return err
			}
		}
	}
	return nil
}
