package lightly_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"nextbatch/internal/bitmask"
	"nextbatch/internal/blob"
	"nextbatch/internal/bus"
	"nextbatch/internal/lightly"
	"nextbatch/internal/state"
)

// BenchmarkMillion answers the large lists of a dataset of a million samples.
func BenchmarkMillion(b *testing.B) {
	const rows = 1_000_000
	e, err := bus.StartEmbedded(b.Context(), bus.EmbeddedConfig{Dir: b.TempDir()}, zerolog.Nop())
	if err != nil {
		b.Fatal(err)
	}
	defer e.Stop()
	nc, err := bus.Connect(bus.Auth{URL: e.URL}, zerolog.Nop())
	if err != nil {
		b.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		b.Fatal(err)
	}
	if err := bus.Provision(b.Context(), js, bus.Layout{}, true); err != nil {
		b.Fatal(err)
	}
	blobs, err := blob.OpenStore(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	store, err := state.Open(b.Context(), nc, blobs)
	if err != nil {
		b.Fatal(err)
	}
	names := make([]string, rows)
	every := bitmask.New(rows)
	for i := range names {
		names[i] = fmt.Sprintf("images/%03d/%06d.jpg", i%1000, i)
		if i%3 == 0 {
			every.Set(i)
		}
	}
	now := time.Now().UTC()
	d, err := store.AppendNames(b.Context(), state.Dataset{ID: strings.Repeat("d", 24), Name: "million", Created: now, Modified: now}, names)
	if err != nil {
		b.Fatal(err)
	}
	tag := state.Tag{ID: strings.Repeat("a", 24), Dataset: d.Name, Name: "third", Created: now, Rows: rows, Count: every.Count()}
	if tag.Mask, err = store.PutMask(b.Context(), every); err != nil {
		b.Fatal(err)
	}
	batch := &state.Batch{}
	batch.Dataset(d, 0)
	batch.Tag(tag, 0)
	if _, err := store.Commit(b.Context(), batch); err != nil {
		b.Fatal(err)
	}
	s, err := lightly.NewServer(b.Context(), lightly.ServerConfig{Loopback: true}, lightly.ServerDeps{NATS: nc, State: store, Blobs: blobs, Log: zerolog.Nop()})
	if err != nil {
		b.Fatal(err)
	}
	base := serveHTTP(b, s) + "/v1/datasets/" + d.ID
	for _, path := range []string{"/mappings?field=fileName", "/mappings?field=_id", "/samples/partial?mode=fileNames", "/tags", "/tags/" + tag.ID, "/tags/" + tag.ID + "/export/basic/filenames", "/tags/" + tag.ID + "/export/basic/filenamesAndReadUrls?pageSize=20000"} {
		name, _, _ := strings.Cut(strings.ReplaceAll(path[1:], tag.ID, "T"), "&")
		b.Run(name, func(b *testing.B) {
			sep := "?"
			if strings.Contains(path, "?") {
				sep = "&"
			}
			b.ReportAllocs()
			for b.Loop() {
				resp, err := http.Get(base + path + sep + "token=x")
				if err != nil {
					b.Fatal(err)
				}
				n, err := io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				if err != nil || resp.StatusCode != 200 {
					b.Fatal(resp.Status, err)
				}
				b.SetBytes(n)
			}
		})
	}
}
