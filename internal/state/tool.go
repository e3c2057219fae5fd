package state

import (
	"context"
	"encoding/json"
	"fmt"

	"nextbatch/internal/events"
)

// ToolRecord is what the connector of an annotation tool keeps in mind of a
// dataset: which tasks it made of a selection, what annotators said last. It
// is shared by all replicas and goes with the dataset. The value is JSON whose
// meaning is the connector's; one of more than a mebibyte does not fit.
type ToolRecord struct {
	Tool    string          `json:"tool"`    // labelstudio, cvat
	Dataset string          `json:"dataset"` // id, not name
	ID      string          `json:"id"`      // unique for tool and dataset
	Value   json.RawMessage `json:"value"`
}

func toolPrefix(tool, dataset string) string {
	return "al.v1.tool." + events.Token(tool) + "." + dataset + "."
}

func toolSubject(tool, dataset, id string) string {
	return toolPrefix(tool, dataset) + events.Token(id)
}

// Tool reads a record into value and returns its revision. Without a record it
// returns ErrNotFound and the revision at which it can be created.
func (s *Store) Tool(ctx context.Context, tool string, d Dataset, id string, value any) (rev uint64, err error) {
	var r ToolRecord
	if rev, err = s.get(ctx, toolSubject(tool, d.ID, id), &r); err != nil {
		return rev, err
	}
	if err := json.Unmarshal(r.Value, value); err != nil {
		return 0, fmt.Errorf("record %s of %s, dataset %s: %w", id, tool, d.Name, err)
	}
	return rev, nil
}

// Tools calls f with every record of a tool on a dataset and its revision. A
// record that is written meanwhile may be missed.
func (s *Store) Tools(ctx context.Context, tool string, d Dataset, f func(r ToolRecord, rev uint64) error) error {
	return list(ctx, s, toolPrefix(tool, d.ID)+"*", f)
}

// PutTool writes a record that must still be at revision rev, as Tool or Tools
// returned it, and returns the new revision. ErrConflict: it changed
// meanwhile. ErrUnknown: read it again to know whether it was written.
func (s *Store) PutTool(ctx context.Context, tool string, d Dataset, id string, value any, rev uint64) (uint64, error) {
	raw, err := json.Marshal(value)
	if err != nil {
		return 0, fmt.Errorf("record %s of %s, dataset %s: %w", id, tool, d.Name, err)
	}
	var b Batch
	b.put(toolSubject(tool, d.ID, id), ToolRecord{tool, d.ID, id, raw}, rev)
	return s.Commit(ctx, &b)
}

// RemoveTool deletes a record that must still be at revision rev.
func (s *Store) RemoveTool(ctx context.Context, tool string, d Dataset, id string, rev uint64) error {
	var b Batch
	b.remove(toolSubject(tool, d.ID, id), rev)
	_, err := s.Commit(ctx, &b)
	return err
}
