//go:build foreign

package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"nextbatch/internal/cloud"
	"nextbatch/internal/cloud/cloudtest"
	"nextbatch/internal/events"
)

// writeShards is what a training job of three ranks writes, and beside it the
// same in one file.
const writeShards = `
import numpy as np, os, pyarrow as pa, pyarrow.parquet as pq
rng = np.random.default_rng(7)
names = np.array([f"images/{i:04d}.jpg" for i in range(600)])
vectors = rng.normal(size=(600, 24)).astype("float32")
probs = rng.dirichlet(np.ones(10), size=600)
table = lambda rows: pa.table({"filename": names[rows], "probs": pa.FixedSizeListArray.from_arrays(pa.array(probs[rows].ravel()), 10)})
os.makedirs("shards")
for rank, rows in enumerate(np.array_split(np.arange(600), [130, 471])):
    np.savez(f"shards/embeddings-{rank}.npz", filenames=names[rows], embeddings=vectors[rows])
    pq.write_table(table(rows), f"shards/predictions-{rank}.parquet")
np.savez("nextbatch-data/files/embeddings.npz", filenames=names, embeddings=vectors)
pq.write_table(table(np.arange(600)), "nextbatch-data/files/predictions.parquet")
`

// A selection from files of several ranks in S3, by a worker that keeps its
// blobs there too, is the one from the same data in one file each.
func TestReferencesInS3(t *testing.T) {
	python, bin := foreignPython(t), plainWorker(t)
	endpoint := cloudtest.StartS3(t, "training", "secret", "blobs")
	bucket := strings.Replace(cloudtest.S3URL(endpoint, "training"), "?", "/run-7?", 1)
	blobs := strings.Replace(cloudtest.S3URL(endpoint, "blobs"), "?", "/nextbatch?", 1)
	s := newSite(t, python, bin, func(web string) []string {
		return []string{"AL_CLOUD_BUCKETS=" + bucket, "AL_BLOB_URL=" + blobs, "AL_PUBLIC_URL=http://" + web}
	})
	onDisk := newSite(t, python, bin, func(string) []string { return nil })
	if out := s.run(bin, "check"); !strings.Contains(out, "bucket s3://training/run-7/: ok") || !strings.Contains(out, "bucket s3://blobs/nextbatch/: ok") {
		t.Errorf("check does not know the bucket:\n%s", out)
	}
	s.run(python, "-c", writeShards)
	onDisk.run(python, "-c", writeShards)

	b, err := cloud.Open(t.Context(), bucket)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Handle.Close()
	put := func(file, key string) events.FileRef {
		data, err := os.ReadFile(filepath.Join(s.dir, "shards", file))
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Handle.WriteAll(t.Context(), key, data, nil); err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(data)
		return events.FileRef{URI: "s3://training/" + key, SHA256: hex.EncodeToString(sum[:]), Size: int64(len(data))}
	}
	var predictions []events.FileRef
	for rank := range 3 {
		put(fmt.Sprintf("embeddings-%d.npz", rank), fmt.Sprintf("run-7/embeddings/rank-%d.npz", rank))
		predictions = append(predictions, put(fmt.Sprintf("predictions-%d.parquet", rank), fmt.Sprintf("run-7/epoch-12/rank-%d.parquet", rank)))
	}
	slices.Reverse(predictions) // no order of arrival matters

	size := 25
	round := func(s *site, embeddings, predictions events.Reference) (c events.Created) {
		const dataset = "clothing"
		s.publish(events.EmbeddingsReady, "embeddings", events.Embeddings{Dataset: dataset, Embeddings: embeddings, Selection: &events.Spec{Method: "CORESET", BatchSize: &size}})
		s.publish(events.PredictionsReady, "epoch-12", events.Predictions{Dataset: dataset, Task: "classification", Predictions: predictions,
			Selection: &events.Spec{Method: "CORAL", BatchSize: &size, Name: "batch-1"}})
		s.until("there is batch-1", func() bool {
			for _, e := range s.results(events.SelectionCreated) {
				if err := json.Unmarshal(e.Data(), &c); err != nil {
					t.Fatal(err)
				}
				if c.Tag.Name == "batch-1" {
					return true
				}
				c = events.Created{}
			}
			return false
		})
		return c
	}
	files := "file://" + filepath.Join(onDisk.dir, "nextbatch-data/files")
	want := round(onDisk, events.Reference{URI: files + "/embeddings.npz"}, events.Reference{URI: files + "/predictions.parquet"})
	got := round(s, events.Reference{URI: "s3://training/run-7/embeddings/"}, events.Reference{Files: predictions})
	if len(want.Added) != size || want.Coverage == nil && want.Method == "" {
		t.Errorf("%d samples were selected by file, want %d", len(want.Added), size)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("- by file, + in S3:\n%s", diff)
	}

	// What may not be read, or is not what the event says, ends as a failure.
	wrong := slices.Clone(predictions)
	wrong[1].SHA256 = strings.Repeat("0", 64)
	for code, ref := range map[string]events.Reference{
		"reference_not_allowed": {URI: "s3://training/run-77/"},
		"digest_mismatch":       {Files: wrong},
		"duplicate_filenames":   {Files: append(predictions[:3:3], put("predictions-0.parquet", "run-7/again.parquet"))},
	} {
		s.publish(events.PredictionsReady, code, events.Predictions{Dataset: "clothing", Task: "classification", Predictions: ref})
		s.until("it fails with "+code, func() bool {
			for _, e := range s.results(events.SelectionFailed) {
				var f events.Failed
				if err := json.Unmarshal(e.Data(), &f); err != nil {
					t.Fatal(err)
				}
				if f.Cause.ID == code {
					if f.Code != code || f.Hint == "" {
						t.Errorf("failed with %s: %s (%s), want %s", f.Code, f.Message, f.Hint, code)
					}
					return true
				}
			}
			return false
		})
	}
	if left, err := os.ReadDir(filepath.Join(s.dir, "nextbatch-data/cache")); err != nil || len(left) > 1 {
		t.Errorf("%d folders and files are left in the cache beside that of blobs, %v", len(left), err)
	}
	if _, err := os.Stat(filepath.Join(s.dir, "nextbatch-data/blobs")); err == nil {
		t.Error("there are blobs on the disk")
	}
	elsewhere := *s // another replica, with an empty cache
	elsewhere.env = append(slices.Clone(s.env), "AL_CACHE_DIR="+t.TempDir(), "AL_NATS_URL="+s.natsURL())
	shown := elsewhere.run(bin, "tags", "show", "clothing", "batch-1")
	for _, sample := range want.Added {
		if !strings.Contains(shown, sample.Filename) {
			t.Fatalf("another replica does not see %s in batch-1:\n%s", sample.Filename, shown)
		}
	}
}

// publish sends an event as a producer does.
func (s *site) publish(eventType, id string, data any) {
	s.t.Helper()
	e := newEvent(eventType, id, data)
	header, body, err := events.Encode(e, events.Structured)
	if err != nil {
		s.t.Fatal(err)
	}
	var in struct {
		Dataset string `json:"dataset"`
	}
	if err := json.Unmarshal(e.Data(), &in); err != nil {
		s.t.Fatal(err)
	}
	m := &nats.Msg{Subject: events.InSubject(eventType, in.Dataset), Header: header, Data: body}
	if _, err := s.js.PublishMsg(s.t.Context(), m, jetstream.WithMsgID(id)); err != nil {
		s.t.Fatal(err)
	}
}

// natsURL is where the service's NATS server is.
func (s *site) natsURL() string {
	s.t.Helper()
	url, err := os.ReadFile(filepath.Join(s.dir, "nextbatch-data/nats/nats.url"))
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.TrimSpace(string(url))
}
