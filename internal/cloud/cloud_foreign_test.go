//go:build foreign

package cloud

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"nextbatch/internal/blob"
	"nextbatch/internal/cloud/cloudtest"
)

func TestS3(t *testing.T) {
	endpoint := cloudtest.StartS3(t, "training", "secret")
	testCloud(t, "s3", cloudtest.S3URL(endpoint, "training"), cloudtest.S3URL(endpoint, "absent"))
}

func TestGCS(t *testing.T) {
	cloudtest.StartGCS(t, "training", "secret")
	testCloud(t, "gs", "gs://training?anonymous=true", "gs://absent?anonymous=true")
}

func TestAzure(t *testing.T) {
	addr := cloudtest.StartAzure(t, "training", "secret")
	testCloud(t, "azblob", cloudtest.AzureURL(addr, "training"), cloudtest.AzureURL(addr, "absent"))
}

func csv(from, to int) []byte {
	var b bytes.Buffer
	b.WriteString("filename,x,y\n")
	for i := from; i < to; i++ {
		fmt.Fprintf(&b, "%06d.jpg,%d,%d\n", i, i, i+1)
	}
	return b.Bytes()
}

func testCloud(t *testing.T, scheme, bucket, absent string) {
	buckets, closeAll, err := OpenAll(t.Context(), []string{bucket, absent})
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll()
	if err := Check(t.Context(), buckets[0]); err != nil {
		t.Error(err)
	}
	if err := Check(t.Context(), buckets[1]); err == nil {
		t.Error("a bucket that is not there is fine")
	}
	put := func(key string, data []byte) {
		t.Helper()
		if err := buckets[0].Handle.WriteAll(t.Context(), key, data, nil); err != nil {
			t.Fatal(err)
		}
	}
	npy, err := os.ReadFile("../blob/testdata/emb_le_f4.npy")
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(npy)
	digest := hex.EncodeToString(sum[:])
	put("run 7/ä+%41#/emb.npy", npy)
	put("parts/b.csv", csv(10, 20))
	put("parts/a.csv", csv(0, 10))
	put("parts/sub/c.csv", csv(20, 30))
	put("parts/_SUCCESS", nil)
	put("partsandmore/d.csv", csv(0, 10))
	put("overlap/a.csv", csv(0, 10))
	put("overlap/b.csv", csv(7, 12))
	put("mixed/a.csv", csv(0, 10))
	put("mixed/b.npy", npy)
	put("empty.npy", nil)
	put("large.npy", make([]byte, 1<<20+1))
	put("odd/a%2e%2e.csv", csv(0, 10))
	put("odd/b.csv", csv(10, 20))

	put("tree/schema.json", []byte(`{"task_type":"object-detection","categories":[{"id":0,"name":"shoe"}]}`))
	put("tree/sub/_a.json", []byte(`{"file_name":"sub/_a.jpg","predictions":[{"category_id":0,"bbox":[0,0,1,1],"score":0.5}]}`))
	put("tree/b.json", []byte(`{"file_name":"b.jpg","predictions":[]}`))

	temp := t.TempDir()
	o, err := blob.NewOpener(blob.Config{Clouds: buckets, MaxBytes: 1 << 20, TempDir: temp})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	at := scheme + "://training/"
	list := func(keys ...string) (ref blob.Ref) {
		for _, key := range keys {
			ref.Files = append(ref.Files, blob.FileRef{URI: at + key})
		}
		return ref
	}
	single := at + "run%207/ä+%2541%23/emb.npy"
	for _, c := range []struct {
		name string
		ref  blob.Ref
		rows int
		code string
	}{
		{"good", blob.Ref{URI: single}, 5, ""},
		{"with digest and size", blob.Ref{URI: single, SHA256: digest, Size: int64(len(npy))}, 5, ""},
		{"prefix", blob.Ref{URI: at + "parts/"}, 30, ""},
		{"deeper prefix", blob.Ref{URI: at + "parts/sub/"}, 10, ""},
		{"list", list("parts/b.csv", "parts/a.csv"), 20, ""},
		{"wrong digest", blob.Ref{URI: single, SHA256: digest[1:] + "0"}, 0, "digest_mismatch"},
		{"wrong size", blob.Ref{URI: single, Size: 1}, 0, "size_mismatch"},
		{"missing", blob.Ref{URI: at + "none.npy"}, 0, "reference_missing"},
		{"missing prefix", blob.Ref{URI: at + "none/"}, 0, "reference_missing"},
		{"missing of a list", list("parts/a.csv", "parts/none.csv"), 0, "reference_missing"},
		{"missing bucket", blob.Ref{URI: scheme + "://absent/a.npy"}, 0, "reference_missing"},
		{"missing bucket of a prefix", blob.Ref{URI: scheme + "://absent/a/"}, 0, "reference_missing"},
		{"bucket not on the list", blob.Ref{URI: scheme + "://secret/a.npy"}, 0, "reference_not_allowed"},
		{"prefix not on the list", blob.Ref{URI: scheme + "://secret/a/"}, 0, "reference_not_allowed"},
		{"parameters", blob.Ref{URI: single + "?endpoint=http://127.0.0.1:1"}, 0, "bad_reference"},
		{"traversal", blob.Ref{URI: at + "parts/../../secret/a.npy"}, 0, "bad_reference"},
		{"encoded traversal", blob.Ref{URI: at + "parts/%2e%2e/a.npy"}, 0, "bad_reference"},
		{"too large", blob.Ref{URI: at + "large.npy"}, 0, "reference_too_large"},
		{"empty", blob.Ref{URI: at + "empty.npy"}, 0, "empty_file"},
		{"filename in two files", blob.Ref{URI: at + "overlap/"}, 0, "duplicate_filenames"},
		{"formats", blob.Ref{URI: at + "mixed/"}, 0, "bad_reference"},
		{"odd keys", blob.Ref{URI: at + "odd/"}, 0, "bad_reference"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, err := read(t, o, c.ref)
			if left, _ := os.ReadDir(temp); len(left) > 0 {
				t.Errorf("%d temporary files are left", len(left))
			}
			if code := codeOf(err); code != c.code {
				t.Fatalf("error %v, want code %q", err, c.code)
			}
			if e.Rows != c.rows {
				t.Errorf("%d rows, want %d", e.Rows, c.rows)
			}
		})
	}
	e, err := read(t, o, blob.Ref{URI: at + "parts/"})
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range e.Names { // by key, then by line
		if want := fmt.Sprintf("%06d.jpg", i); name != want || e.Data[2*i] != float32(i) || e.Data[2*i+1] != float32(i+1) {
			t.Fatalf("row %d is %s %v, want %s", i, name, e.Data[2*i:2*i+2], want)
		}
	}
	for _, ref := range []blob.Ref{{URI: single}, {URI: at + "parts/"}, list("parts/a.csv", "parts/b.csv")} {
		if size, err := o.GuessMemory(t.Context(), ref); err != nil || size < 1<<20 {
			t.Errorf("guess %d, %v", size, err)
		}
	}
	tree, err := o.Open(t.Context(), blob.Ref{URI: at + "tree/"})
	if err != nil {
		t.Fatal(err)
	}
	names, err := blob.EachDetections(tree, func(blob.Detections) error { return nil })
	if err := errors.Join(err, tree.Close()); err != nil || !slices.Equal(names, []string{"b.jpg", "sub/_a.jpg"}) {
		t.Errorf("tree of %q, %v", names, err)
	}
	testBlobs(t, buckets[0])
	closeAll()
	if _, err := read(t, o, blob.Ref{URI: single}); err == nil {
		t.Error("no error of a closed bucket")
	} else if e, ok := errors.AsType[*blob.Error](err); ok && !e.Transient {
		t.Errorf("a closed bucket is blamed on the sender: %v", err)
	}
}

