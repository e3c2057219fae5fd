package blob

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
)

// Reading asks for more than it was given, no oftener than it has to, and
// fails with how much is missing where it gets none.
func TestLimit(t *testing.T) {
	const bytes = 4 << 20
	open := func() *File {
		return rawFile(t, "a.npy", npyOf("<f4", "1024, 1024", bytes))
	}
	for _, c := range []struct {
		limit, grants int64
		asked, short  int64
	}{{bytes, 0, 0, 0}, {bytes - 1, 1, 1, 0}, {0, bytes, bytes, 0}, {100, bytes, bytes - 100, 0}, {bytes - 10, 9, 10, 1}, {-5, 0, bytes, bytes}} {
		f := open()
		var asked int64
		f.Limit(c.limit, func(short int64) int64 { asked += short; return c.grants })
		_, err := ReadEmbeddings(f)
		var e *Error
		short := int64(0)
		if errors.As(err, &e) {
			wantCode(t, err, "memory_short")
			short = e.Short
		} else if err != nil {
			t.Error(err)
		}
		if asked != c.asked || short != c.short || short == 0 && f.Taken() != bytes {
			t.Errorf("limit %d, grants %d: asked for %d, want %d; short of %d, want %d; took %d", c.limit, c.grants, asked, c.asked, short, c.short, f.Taken())
		}
	}

	// What the operator forbids is no matter of waiting.
	f := open()
	f.memory = bytes - 1
	f.Limit(100, func(short int64) int64 { return short })
	_, err := ReadEmbeddings(f)
	wantCode(t, err, "reference_too_large")
}

func rawFile(t *testing.T, name string, data []byte) *File {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := OpenPath(t.Context(), path, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestGuessMemory(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.npy"), make([]byte, 4<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "tree"), 0o755); err != nil {
		t.Fatal(err)
	}
	_, js := startNATS(t)
	bucket, err := js.CreateObjectStore(t.Context(), jetstream.ObjectStoreConfig{Bucket: "models"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bucket.PutBytes(t.Context(), "names.txt", make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	o, err := NewOpener(Config{Roots: []string{dir}, Buckets: []string{"models"}, JetStream: js})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	for _, c := range []struct {
		ref  Ref
		want int64
		code string
	}{
		{Ref{URI: "file://" + dir + "/a.npy"}, 6 << 20, ""},
		{Ref{URI: "nats://models/names.txt"}, 5 << 20, ""},
		{Ref{URI: "inline:", Data: make([]byte, 1<<18)}, 2 << 20, ""},
		{Ref{URI: "file://" + dir + "/tree"}, 64 << 20, ""},
		{Ref{URI: "file://" + dir + "/"}, 6 << 20, ""},
		{Ref{Files: []FileRef{{URI: "file://" + dir + "/a.npy"}, {URI: "nats://models/b.npy", Size: 4 << 20}}}, 11 << 20, ""},
		{Ref{URI: "file:///etc/passwd"}, 1 << 20, ""}, // nothing is told of what may not be read
		{Ref{URI: "nats://secrets/names.txt"}, 1 << 20, ""},
		{Ref{URI: "file://" + dir + "/b.npy"}, 0, "reference_missing"},
		{Ref{URI: "file://" + dir + "/b.pt"}, 0, "pickle_refused"},
	} {
		got, err := o.GuessMemory(t.Context(), c.ref)
		if c.code != "" {
			wantCode(t, err, c.code)
		} else if err != nil || got != c.want {
			t.Errorf("%s: %d, %v; want %d", c.ref.URI, got, err, c.want)
		}
	}
}
