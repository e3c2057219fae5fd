package blob

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func openStore(t *testing.T) *Store {
	t.Helper()
	s, err := OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func put(t *testing.T, s *Store, data string) string {
	t.Helper()
	sha, err := s.Put(t.Context(), []byte(data))
	if err != nil {
		t.Fatal(err)
	}
	return sha
}

// files lists what is in the store.
func files(t *testing.T, s *Store) (list []string) {
	t.Helper()
	err := filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			list = append(list, strings.TrimPrefix(path, s.dir))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestStore(t *testing.T) {
	s := openStore(t)
	const sha = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824" // of hello
	if s.Has(sha) {
		t.Error("an empty store has it")
	}
	for range 3 {
		if got := put(t, s, "hello"); got != sha {
			t.Errorf("Put = %s, want %s", got, sha)
		}
	}
	w, err := s.Create()
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"he", "", "llo"} {
		if _, err := io.WriteString(w, part); err != nil {
			t.Fatal(err)
		}
	}
	if got, size, err := w.Commit(); err != nil || got != sha || size != 5 {
		t.Errorf("Commit = %s, %d, %v", got, size, err)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	w, err = s.Create()
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(w, "never committed")
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if got, want := files(t, s), []string{"/2c/" + sha}; !slices.Equal(got, want) {
		t.Errorf("files %q, want %q", got, want)
	}
	if data, err := s.Get(t.Context(), sha); err != nil || string(data) != "hello" || !s.Has(sha) {
		t.Errorf("Get = %q, %v", data, err)
	}
	for _, name := range []string{strings.Repeat("0", 64), "", "../../etc/passwd", strings.ToUpper(sha), sha + "0", strings.Repeat("/", 64)} {
		if _, err := s.Get(t.Context(), name); !errors.Is(err, fs.ErrNotExist) || s.Has(name) {
			t.Errorf("Get(%q): %v, want %v", name, err, fs.ErrNotExist)
		}
		if _, err := s.Open(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Open(%q): %v, want %v", name, err, fs.ErrNotExist)
		}
	}
}

func TestStoreDamage(t *testing.T) {
	s := openStore(t)
	flipped, short := put(t, s, "12345678"), put(t, s, "abcdefgh")
	path := func(sha string) string { p, _ := s.path(sha); return p }
	if err := errors.Join(os.WriteFile(path(flipped), []byte("12345679"), 0o644), os.Truncate(path(short), 4)); err != nil {
		t.Fatal(err)
	}
	for _, sha := range []string{flipped, short} {
		if _, err := s.Get(t.Context(), sha); err == nil || !strings.Contains(err.Error(), "damaged") {
			t.Errorf("Get: %v, want it damaged", err)
		}
		if _, _, err := s.Float32s(t.Context(), sha); err == nil || !strings.Contains(err.Error(), "damaged") {
			t.Errorf("Float32s: %v, want it damaged", err)
		}
	}
	// Putting again mends what has the wrong size.
	put(t, s, "abcdefgh")
	if _, err := s.Get(t.Context(), short); err != nil {
		t.Error(err)
	}
}

func TestFloats(t *testing.T) {
	s := openStore(t)
	var b32, b64 []byte
	var want []float64
	for i := range 3000 {
		v := float32(i) / 7
		want = append(want, float64(v))
		b32 = binary.LittleEndian.AppendUint32(b32, math.Float32bits(v))
		b64 = binary.LittleEndian.AppendUint64(b64, math.Float64bits(float64(v)))
	}
	sha32, sha64, odd, empty := put(t, s, string(b32)), put(t, s, string(b64)), put(t, s, "12345"), put(t, s, "")
	for range 2 { // the second time the digest is known
		f32, release32, err := s.Float32s(t.Context(), sha32)
		if err != nil {
			t.Fatal(err)
		}
		f64, release64, err := s.Float64s(t.Context(), sha64)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.EqualFunc(f32, want, func(a float32, b float64) bool { return float64(a) == b }) || !slices.Equal(f64, want) {
			t.Error("other values than were put")
		}
		release32()
		release64()
	}
	if _, _, err := s.Float32s(t.Context(), odd); err == nil {
		t.Error("5 bytes are float32")
	}
	if v, release, err := s.Float32s(t.Context(), empty); err != nil || len(v) != 0 {
		t.Errorf("empty: %v, %v", v, err)
	} else {
		release()
	}
	// What is mapped stays readable after Sweep.
	f32, release, err := s.Float32s(t.Context(), sha32)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	if _, err := s.Sweep(t.Context(), func(string) bool { return false }, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if s.Has(sha32) || float64(f32[2999]) != want[2999] {
		t.Error("swept memory")
	}
}

func TestSweep(t *testing.T) {
	s := openStore(t)
	old, kept, young, again := put(t, s, "old"), put(t, s, "kept"), put(t, s, "young"), put(t, s, "again")
	long := time.Now().Add(-time.Hour)
	left := filepath.Join(s.dir, tempDir, "put-left-over")
	if err := os.WriteFile(left, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, sha := range []string{old, kept, again} {
		path, _ := s.path(sha)
		if err := os.Chtimes(path, long, long); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chtimes(left, long, long); err != nil {
		t.Fatal(err)
	}
	put(t, s, "again") // makes it young
	removed, err := s.Sweep(t.Context(), func(sha string) bool { return sha == kept }, time.Now().Add(-time.Minute))
	if err != nil || removed != 1 {
		t.Errorf("Sweep = %d, %v, want 1", removed, err)
	}
	if s.Has(old) || !s.Has(kept) || !s.Has(young) || !s.Has(again) {
		t.Errorf("old %v, kept %v, young %v, again %v", s.Has(old), s.Has(kept), s.Has(young), s.Has(again))
	}
	if _, err := os.Stat(left); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("left-over: %v", err)
	}
}

// A blob that is put is there afterwards, whoever sweeps at the same time and
// however old it was before.
func TestPutDuringSweep(t *testing.T) {
	s := openStore(t)
	done := make(chan struct{})
	var sweeper sync.WaitGroup
	sweeper.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				if _, err := s.Sweep(t.Context(), func(string) bool { return false }, time.Now().Add(-30*time.Minute)); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	var putters sync.WaitGroup
	for k := range 4 {
		putters.Go(func() {
			long := time.Now().Add(-time.Hour)
			for i := range 100 {
				data := []byte(fmt.Sprintf("blob %d of %d", i, k))
				sha, err := s.Put(t.Context(), data)
				if err != nil {
					t.Error(err)
					return
				}
				path, _ := s.path(sha)
				os.Chtimes(path, long, long) // from now on Sweep may take it
				if _, err := s.Put(t.Context(), data); err != nil {
					t.Error(err)
					return
				}
				// Sweep moves it back within moments.
				for deadline := time.Now().Add(2 * time.Minute); !s.Has(sha); time.Sleep(time.Millisecond) {
					if time.Now().After(deadline) {
						t.Errorf("%s is gone", sha)
						return
					}
				}
			}
		})
	}
	putters.Wait()
	close(done)
	sweeper.Wait()
}

func TestConcurrentPut(t *testing.T) {
	s := openStore(t)
	data := bytes.Repeat([]byte("x"), 1<<16)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			sha, err := s.Put(t.Context(), data)
			if err != nil {
				t.Error(err)
				return
			}
			if got, err := s.Get(t.Context(), sha); err != nil || !bytes.Equal(got, data) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
	wg.Wait()
	if got := files(t, s); len(got) != 1 {
		t.Errorf("files %q", got)
	}
}
