package lightly

import (
	"bufio"
	"errors"
	"net/http"
	"slices"
	"time"

	"nextbatch/internal/events"
	"nextbatch/internal/state"
)

// export is a part of a tag in the order of its rows.
type export struct {
	d     state.Dataset
	names *state.Names
	rows  []int
	life  time.Duration // of URLs
	links bool          // names are to be URLs
}

// export reads what all calls that export a tag have in common.
func (c *call) export() (x export, err error) {
	p, err := c.page()
	if err != nil {
		return x, err
	}
	seconds, err := c.number("expiresIn", 1, int(readURLTime/time.Second))
	if err != nil {
		return x, err
	}
	x.life = min(time.Duration(seconds)*time.Second, 10*365*24*time.Hour)
	format, err := c.oneOf("fileNameFormat", "NAME", "DATASOURCE_FULL", "REDIRECTED_READ_URL")
	if err != nil {
		return x, err
	}
	x.links = format == "REDIRECTED_READ_URL"
	for _, name := range []string{"previewExample", "includeMetaData"} {
		if _, _, err := c.flag(name); err != nil {
			return x, err
		}
	}
	if _, err := c.oneOf("format", "JSON", "PLAIN"); err != nil {
		return x, err
	}
	d, t, err := c.tag()
	if err != nil {
		return x, err
	}
	rows, err := c.mask(c.r.Context(), d, t)
	if err != nil {
		return x, err
	}
	if x.names, err = c.store.Names(c.r.Context(), d); err != nil {
		return x, err
	}
	x.d, x.rows = d, rows.Indices()
	from, to := p.of(len(x.rows))
	x.rows = x.rows[from:to]
	return x, nil
}

func (c *call) imageURL(x export, row int) string {
	return c.sign(http.MethodGet, imagePath(x.d, row, fullImage), x.life)
}

// exportName is what stands for a row in lists of names.
func (c *call) exportName(x export, row int) string {
	if x.links {
		return c.imageURL(x, row)
	}
	return x.names.At(row)
}

// tagFilenames lists the whole tag, or with one of events.ExportFormats answers
// what worker tags export prints: the batch, if a selection made the tag.
func (c *call) tagFilenames() error {
	format, err := c.oneOf("format", append([]string{"JSON", "PLAIN"}, events.ExportFormats...)...)
	if err != nil {
		return err
	}
	if slices.Contains(events.ExportFormats, format) {
		return c.exportTag(format)
	}
	x, err := c.export()
	if err != nil {
		return err
	}
	return c.list(func(item func(any) error) error {
		var line []byte
		for _, row := range x.rows {
			line = appendText(line[:0], c.exportName(x, row))
			if err := item(rawJSON(line)); err != nil {
				return err
			}
		}
		return nil
	})
}

var exportTypes = map[string]string{"txt": "text/plain; charset=utf-8", "csv": "text/csv; charset=utf-8", "json": "application/json", "jsonl": "application/jsonl"}

// exportTag writes the tag that the path names. Who is no Lightly client knows
// names better than ids: both will do.
func (c *call) exportTag(format string) error {
	for _, name := range []string{"pageSize", "pageOffset", "fileNameFormat", "expiresIn", "includeMetaData", "previewExample"} {
		if c.args.Has(name) {
			return bad("query parameter %s does not go with format=%s", name, format)
		}
	}
	d, _, err := c.datasetByIDOrName()
	if err != nil {
		return err
	}
	t, err := c.tagOf(d)
	if refused, ok := errors.AsType[*refusal](err); ok && refused.status == http.StatusNotFound {
		switch name := c.r.PathValue("t"); {
		case name == state.InitialTag && !d.Draft:
			t, err = initial(d), nil
		default:
			var missing error
			if t, _, missing = c.store.Tag(c.r.Context(), d.Name, name); !errors.Is(missing, state.ErrNotFound) {
				err = missing
			}
		}
	}
	if err != nil {
		return err
	}
	x, err := c.store.Export(c.r.Context(), d, t)
	if err != nil {
		return err
	}
	return c.lines(exportTypes[format], func(w *bufio.Writer) error { return x.Write(w, format) })
}

// datasetByIDOrName reads the dataset that the path names by its id, or else by
// its name.
func (c *call) datasetByIDOrName() (state.Dataset, uint64, error) {
	d, rev, err := c.dataset()
	if refused, ok := errors.AsType[*refusal](err); !ok || refused.status != http.StatusNotFound {
		return d, rev, err
	}
	d, rev, missing := c.store.Dataset(c.r.Context(), c.r.PathValue("d"))
	if errors.Is(missing, state.ErrNotFound) || missing == nil && !visible(d, c.user) {
		return d, 0, err
	}
	return d, rev, missing
}

// exportFilenames answers with one name per line.
func (c *call) exportFilenames() error {
	x, err := c.export()
	if err != nil {
		return err
	}
	return c.lines("text/plain; charset=utf-8", func(w *bufio.Writer) error {
		for i, row := range x.rows {
			if i > 0 {
				w.WriteByte('\n')
			}
			if _, err := w.WriteString(c.exportName(x, row)); err != nil {
				return err
			}
		}
		return nil
	})
}

func (c *call) exportURLs() error {
	type pair struct {
		FileName string `json:"fileName"`
		ReadURL  string `json:"readUrl"`
	}
	return c.exportItems(func(x export, row int) any { return pair{x.names.At(row), c.imageURL(x, row)} })
}

func (c *call) exportLabelbox() error {
	type dataRow struct {
		ExternalID string `json:"externalId"`
		ImageURL   string `json:"imageUrl"`
	}
	return c.exportItems(func(x export, row int) any { return dataRow{x.names.At(row), c.imageURL(x, row)} })
}

func (c *call) exportItems(element func(x export, row int) any) error {
	x, err := c.export()
	if err != nil {
		return err
	}
	return c.list(func(item func(any) error) error {
		for _, row := range x.rows {
			if err := item(element(x, row)); err != nil {
				return err
			}
		}
		return nil
	})
}

// labelStudioTask is one image for Label Studio, with what is known of it.
type labelStudioTask struct {
	ID   int `json:"id"`
	Data struct {
		Image    string `json:"image"`
		FileName string `json:"lightlyFileName"`
		Meta     Sample `json:"lightlyMetaInfo"`
	} `json:"data"`
}

func (c *call) exportLabelStudio() error {
	x, err := c.export()
	if err != nil {
		return err
	}
	return c.list(func(item func(any) error) error {
		for s, err := range c.samplesOf(x.d, slices.Values(x.rows)) {
			if err != nil {
				return err
			}
			task := labelStudioTask{ID: s.Row}
			task.Data.Image, task.Data.FileName, task.Data.Meta = c.imageURL(x, s.Row), x.names.At(s.Row), wireSample(x.d, x.names, s)
			if err := item(task); err != nil {
				return err
			}
		}
		return nil
	})
}

func (c *call) exportSama() error { return notServed("there is no export to Sama") }
func (c *call) exportZip() error {
	return notServed("there is no export as zip: export/basic/filenamesAndReadUrls has the URL of every image")
}
func (c *call) enrichedDatasets() error { return notServed("datasets are listed by /v1/datasets") }
