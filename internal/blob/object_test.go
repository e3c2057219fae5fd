package blob

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// startNATS runs a real server with JetStream inside the test.
func startNATS(t *testing.T) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	s, err := server.NewServer(&server.Options{JetStream: true, StoreDir: t.TempDir(), DontListen: true, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(time.Minute) {
		t.Fatal("the server does not start")
	}
	nc, err := nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return nc, js
}

func TestObjects(t *testing.T) {
	nc, js := startNATS(t)
	ctx := t.Context()
	bucket := func(name string) jetstream.ObjectStore {
		b, err := js.CreateObjectStore(ctx, jetstream.ObjectStoreConfig{Bucket: name})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	good, err := os.ReadFile("testdata/emb.npz")
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(good)
	digest := hex.EncodeToString(sum[:])
	training, secret := bucket("training"), bucket("secret")
	put := func(b jetstream.ObjectStore, name string, data []byte) *jetstream.ObjectInfo {
		info, err := b.Put(ctx, jetstream.ObjectMeta{Name: name, Opts: &jetstream.ObjectMetaOptions{ChunkSize: 1 << 10}}, bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		return info
	}
	inBucket := put(training, "run 7/emb.npz", good)
	inSecret := put(secret, "emb.npz", good)
	put(training, "deleted.npz", good)
	put(training, "large.npz", make([]byte, 1<<20+1))
	put(training, "model.pt", good)
	put(training, "empty.npy", nil)
	damaged := put(training, "damaged.npz", good)
	gone := put(training, "gone.npz", good)
	for _, err := range []error{
		training.Delete(ctx, "deleted.npz"),
		second(training.AddLink(ctx, "near.npz", inBucket)),
		second(training.AddLink(ctx, "far.npz", inSecret)),
		second(training.AddBucketLink(ctx, "bucket.npz", secret)),
		purge(ctx, js, "$O.training.C."+gone.NUID),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	// An entry in the object store is only a message: anybody may write one.
	entry := func(name string, info *jetstream.ObjectInfo, size int, digest string) {
		subject := "$O.training.M." + base64.URLEncoding.EncodeToString([]byte(name))
		meta := fmt.Sprintf(`{"name":%q,"bucket":"training","nuid":%q,"size":%d,"chunks":%d,"digest":%q}`, name, info.NUID, size, info.Chunks, digest)
		if _, err := js.Publish(ctx, subject, []byte(meta)); err != nil {
			t.Fatal(err)
		}
	}
	entry("damaged.npz", damaged, len(good), "SHA-256="+base64.URLEncoding.EncodeToString(make([]byte, 32)))
	entry("shorter.npz", inBucket, 10, inBucket.Digest)
	entry("longer.npz", inBucket, 1<<19, inBucket.Digest)
	entry("named.npz", inBucket, len(good), inBucket.Digest)
	entry("huge.npz", inBucket, 1<<60, inBucket.Digest)

	temp := t.TempDir()
	o, err := NewOpener(Config{Buckets: []string{"training", "none"}, JetStream: js, MaxBytes: 1 << 20, TempDir: temp})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	o.cfg.Stall = 3 * time.Second
	for _, c := range []struct {
		name string
		ref  Ref
		code string
	}{
		{"good", Ref{URI: "nats://training/run%207/emb.npz"}, ""},
		{"with digest and size", Ref{URI: "nats://training/run 7/emb.npz", SHA256: digest, Size: int64(len(good))}, ""},
		{"wrong digest", Ref{URI: "nats://training/run 7/emb.npz", SHA256: digest[1:] + "0"}, "digest_mismatch"},
		{"wrong size", Ref{URI: "nats://training/run 7/emb.npz", Size: 1}, "size_mismatch"},
		{"missing", Ref{URI: "nats://training/none.npz"}, "reference_missing"},
		{"missing bucket", Ref{URI: "nats://none/emb.npz"}, "reference_missing"},
		{"deleted", Ref{URI: "nats://training/deleted.npz"}, "reference_missing"},
		{"not allowed", Ref{URI: "nats://secret/emb.npz"}, "reference_not_allowed"},
		{"link", Ref{URI: "nats://training/near.npz"}, "reference_not_allowed"},
		{"link to another bucket", Ref{URI: "nats://training/far.npz"}, "reference_not_allowed"},
		{"link to a bucket", Ref{URI: "nats://training/bucket.npz"}, "reference_not_allowed"},
		{"too large", Ref{URI: "nats://training/large.npz"}, "reference_too_large"},
		{"says it is huge", Ref{URI: "nats://training/huge.npz"}, "reference_too_large"},
		{"empty", Ref{URI: "nats://training/empty.npy"}, "empty_file"},
		{"pickle", Ref{URI: "nats://training/model.pt"}, "pickle_refused"},
		{"damaged", Ref{URI: "nats://training/damaged.npz"}, "digest_mismatch"},
		{"longer than its entry", Ref{URI: "nats://training/shorter.npz"}, "size_mismatch"},
		{"shorter than its entry", Ref{URI: "nats://training/longer.npz"}, "size_mismatch"},
		{"entry of another object", Ref{URI: "nats://training/named.npz"}, ""},
		{"chunks are gone", Ref{URI: "nats://training/gone.npz"}, "reference_unreadable"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := o.Open(ctx, c.ref)
			if left, _ := os.ReadDir(temp); len(left) > 0 {
				t.Errorf("%d temporary files are left", len(left))
			}
			if c.code != "" {
				wantCode(t, err, c.code)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			e, err := ReadEmbeddings(f)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(Embeddings{wantNames, 5, 3, wantEmbeddings()}, e); diff != "" {
				t.Error(diff)
			}
		})
	}
	nc.Close()
	if _, err := o.Open(ctx, Ref{URI: "nats://training/run 7/emb.npz"}); err == nil {
		t.Error("no error without a connection")
	} else if e, ok := err.(*Error); ok && !e.Transient {
		t.Errorf("a lost connection is blamed on the sender: %v", err)
	}
}

func second[T any](_ T, err error) error { return err }

func purge(ctx context.Context, js jetstream.JetStream, subject string) error {
	s, err := js.Stream(ctx, "OBJ_training")
	if err != nil {
		return err
	}
	return s.Purge(ctx, jetstream.WithPurgeSubject(subject))
}

func TestNewOpener(t *testing.T) {
	for name, cfg := range map[string]Config{
		"missing root":      {Roots: []string{"/nonexistent/folder"}},
		"no JetStream":      {Buckets: []string{"b"}},
		"bad bucket":        {Buckets: []string{"a/b"}},
		"negative limit":    {MaxBytes: -1},
		"root is no folder": {Roots: []string{"testdata/make.py"}},
	} {
		if o, err := NewOpener(cfg); err == nil {
			o.Close()
			t.Errorf("%s: no error", name)
		}
	}
}