// testBlobs keeps blobs in a bucket, for two replicas without a shared disk.
func testBlobs(t *testing.T, bucket blob.Bucket) {
	bucket.Prefix = "blobs/"
	open := func() *blob.Store {
		s, err := blob.OpenRemote(t.TempDir(), bucket)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	a, b := open(), open()
	large := bytes.Repeat([]byte{0, 0, 128, 63}, 3<<20) // 12 MiB of ones: in parts, where the cloud has them
	sha, err := a.Put(t.Context(), large)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := b.Put(t.Context(), []byte("kept"))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // also what is there already
		if _, err := b.Put(t.Context(), []byte("kept")); err != nil {
			t.Fatal(err)
		}
	}
	v, release, err := b.Float32s(t.Context(), sha)
	if err != nil || len(v) != 3<<20 || v[0] != 1 || v[len(v)-1] != 1 {
		t.Fatalf("%d values, %v", len(v), err)
	}
	release()
	if size, err := open().Size(sha); err != nil || size != int64(len(large)) {
		t.Errorf("size %d, %v", size, err)
	}
	if open().Has(strings.Repeat("0", 64)) {
		t.Error("a blob that nobody put is there")
	}
	if _, err := open().Open(strings.Repeat("0", 64)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("opened a blob that nobody put: %v", err)
	}
	keep := func(sha string) bool { return sha == kept }
	if removed, err := a.Sweep(t.Context(), keep, time.Now().Add(-time.Hour)); removed != 0 || err != nil {
		t.Errorf("young blobs: Sweep = %d, %v", removed, err)
	}
	if removed, err := a.Sweep(t.Context(), keep, time.Now().Add(time.Hour)); removed != 1 || err != nil {
		t.Errorf("Sweep = %d, %v, want 1", removed, err)
	}
	if open().Has(sha) || !open().Has(kept) {
		t.Error("the wrong blob was swept")
	}
	if again, err := a.Put(t.Context(), large); again != sha || err != nil || !open().Has(sha) {
		t.Errorf("put after a sweep: %v", err)
	}
}

