package lightly

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"nextbatch/internal/state"
)

// metadataField names one field of the samples' custom metadata.
type metadataField struct {
	Name          string          `json:"name"`
	Path          string          `json:"path"`
	DefaultValue  json.RawMessage `json:"defaultValue"`
	ValueDataType string          `json:"valueDataType"`
}

var metadataTypes = []string{"NUMERIC_INT", "NUMERIC_FLOAT", "CATEGORICAL_STRING", "CATEGORICAL_INT", "CATEGORICAL_BOOLEAN",
	"CATEGORICAL_DATETIME", "CATEGORICAL_TIMESTAMP", "OTHER_STRING"}

// metadataConfig is a metadata configuration on the wire.
type metadataConfig struct {
	ID             string          `json:"id"`
	Name           string          `json:"name"`
	Configs        []metadataField `json:"configs"`
	CreatedAt      int64           `json:"createdAt"`
	LastModifiedAt int64           `json:"lastModifiedAt"`
}

func wireMetadata(m state.MetadataConfig) (metadataConfig, error) {
	w := metadataConfig{ID: m.ID, Name: m.Name, CreatedAt: millis(m.Created), LastModifiedAt: millis(m.Modified)}
	return w, json.Unmarshal(m.Configs, &w.Configs)
}

// readMetadata reads a configuration from the body.
func (c *call) readMetadata() (name string, configs json.RawMessage, err error) {
	var in struct {
		Name    string          `json:"name"`
		Configs []metadataField `json:"configs"`
	}
	if err := c.read(&in); err != nil {
		return "", nil, err
	}
	switch {
	case in.Name == "" || utf8.RuneCountInString(in.Name) > 255:
		return "", nil, bad("name has %d characters: want 1 to 255", utf8.RuneCountInString(in.Name))
	case in.Configs == nil:
		return "", nil, bad("configs is missing")
	}
	for i, f := range in.Configs {
		if f.Name == "" || f.Path == "" || f.DefaultValue == nil || string(f.DefaultValue) == "null" {
			return "", nil, bad("configs %d: name, path or defaultValue is missing", i)
		}
		if !slices.Contains(metadataTypes, f.ValueDataType) {
			return "", nil, bad("configs %d: valueDataType is %.40q: want one of %s", i, f.ValueDataType, strings.Join(metadataTypes, ", "))
		}
	}
	configs, err = json.Marshal(in.Configs)
	return in.Name, configs, err
}

func (c *call) createMetadata() error {
	name, configs, err := c.readMetadata()
	if err != nil {
		return err
	}
	d, _, err := c.dataset()
	if err != nil {
		return err
	}
	now := time.Now().UTC()
	m := state.MetadataConfig{Dataset: d.ID, ID: hexID(12), Name: name, Configs: configs, Created: now, Modified: now}
	var b state.Batch
	b.MetadataConfig(m, 0)
	if err := c.commit(&b); err != nil {
		return err
	}
	return c.answer(createdEntity{ID: m.ID})
}

// metadata reads the configuration that the path names.
func (c *call) metadata() (m state.MetadataConfig, rev uint64, err error) {
	d, _, err := c.dataset()
	if err != nil {
		return m, 0, err
	}
	id := c.r.PathValue("m")
	unknown := refuse(http.StatusNotFound, "METADATA_CONFIGURATION_UNKNOWN", "the dataset has no metadata configuration %.40q", id)
	if !idPattern.MatchString(id) {
		return m, 0, unknown
	}
	m, rev, err = c.store.MetadataConfig(c.r.Context(), d, id)
	if errors.Is(err, state.ErrNotFound) {
		return m, rev, unknown
	}
	return m, rev, err
}

func (c *call) getMetadata() error {
	m, _, err := c.metadata()
	if err != nil {
		return err
	}
	w, err := wireMetadata(m)
	if err != nil {
		return err
	}
	return c.answer(w)
}

func (c *call) updateMetadata() error {
	name, configs, err := c.readMetadata()
	if err != nil {
		return err
	}
	err = c.again(func() error {
		m, rev, err := c.metadata()
		if err != nil {
			return err
		}
		m.Name, m.Configs, m.Modified = name, configs, time.Now().UTC()
		var b state.Batch
		b.MetadataConfig(m, rev)
		return c.commit(&b)
	})
	if err != nil {
		return err
	}
	return c.done()
}

// listMetadata lists the configurations of a dataset, oldest first.
func (c *call) listMetadata() error {
	d, _, err := c.dataset()
	if err != nil {
		return err
	}
	var all []state.MetadataConfig
	err = c.store.MetadataConfigs(c.r.Context(), d, func(m state.MetadataConfig, _ uint64) error {
		all = append(all, m)
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortFunc(all, func(a, b state.MetadataConfig) int { return a.Created.Compare(b.Created) })
	return c.list(func(item func(any) error) error {
		for _, m := range all {
			w, err := wireMetadata(m)
			if err != nil {
				return err
			}
			if err := item(w); err != nil {
				return err
			}
		}
		return nil
	})
}
