package blob

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
	"gocloud.dev/blob/memblob"
)

// shard returns the npz of some rows of one long matrix, the elements of which
// count on.
func shard(t *testing.T, from, to, cols int) []byte {
	t.Helper()
	names, values := []byte{}, []byte{}
	for row := from; row < to; row++ {
		names = append(names, fmt.Sprintf("%08d.jpg", row)...)
		for col := range cols {
			values = binary.LittleEndian.AppendUint32(values, math.Float32bits(float32(row*cols+col)))
		}
	}
	return zipBytes(t,
		member{"filenames.npy", npyBytes(fmt.Sprintf("{'descr': '|S12', 'fortran_order': False, 'shape': (%d,), }\n", to-from), names)},
		member{"embeddings.npy", npyBytes(fmt.Sprintf("{'descr': '<f4', 'fortran_order': False, 'shape': (%d, %d), }\n", to-from, cols), values)})
}

// unnamed is a shard without filenames.
func unnamed(from, to, cols int) []byte {
	values := []byte{}
	for i := from * cols; i < to*cols; i++ {
		values = binary.LittleEndian.AppendUint32(values, math.Float32bits(float32(i)))
	}
	return npyBytes(fmt.Sprintf("{'descr': '<f4', 'fortran_order': False, 'shape': (%d, %d), }\n", to-from, cols), values)
}