func codeOf(err error) string {
	if e, ok := errors.AsType[*blob.Error](err); ok {
		return e.Code
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

func read(t *testing.T, o *blob.Opener, ref blob.Ref) (blob.Embeddings, error) {
	t.Helper()
	f, err := o.Open(t.Context(), ref)
	if err != nil {
		return blob.Embeddings{}, err
	}
	defer f.Close()
	return blob.ReadEmbeddings(f)
}

// A prefix with more objects than one answer of the server lists.
func TestS3Pages(t *testing.T) {
	endpoint := cloudtest.StartS3(t, "training")
	buckets, closeAll, err := OpenAll(t.Context(), []string{cloudtest.S3URL(endpoint, "training")})
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll()
	const objects = 1200
	want := blob.Embeddings{Dim: 2}
	for i := range objects {
		if err := buckets[0].Handle.WriteAll(t.Context(), fmt.Sprintf("many/%06d.csv", i), csv(i, i+1), nil); err != nil {
			t.Fatal(err)
		}
		want.Names = append(want.Names, fmt.Sprintf("%06d.jpg", i))
		want.Data = append(want.Data, float32(i), float32(i+1))
		want.Rows++
	}
	o, err := blob.NewOpener(blob.Config{Clouds: buckets})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	e, err := read(t, o, blob.Ref{URI: "s3://training/many/"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, e); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// S3 behind something that stops in the middle of an object, cuts it short, or
// is not there at all: worth another attempt, and none waits for ever.
func TestS3IsDisturbed(t *testing.T) {
	endpoint := cloudtest.StartS3(t, "training")
	target, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host // it is signed
		},
		FlushInterval: -1,
		ErrorHandler:  func(http.ResponseWriter, *http.Request, error) {},
		ErrorLog:      log.New(io.Discard, "", 0),
		ModifyResponse: func(r *http.Response) error {
			if r.Request.Method != http.MethodGet {
				return nil
			}
			switch {
			case strings.Contains(r.Request.URL.Path, "stops"):
				r.Body = &broken{r.Body, 100, func() error { <-ended; return io.ErrUnexpectedEOF }}
			case strings.Contains(r.Request.URL.Path, "cut"):
				r.Body = &broken{r.Body, 100, func() error { return io.ErrUnexpectedEOF }}
			}
			return nil
		},
	}
	front := httptest.NewServer(proxy)
	defer front.Close()
	defer front.CloseClientConnections()
	defer close(ended)
	buckets, closeAll, err := OpenAll(t.Context(), []string{cloudtest.S3URL(front.URL, "training")})
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll()
	for _, key := range []string{"stops.csv", "cut.csv"} {
		if err := buckets[0].Handle.WriteAll(t.Context(), key, csv(0, 10000), nil); err != nil {
			t.Fatal(err)
		}
	}
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody.Close()
	away, closeAway, err := OpenAll(t.Context(), []string{cloudtest.S3URL("http://"+nobody.Addr().String(), "away")})
	if err != nil {
		t.Fatal(err)
	}
	defer closeAway()
	o, err := blob.NewOpener(blob.Config{Clouds: append(buckets, away...), Stall: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	for _, uri := range []string{"s3://training/stops.csv", "s3://training/cut.csv", "s3://away/a.csv", "s3://away/a/"} {
		_, err := read(t, o, blob.Ref{URI: uri})
		if e, ok := errors.AsType[*blob.Error](err); err == nil || ok && (!e.Transient || e.Code != "reference_unreadable") {
			t.Errorf("%s: %v, want an error that may pass", uri, err)
		}
	}
}

// broken is a body that fails after so many bytes.
type broken struct {
	io.ReadCloser
	left int
	end  func() error
}

func (b *broken) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, b.end()
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// What only looks like a bucket is refused.
func TestOpenRefuses(t *testing.T) {
	for _, raw := range []string{"", "training", "http://training", "file:///tmp", "mem://x", "s3://", "s3:///key", "s3://u:secret@training", "s3://training#x",
		"s3://training?prefix=a/", "s3://training?nonsense=secret", "://"} {
		_, closeAll, err := OpenAll(t.Context(), []string{raw})
		if err == nil {
			closeAll()
			t.Errorf("%q is opened", raw)
		}
	}
}
