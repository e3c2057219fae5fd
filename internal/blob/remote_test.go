package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/blob/memblob"
)

// openRemotes returns the stores of two replicas without a shared disk.
func openRemotes(t *testing.T) (a, b *Store, bucket *blob.Bucket) {
	t.Helper()
	bucket = memblob.OpenBucket(nil)
	t.Cleanup(func() { bucket.Close() })
	for _, s := range []**Store{&a, &b} {
		var err error
		if *s, err = OpenRemote(t.TempDir(), Bucket{"s3", "blobs", "nextbatch/", bucket}); err != nil {
			t.Fatal(err)
		}
	}
	return a, b, bucket
}

func keys(t *testing.T, bucket *blob.Bucket) (all []string) {
	t.Helper()
	for list := bucket.List(nil); ; {
		o, err := list.Next(t.Context())
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, o.Key)
	}
}

// A blob that one replica put is there for the others, mapped into memory too.
func TestRemoteStore(t *testing.T) {
	a, b, bucket := openRemotes(t)
	const sha = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824" // of hello
	if a.Has(sha) {
		t.Error("an empty store has it")
	}
	if _, err := a.Open(sha); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an empty store opens it: %v", err)
	}
	if _, err := a.Size("../x"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	for range 2 {
		put(t, a, "hello")
		put(t, b, "hello")
	}
	if want := []string{"nextbatch/2c/" + sha}; !slices.Equal(keys(t, bucket), want) {
		t.Errorf("keys %q, want %q", keys(t, bucket), want)
	}
	w, err := a.Create()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	fmt.Fprint(w, "\x00\x00\x80\x3f\x00\x00\x00\x40") // 1 and 2
	vector, size, err := w.Commit()
	if err != nil || size != 8 {
		t.Fatal(size, err)
	}
	if size, err := b.Size(vector); err != nil || size != 8 || !b.Has(vector) {
		t.Errorf("size %d, %v", size, err)
	}
	v, release, err := b.Float32s(t.Context(), vector)
	if err != nil || !slices.Equal(v, []float32{1, 2}) {
		t.Fatal(v, err)
	}
	release()
	data, err := b.Get(t.Context(), sha)
	if err != nil || string(data) != "hello" {
		t.Errorf("%q, %v", data, err)
	}
	if got := files(t, b); len(got) != 2 {
		t.Errorf("%q in the cache, want both", got)
	}
}