func writeFiles(t *testing.T, dir string, files map[string][]byte) {
	t.Helper()
	for name, data := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// wantRows checks that embeddings are rows of the long matrix, in this order.
func wantRows(t *testing.T, e Embeddings, cols int, rows []int) {
	t.Helper()
	want := Embeddings{Rows: len(rows), Dim: cols}
	for _, row := range rows {
		want.Names = append(want.Names, fmt.Sprintf("%08d.jpg", row))
		for col := range cols {
			want.Data = append(want.Data, float32(row*cols+col))
		}
	}
	if e.Names == nil {
		want.Names = nil
	}
	if diff := cmp.Diff(want, e); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func count(from, to int) (rows []int) {
	for i := from; i < to; i++ {
		rows = append(rows, i)
	}
	return rows
}

func readAllOf(t *testing.T, o *Opener, ref Ref) (Embeddings, error) {
	t.Helper()
	f, err := o.Open(t.Context(), ref)
	if err != nil {
		return Embeddings{}, err
	}
	defer f.Close()
	return ReadEmbeddings(f)
}

func list(uris ...string) (files []FileRef) {
	for _, uri := range uris {
		files = append(files, FileRef{URI: uri})
	}
	return files
}

// Several files are one input, wherever each of them lies.
func TestSeveralFiles(t *testing.T) {
	dir, cols := t.TempDir(), 3
	writeFiles(t, dir, map[string][]byte{
		"run/part-0.npz":           shard(t, 0, 5, cols),
		"run/part-1.npz":           shard(t, 5, 6, cols),
		"run/deeper/part-2.npz":    shard(t, 6, 40, cols),
		"run/part-3.npz":           shard(t, 0, 0, cols),
		"run/_SUCCESS":             nil,
		"run/.part-0.npz.crc":      []byte("x"),
		"run/_temporary/0/old.npz": shard(t, 0, 5, cols),
		"npy/a.npy":                unnamed(0, 2, cols),
		"npy/b.npy":                unnamed(2, 4, cols),
		"one/a.npy":                unnamed(0, 2, cols),
		"csv/a.csv":                []byte("filename,x,y,z\n00000000.jpg,0,1,2\n"),
		"csv/b.csv":                []byte("filename,x,y,z\n00000001.jpg,3,4,5\n"),
	})
	_, js := startNATS(t)
	bucket, err := js.CreateObjectStore(t.Context(), jetstream.ObjectStoreConfig{Bucket: "models"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bucket.PutBytes(t.Context(), "part-4.npz", shard(t, 40, 50, cols)); err != nil {
		t.Fatal(err)
	}
	memory := memblob.OpenBucket(nil)
	defer memory.Close()
	for key, data := range map[string][]byte{
		"run/a.npz": shard(t, 10, 12, cols), "run/b.npz": shard(t, 0, 10, cols), "run/": nil, "run/sub/": nil, "running/c.npz": shard(t, 0, 10, cols),
	} {
		if err := memory.WriteAll(t.Context(), key, data, nil); err != nil {
			t.Fatal(err)
		}
	}
	o, err := NewOpener(Config{Roots: []string{dir}, Buckets: []string{"models"}, JetStream: js, Clouds: []Bucket{{"s3", "training", "", memory}}})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	root := "file://" + dir
	for _, c := range []struct {
		name string
		ref  Ref
		rows []int
	}{
		{"list in another order", Ref{Files: list(root+"/run/part-1.npz", root+"/run/part-0.npz")}, append(count(5, 6), count(0, 5)...)},
		{"folder", Ref{URI: root + "/run/"}, append(count(6, 40), count(0, 6)...)},
		{"folder by format", Ref{URI: root + "/run", Format: "npz"}, append(count(6, 40), count(0, 6)...)},
		{"one of a list", Ref{Files: list(root + "/run/part-1.npz")}, count(5, 6)},
		{"files without names", Ref{Files: list(root+"/npy/a.npy", root+"/npy/b.npy")}, count(0, 4)},
		{"folder of one file without names", Ref{URI: root + "/one/"}, count(0, 2)},
		{"CSV", Ref{URI: root + "/csv"}, count(0, 2)},
		{"prefix", Ref{URI: "s3://training/run/"}, append(count(10, 12), count(0, 10)...)},
		{"file, object and key", Ref{Files: list(root+"/run/part-0.npz", "nats://models/part-4.npz", "s3://training/run/a.npz")}, slices.Concat(count(0, 5), count(40, 50), count(10, 12))},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, err := readAllOf(t, o, c.ref)
			if err != nil {
				t.Fatal(err)
			}
			wantRows(t, e, cols, c.rows)
		})
	}
	names, err := o.Open(t.Context(), Ref{Files: list(root+"/csv/b.csv", root+"/csv/a.csv")})
	if err != nil {
		t.Fatal(err)
	}
	defer names.Close()
	if got, err := ReadNames(names); err != nil || !slices.Equal(got, []string{"00000001.jpg", "00000000.jpg"}) {
		t.Errorf("names %q, %v", got, err)
	}
}

// What only several files can do wrong is counted, and the files are named.
func TestSeveralBadFiles(t *testing.T) {
	dir := t.TempDir()
	writeFiles(t, dir, map[string][]byte{
		"a.npz": shard(t, 0, 5, 3), "b.npz": shard(t, 5, 9, 3), "overlap.npz": shard(t, 3, 7, 3), "wide.npz": shard(t, 9, 12, 4), "wider.npz": shard(t, 12, 13, 5),
		"plain.npz": zipBytes(t, member{"embeddings.npy", unnamed(0, 2, 3)}),
		"a.npy":     unnamed(0, 2, 3), "b.npy": unnamed(2, 4, 3), "empty.npz": nil, "none.npz": shard(t, 0, 0, 3), "model.pt": []byte("x"),
		"mixed/a.npz": shard(t, 0, 5, 3), "mixed/b.npy": unnamed(0, 2, 3), "mixed/c.csv": []byte("x"),
		"unnamed/part-2.npy": unnamed(0, 2, 3), "unnamed/part-10.npy": unnamed(2, 4, 3),
		"hidden/_SUCCESS": nil, "odd/%2e%2e.npz": shard(t, 0, 5, 3), `odd/a\b.npz`: shard(t, 0, 5, 3), "odd/c.npz": shard(t, 0, 5, 3),
		"links/a.npz": shard(t, 0, 5, 3), "tree/schema.json": []byte("{}"),
	})
	for _, link := range []string{"links/out", "links/gone.npz"} {
		if err := os.Symlink(map[string]string{"links/out": "/etc", "links/gone.npz": "nowhere"}[link], filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	memory := memblob.OpenBucket(nil)
	defer memory.Close()
	for _, key := range []string{"run/../secret.npz", "run//a.npz", "run/a\nb.npz", "run/good.npz"} {
		if err := memory.WriteAll(t.Context(), key, []byte("x"), nil); err != nil {
			t.Fatal(err)
		}
	}
	o, err := NewOpener(Config{Roots: []string{dir}, MaxBytes: 1 << 20, Clouds: []Bucket{{"s3", "training", "run/", memory}}})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	root := "file://" + dir
	of := func(names ...string) (files []FileRef) {
		for _, name := range names {
			files = append(files, FileRef{URI: root + "/" + name})
		}
		return files
	}
	for _, c := range []struct {
		name       string
		ref        Ref
		code, says string
	}{
		{"filename in two files", Ref{Files: of("a.npz", "b.npz", "overlap.npz")}, "duplicate_filenames", `4 of 13 filenames are in files before (first "00000003.jpg" in "` + root + `/a.npz" and "` + root + `/overlap.npz"`},
		{"dimensions", Ref{Files: of("a.npz", "wide.npz", "b.npz", "wider.npz")}, "bad_shape", `2 of 4 files have another number of dimensions than "` + root + `/a.npz", which has 3 (first "` + root + `/wide.npz" has 4`},
		{"formats", Ref{Files: of("a.npz", "b.npy")}, "bad_reference", `1 of 2 files do not have the format of`},
		{"formats in a folder", Ref{URI: root + "/mixed/"}, "bad_reference", "2 of 3 files do not have the format of"},
		{"another format than its name", Ref{Files: of("a.npz", "b.npy"), Format: "npz"}, "bad_npz", "b.npy"},
		{"some names", Ref{Files: of("a.npz", "plain.npz")}, "bad_filename", `1 of 2 files have no filenames (first "` + root + `/plain.npz"`},
		{"file twice", Ref{Files: of("a.npz", "b.npz", "a.npz")}, "bad_reference", `1 of 3 files are there before (first "` + root + `/a.npz"`},
		{"no names in a folder", Ref{URI: root + "/unnamed/"}, "bad_reference", "may not follow the order of the rows"},
		{"empty file", Ref{Files: of("a.npz", "empty.npz")}, "empty_file", "empty.npz"},
		{"missing file", Ref{Files: of("a.npz", "nothing.npz")}, "reference_missing", "nothing.npz"},
		{"no rows", Ref{Files: of("none.npz")}, "bad_shape", "holds no rows"},
		{"no files", Ref{URI: root + "/hidden/", Format: "npz"}, "reference_missing", "holds no files"},
		{"empty list", Ref{Files: []FileRef{}}, "bad_reference", "lists no files"},
		{"pickle", Ref{Files: of("a.npz", "model.pt")}, "pickle_refused", "model.pt"},
		{"inline", Ref{Files: append(of("a.npz"), FileRef{URI: "inline:"})}, "bad_reference", "inline:"},
		{"folder", Ref{Files: of("a.npz", "mixed")}, "bad_reference", ""},
		{"prefix in a list", Ref{Files: append(of("a.npz"), FileRef{URI: "s3://training/run/"})}, "bad_reference", "lists the prefix"},
		{"outside", Ref{Files: append(of("a.npz"), FileRef{URI: "file:///etc/passwd.npz"})}, "reference_not_allowed", "/etc/passwd.npz"},
		{"digest", Ref{Files: append(of("a.npz"), FileRef{URI: root + "/b.npz", SHA256: strings.Repeat("0", 64)})}, "digest_mismatch", "b.npz"},
		{"size", Ref{Files: append(of("a.npz"), FileRef{URI: root + "/b.npz", Size: 3})}, "size_mismatch", "b.npz"},
		{"digest of all", Ref{URI: root + "/mixed/", Format: "npz", SHA256: strings.Repeat("0", 64)}, "bad_reference", "neither one digest nor one size"},
		{"uri and files", Ref{URI: root + "/a.npz", Files: of("b.npz")}, "bad_reference", "both files and a uri"},
		{"symbolic links", Ref{URI: root + "/links/", Format: "npz"}, "bad_reference", "2 of 3 names cannot be used"},
		{"odd names", Ref{URI: root + "/odd/", Format: "npz"}, "bad_reference", `2 of 3 names cannot be used`},
		{"odd keys", Ref{URI: "s3://training/run/"}, "bad_reference", `3 of 4 names cannot be used (first "run/../secret.npz" has the path segment ".."`},
		{"key with ..", Ref{URI: "s3://training/run/../secret.npz"}, "bad_reference", `path segment ".."`},
		{"beside the prefix", Ref{URI: "s3://training/other/good.npz"}, "reference_not_allowed", ""},
		{"prefix above the prefix", Ref{URI: "s3://training/ru/"}, "reference_not_allowed", ""},
		{"bucket", Ref{URI: "s3://secret/run/"}, "reference_not_allowed", ""},
		{"bucket of another cloud", Ref{URI: "gs://training/run/good.npz"}, "reference_not_allowed", ""},
		{"whole bucket", Ref{URI: "s3://training/"}, "bad_reference", "names no file or key"},
		{"FiftyOne below a prefix", Ref{URI: "s3://training/run/", Format: "fiftyone"}, "unsupported_format", "not \"fiftyone\""},
		{"tree of odd keys", Ref{URI: "s3://training/run/", Format: "lightly"}, "bad_reference", "names cannot be used"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := readAllOf(t, o, c.ref)
			wantCode(t, err, c.code)
			if err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, want it to say %q", err, c.says)
			}
		})
	}
}

// Files together may not have more bytes than one.
func TestSeveralAreOneSize(t *testing.T) {
	dir := t.TempDir()
	var files []FileRef
	for i := range 4 {
		name := fmt.Sprintf("%d.npy", i)
		writeFiles(t, dir, map[string][]byte{name: npyOf("<f4", "1000, 64", 256000)})
		files = append(files, FileRef{URI: "file://" + dir + "/" + name})
	}
	o, err := NewOpener(Config{Roots: []string{dir}, MaxBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	if _, err := readAllOf(t, o, Ref{Files: files}); err != nil {
		t.Error(err)
	}
	o.cfg.MaxBytes = 1000 << 10
	_, err = readAllOf(t, o, Ref{Files: files})
	wantCode(t, err, "reference_too_large")
}

// Memory is that of all rows and of one file, not of all files twice.
func TestSeveralTakeMemoryOnce(t *testing.T) {
	dir := t.TempDir()
	const parts, part = 16, 1 << 18
	var files []FileRef
	for i := range parts {
		name := fmt.Sprintf("%d.npy", i)
		writeFiles(t, dir, map[string][]byte{name: npyOf("<f4", "1024, 64", part)})
		files = append(files, FileRef{URI: "file://" + dir + "/" + name, Size: int64(len(npyOf("<f4", "1024, 64", part)))})
	}
	o, err := NewOpener(Config{Roots: []string{dir}})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	for limit, ok := range map[int64]bool{(parts + 3) * part: true, (parts - 1) * part: false} {
		f, err := o.Open(t.Context(), Ref{Files: files})
		if err != nil {
			t.Fatal(err)
		}
		f.Limit(limit, func(int64) int64 { return 0 })
		e, err := ReadEmbeddings(f)
		f.Close()
		if ok {
			if err != nil || e.Rows != parts*1024 {
				t.Errorf("limit %d: %d rows, %v", limit, e.Rows, err)
			}
			if f.Taken() < parts*part || f.Taken() > (parts+2)*part {
				t.Errorf("took %d bytes for %d", f.Taken(), parts*part)
			}
			continue
		}
		var short *Error
		if wantCode(t, err, "memory_short"); errors.As(err, &short) && short.Short < 1 {
			t.Error("nothing is short")
		}
	}
}

func TestListingIsLimited(t *testing.T) {
	l := listing{prefix: location{scheme: "s3", bucket: "b", path: "run/"}}
	for i := range maxPieces {
		if err := l.add(fmt.Sprintf("run/%06d.npz", i), 1); err != nil {
			t.Fatal(err)
		}
	}
	wantCode(t, l.add("run/x.npz", 1), "reference_too_large")
	l = listing{prefix: l.prefix}
	var err error
	for i := 0; i < maxPieces && err == nil; i++ {
		err = l.add(fmt.Sprintf("run/%s%06d.npz", strings.Repeat("k", 900), i), 1)
	}
	wantCode(t, err, "reference_too_large")
}

// The classes of several files are scored file by file.
func TestSeveralClassifications(t *testing.T) {
	dir := t.TempDir()
	writeFiles(t, dir, map[string][]byte{
		"a.jsonl": []byte(`{"filename":"a","probabilities":[0.5,0.5]}` + "\n"),
		"b.jsonl": []byte(`{"filename":"b","probabilities":[1,0]}` + "\n" + `{"filename":"c","probabilities":[0,1]}` + "\n"),
		"c.jsonl": []byte(`{"filename":"d","probabilities":[0.2,0.3,0.5]}` + "\n"),
		"d.jsonl": []byte(`{"filename":"a","boxes":[]}` + "\n" + `{"filename":"b","boxes":[]}` + "\n"),
		"e.jsonl": []byte(`{"filename":"b","boxes":[]}` + "\n"),
	})
	o, err := NewOpener(Config{Roots: []string{dir}})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	read := func(names ...string) (rows []int, list []string, err error) {
		var ref Ref
		for _, name := range names {
			ref.Files = append(ref.Files, FileRef{URI: "file://" + dir + "/" + name + ".jsonl"})
		}
		f, err := o.Open(t.Context(), ref)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if names[0] == "d" {
			list, err = EachDetections(f, func(Detections) error { return nil })
			return nil, list, err
		}
		list, err = ReadClassification(f, func(c *Classification) error {
			rows = append(rows, c.Rows)
			return nil
		})
		return rows, list, err
	}
	if rows, names, err := read("b", "a"); err != nil || !slices.Equal(rows, []int{2, 1}) || !slices.Equal(names, []string{"b", "c", "a"}) {
		t.Errorf("rows %v of %q, %v", rows, names, err)
	}
	_, _, err = read("a", "b", "c")
	wantCode(t, err, "bad_shape")
	if !strings.Contains(err.Error(), "1 of 3 files have another number of classes") {
		t.Error(err)
	}
	_, _, err = read("d", "e")
	wantCode(t, err, "duplicate_filenames")
}

// A prediction tree in a bucket is the one on disk, and leaves nothing behind.
func TestTreeInBucket(t *testing.T) {
	bucket := memblob.OpenBucket(nil)
	defer bucket.Close()
	for _, folder := range []string{"tree", "ultralytics"} {
		err := filepath.WalkDir(filepath.Join("testdata", folder), func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			return bucket.WriteAll(t.Context(), strings.TrimPrefix(path, "testdata/"), data, nil)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for key, data := range map[string][]byte{"tree/det/image.jpg": make([]byte, 1<<20), "both/a.json": []byte("{}"), "both/a.json/b.json": []byte("{}"), "large/a.json": make([]byte, 1<<20+1)} {
		if err := bucket.WriteAll(t.Context(), key, data, nil); err != nil {
			t.Fatal(err)
		}
	}
	temp := t.TempDir()
	stale := filepath.Join(temp, treePrefix+"stale")
	long := time.Now().Add(-48 * time.Hour)
	for _, err := range []error{os.MkdirAll(filepath.Join(stale, "sub"), 0o700), os.Chtimes(stale, long, long)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	dir, err := filepath.Abs("testdata")
	if err != nil {
		t.Fatal(err)
	}
	o, err := NewOpener(Config{Roots: []string{dir}, Clouds: []Bucket{{"s3", "training", "", bucket}}, MaxBytes: 1 << 20, TempDir: temp})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	read := func(ref Ref) (names []string, boxes int, err error) {
		f, err := o.Open(t.Context(), ref)
		if err != nil {
			return nil, 0, err
		}
		defer f.Close()
		names, err = EachDetections(f, func(d Detections) error { boxes += len(d.Boxes.Scores); return nil })
		return names, boxes, err
	}
	for _, c := range []struct{ path, format string }{{"tree/", ""}, {"tree/", "lightly"}, {"tree/det/", ""}, {"ultralytics/", "ultralytics"}} {
		want, wantBoxes, err := read(Ref{URI: "file://" + dir + "/" + c.path, Format: c.format})
		if err != nil || wantBoxes == 0 {
			t.Fatal(wantBoxes, err)
		}
		got, boxes, err := read(Ref{URI: "s3://training/" + c.path, Format: c.format})
		if err != nil || !slices.Equal(got, want) || boxes != wantBoxes {
			t.Errorf("%s: %d boxes of %q, %v; want %d of %q", c.path, boxes, got, err, wantBoxes, want)
		}
		if guess, err := o.GuessMemory(t.Context(), Ref{URI: "s3://training/" + c.path, Format: c.format}); err != nil || guess == 0 {
			t.Errorf("%s: guess %d, %v", c.path, guess, err)
		}
	}
	_, _, err = read(Ref{URI: "s3://training/both/", Format: "lightly"})
	wantCode(t, err, "bad_reference")
	_, _, err = read(Ref{URI: "s3://training/large/", Format: "lightly"})
	wantCode(t, err, "reference_too_large")
	_, _, err = read(Ref{URI: "s3://training/none/", Format: "lightly"})
	wantCode(t, err, "reference_missing")
	if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
		t.Errorf("%d folders are left, %v", len(left), err)
	}
}
