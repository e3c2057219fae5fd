// Package deploy has no code, only files to deploy. Its tests load what can be
// loaded here: the files for NATS, with a real server.
package deploy

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"nextbatch/internal/bus"
)

var update = flag.Bool("update", false, "rewrite nats/streams from the code")

// clusterReplicas is what the stream files say: three copies.
const clusterReplicas = 3

// TestStreamFiles keeps the files for `nats stream add --config` equal to what
// a worker creates and verifies.
func TestStreamFiles(t *testing.T) {
	layout := bus.Layout{Replicas: clusterReplicas}
	want := map[string]any{}
	for _, s := range layout.Streams() {
		want[s.Name] = s
	}
	for _, c := range layout.Consumers() {
		want[c.Durable] = c
	}
	for name, cfg := range want {
		file := filepath.Join("nats", "streams", name+".json")
		text, err := json.MarshalIndent(cfg, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, '\n')
		if *update {
			if err := os.WriteFile(file, text, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(text), string(got)); diff != "" {
			t.Errorf("%s differs from the code (-code +file); go test ./deploy -update rewrites it:\n%s", file, diff)
		}
	}
}

// readJSON decodes one of the files.
func readJSON[T jetstream.StreamConfig | jetstream.ConsumerConfig](t *testing.T, name string) (cfg T) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("nats", "streams", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &cfg); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return cfg
}