// A damaged blob is an error; in the cache, only once.
func TestRemoteDamage(t *testing.T) {
	a, b, bucket := openRemotes(t)
	sha := put(t, a, "hello")
	path, _ := a.path(sha)
	if err := os.WriteFile(path, []byte("hallo"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Get(t.Context(), sha); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("damaged in the cache: %v", err)
	}
	if data, err := a.Get(t.Context(), sha); err != nil || string(data) != "hello" {
		t.Errorf("after it: %q, %v", data, err)
	}
	if err := bucket.WriteAll(t.Context(), a.remote.key(sha), []byte("hallo"), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Get(t.Context(), sha); err == nil || !strings.Contains(err.Error(), "damaged in its bucket") {
		t.Errorf("damaged in the bucket: %v", err)
	}
	if got := files(t, b); len(got) != 0 {
		t.Errorf("%q in the cache", got)
	}
	bucket.Close()
	if _, err := a.Put(t.Context(), []byte("more")); err == nil {
		t.Error("put without a bucket")
	}
}

func TestRemoteSweep(t *testing.T) {
	a, b, bucket := openRemotes(t)
	old, kept := put(t, a, "old"), put(t, a, "kept")
	if _, err := b.Get(t.Context(), kept); err != nil {
		t.Fatal(err)
	}
	for _, foreign := range []string{"nextbatch/readme", "other/" + old[:2] + "/" + old, "nextbatch/xx/" + old} {
		if err := bucket.WriteAll(t.Context(), foreign, []byte("x"), nil); err != nil {
			t.Fatal(err)
		}
	}
	all := func(sha string) bool { return sha == kept }
	if removed, err := a.Sweep(t.Context(), all, time.Now().Add(-time.Hour)); removed != 0 || err != nil {
		t.Errorf("young blobs: Sweep = %d, %v", removed, err)
	}
	later := time.Now().Add(time.Hour)
	if removed, err := b.Sweep(t.Context(), all, later); removed != 1 || err != nil {
		t.Errorf("Sweep = %d, %v, want 1", removed, err)
	}
	if want := []string{"nextbatch/" + kept[:2] + "/" + kept, "nextbatch/readme", "nextbatch/xx/" + old, "other/" + old[:2] + "/" + old}; !slices.Equal(sorted(keys(t, bucket)), sorted(want)) {
		t.Errorf("keys %q, want %q", keys(t, bucket), want)
	}
	if got := files(t, b); len(got) != 0 {
		t.Errorf("%q in the cache, and not used", got)
	}
	if data, err := b.Get(t.Context(), kept); err != nil || string(data) != "kept" {
		t.Errorf("%q, %v", data, err)
	}
	// A mark of somebody who died stops nobody for long, and is removed.
	a.remote.void = 0
	if err := bucket.WriteAll(t.Context(), a.remote.marks(kept)+"dead", nil, nil); err != nil {
		t.Fatal(err)
	}
	put(t, a, "kept")
	if _, err := a.Sweep(t.Context(), all, time.Now().Add(-time.Hour)); err != nil {
		t.Error(err)
	}
	if left := keys(t, bucket); slices.ContainsFunc(left, func(key string) bool { return strings.Contains(key, "swept/") }) {
		t.Errorf("marks are left: %q", left)
	}
}

func sorted(s []string) []string { slices.Sort(s); return s }

// A blob that is put is there afterwards, whoever removes it at the same time and
// however old it was before.
func TestRemotePutDuringSweep(t *testing.T) {
	a, b, _ := openRemotes(t)
	for _, s := range []*Store{a, b} {
		s.remote.fresh, s.remote.void = 0, 10*time.Second
	}
	for i := range 20 {
		data := fmt.Sprint("blob ", i)
		sha := put(t, a, data)
		old := time.Now()
		var sweepers sync.WaitGroup
		for _, s := range []*Store{a, b} {
			sweepers.Go(func() {
				for range 3 {
					if _, err := s.remote.remove(context.Background(), sha, old); err != nil && !errors.Is(err, context.DeadlineExceeded) {
						t.Error(err)
					}
				}
			})
		}
		put(t, b, data)
		there, err := a.remote.attributes(t.Context(), sha)
		sweepers.Wait()
		still, stillErr := a.remote.attributes(t.Context(), sha)
		if there == nil || still == nil || err != nil || stillErr != nil {
			t.Fatalf("blob %d: there %v (%v), after the sweep %v (%v)", i, there != nil, err, still != nil, stillErr)
		}
	}
}

// The worst moment: who sweeps has seen the old age, the blob is put, then it is
// removed. The other way round, a blob that was put is not old any more.
func TestRemotePutBetweenLookAndRemoval(t *testing.T) {
	a, b, bucket := openRemotes(t)
	a.remote.fresh, a.remote.void = 0, time.Minute
	sha := put(t, b, "hello")
	old, err := a.remote.attributes(t.Context(), sha)
	if err != nil {
		t.Fatal(err)
	}
	mark := a.remote.marks(sha) + "1"
	if err := bucket.WriteAll(t.Context(), mark, nil, nil); err != nil {
		t.Fatal(err)
	}
	returned := make(chan error, 1)
	go func() {
		_, err := a.Put(t.Context(), []byte("hello"))
		returned <- err
	}()
	for { // until it is put
		now, err := a.remote.attributes(t.Context(), sha)
		if err != nil {
			t.Fatal(err)
		}
		if now.ModTime.After(old.ModTime) {
			break
		}
		time.Sleep(time.Millisecond)
	}
	select {
	case err := <-returned:
		t.Errorf("Put does not wait for the one who removes: %v", err)
		returned <- err
	default:
	}
	for _, key := range []string{a.remote.key(sha), mark} {
		if err := bucket.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-returned; err != nil {
		t.Fatal(err)
	}
	if there, err := a.remote.attributes(t.Context(), sha); there == nil || err != nil {
		t.Errorf("the blob is gone: %v", err)
	}
	if gone, err := b.remote.remove(t.Context(), sha, old.ModTime.Add(1)); gone || err != nil {
		t.Errorf("a blob that was put again is removed: %v, %v", gone, err)
	}
}
