package state

import (
	"context"
	"encoding/json"
	"time"

	"nextbatch/internal/events"
)

// ComputeWorker is a name under which a client of the Lightly API knows
// somebody who takes runs. Every worker of this service takes every run.
type ComputeWorker struct {
	Owner    string    `json:"owner"`
	ID       string    `json:"id"`
	Name     string    `json:"name"`
	Labels   []string  `json:"labels"`
	Created  time.Time `json:"created"`
	Modified time.Time `json:"modified"`
}

// RunConfig is what a run is to do, as the client sent it.
type RunConfig struct {
	Owner   string          `json:"owner"`
	ID      string          `json:"id"`
	Config  json.RawMessage `json:"config"`
	Created time.Time       `json:"created"`
}

// Run is one scheduled run: an event that is published after it is stored, and
// the job that it becomes.
type Run struct {
	Owner     string    `json:"owner"`
	ID        string    `json:"id"`
	Dataset   string    `json:"dataset"`
	DatasetID string    `json:"dataset_id"`
	Config    string    `json:"config"` // id
	Priority  string    `json:"priority"`
	RunsOn    []string  `json:"runs_on"`
	Job       string    `json:"job"`            // id
	Seq       uint64    `json:"seq"`            // of the event in AL_IN; 0 before it is known
	Note      string    `json:"note,omitempty"` // what of the config is not acted on
	Created   time.Time `json:"created"`
}

// MetadataConfig names the fields of the samples' custom metadata that a
// client cares for.
type MetadataConfig struct {
	Dataset  string          `json:"dataset"` // id
	ID       string          `json:"id"`
	Name     string          `json:"name"`
	Configs  json.RawMessage `json:"configs"`
	Created  time.Time       `json:"created"`
	Modified time.Time       `json:"modified"`
}

func computeSubject(owner, kind, id string) string {
	return "al.v1.compute." + events.Token(owner) + "." + kind + "." + id
}

func metadataSubject(dataset, id string) string { return "al.v1.metadata." + dataset + "." + id }

// ComputeWorkers, Runs and MetadataConfigs call f with every record of an
// owner or of a dataset, in no order, and its revision.
func (s *Store) ComputeWorkers(ctx context.Context, owner string, f func(ComputeWorker, uint64) error) error {
	return list(ctx, s, computeSubject(owner, "worker", "*"), f)
}

func (s *Store) Runs(ctx context.Context, owner string, f func(Run, uint64) error) error {
	return list(ctx, s, computeSubject(owner, "run", "*"), f)
}

func (s *Store) MetadataConfigs(ctx context.Context, d Dataset, f func(MetadataConfig, uint64) error) error {
	return list(ctx, s, metadataSubject(d.ID, "*"), f)
}

// ComputeWorker, RunConfig, Run and MetadataConfig read a record and its
// revision, or return ErrNotFound. An id is 24 hexadecimal digits.
func (s *Store) ComputeWorker(ctx context.Context, owner, id string) (w ComputeWorker, rev uint64, err error) {
	rev, err = s.get(ctx, computeSubject(owner, "worker", id), &w)
	return
}

func (s *Store) RunConfig(ctx context.Context, owner, id string) (c RunConfig, rev uint64, err error) {
	rev, err = s.get(ctx, computeSubject(owner, "config", id), &c)
	return
}

func (s *Store) Run(ctx context.Context, owner, id string) (r Run, rev uint64, err error) {
	rev, err = s.get(ctx, computeSubject(owner, "run", id), &r)
	return
}

func (s *Store) MetadataConfig(ctx context.Context, d Dataset, id string) (m MetadataConfig, rev uint64, err error) {
	rev, err = s.get(ctx, metadataSubject(d.ID, id), &m)
	return
}

// ComputeWorker, RunConfig, Run and MetadataConfig add a record to the batch,
// RemoveComputeWorker deletes one; rev is its revision when it was read.
func (b *Batch) ComputeWorker(w ComputeWorker, rev uint64) {
	b.put(computeSubject(w.Owner, "worker", w.ID), w, rev)
}

func (b *Batch) RemoveComputeWorker(owner, id string, rev uint64) {
	b.remove(computeSubject(owner, "worker", id), rev)
}

func (b *Batch) RunConfig(c RunConfig, rev uint64) {
	b.put(computeSubject(c.Owner, "config", c.ID), c, rev)
}

func (b *Batch) Run(r Run, rev uint64) { b.put(computeSubject(r.Owner, "run", r.ID), r, rev) }

func (b *Batch) MetadataConfig(m MetadataConfig, rev uint64) {
	b.put(metadataSubject(m.Dataset, m.ID), m, rev)
}
