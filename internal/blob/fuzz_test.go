package blob

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"nextbatch/internal/score"
)

// memory returns data as an opened file with small limits.
func memory(t *testing.T, format string, data []byte) *File {
	return &File{ctx: t.Context(), name: "fuzz", format: format, size: int64(len(data)), src: bytes.NewReader(data), maxBytes: 1 << 24, memory: 1 << 22}
}

// read tries every reader that knows the format. Whatever the bytes are, the
// answer is good data or an *Error.
func read(t *testing.T, format string, data []byte) {
	t.Helper()
	check := func(err error) bool {
		t.Helper()
		var e *Error
		if err != nil && !errors.As(err, &e) {
			t.Fatalf("not blamed on the sender: %v", err)
		}
		return err == nil
	}
	names := func(names []string, rows int, err error) {
		t.Helper()
		if check(err) && names != nil && (len(names) != rows || CheckNames(names) != nil) {
			t.Fatalf("%d names for %d rows: %q", len(names), rows, names)
		}
	}
	e, err := ReadEmbeddings(memory(t, format, data))
	names(e.Names, e.Rows, err)
	if len(e.Data) != e.Rows*e.Dim || !finite(e.Data) {
		t.Fatalf("%d × %d with %d values", e.Rows, e.Dim, len(e.Data))
	}
	c, err := gather(memory(t, format, data))
	names(c.Names, c.Rows(), err)
	if len(c.Float32.Data) != c.Float32.Rows*c.Float32.Cols || len(c.Float64.Data) != c.Float64.Rows*c.Float64.Cols {
		t.Fatalf("%d values of %d × %d, %d of %d × %d", len(c.Float32.Data), c.Float32.Rows, c.Float32.Cols, len(c.Float64.Data), c.Float64.Rows, c.Float64.Cols)
	}
	_, err = ReadVector(memory(t, format, data))
	check(err)
	list, columns, err := ReadScores(memory(t, format, data))
	names(list, len(list), err)
	for _, c := range columns {
		names(list, len(c.Values), err)
	}
	list, err = ReadNames(memory(t, format, data))
	names(list, len(list), err)
	images := 0
	list, err = EachDetections(memory(t, format, data), func(Detections) error { images++; return nil })
	names(list, images, err)
	images = 0
	list, err = EachKeypoints(memory(t, format, data), func([][]float64) error { images++; return nil })
	names(list, images, err)
	images = 0
	list, err = EachPixels(memory(t, format, data), func(p Pixels) error {
		images++
		if len(p.Float32.Data) != p.Float32.Rows*p.Float32.Cols || len(p.Float64.Data) != p.Float64.Rows*p.Float64.Cols {
			t.Fatal("pixels of another shape")
		}
		return nil
	})
	names(list, images, err)
}

// seeds adds the sample files of some extensions.
func seeds(f *testing.F, extensions ...string) {
	for _, ext := range extensions {
		files, err := filepath.Glob("testdata/*" + ext)
		if err != nil || len(files) == 0 {
			f.Fatalf("no samples of %s: %v", ext, err)
		}
		for _, name := range files {
			data, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
}

func FuzzNPY(f *testing.F) {
	seeds(f, ".npy")
	f.Fuzz(func(t *testing.T, data []byte) { read(t, "npy", data) })
}

func FuzzNPZ(f *testing.F) {
	seeds(f, ".npz", ".zip")
	f.Fuzz(func(t *testing.T, data []byte) { read(t, "npz", data) })
}

func FuzzParquet(f *testing.F) {
	seeds(f, ".parquet")
	for _, c := range hostileParquet() {
		f.Add(c.data)
	}
	f.Fuzz(func(t *testing.T, data []byte) { read(t, "parquet", data) })
}

func FuzzLZ4(f *testing.F) {
	f.Add([]byte{0x30, 'a', 'b', 'c'})
	f.Add([]byte{0x1f, 'a', 1, 0, 255, 3, 0x10, 'b'})
	f.Fuzz(func(t *testing.T, data []byte) {
		dst := make([]byte, 1<<12)
		n, err := unlz4(dst[:1<<11], data)
		if err == nil && n > 1<<11 || !bytes.Equal(dst[1<<11:], make([]byte, 1<<11)) {
			t.Fatalf("wrote %d bytes, %v", n, err)
		}
	})
}

func FuzzSafetensors(f *testing.F) {
	seeds(f, ".safetensors")
	for _, c := range hostileSafetensors() {
		f.Add(c.data)
	}
	f.Fuzz(func(t *testing.T, data []byte) { read(t, "safetensors", data) })
}

func FuzzCOCO(f *testing.F) {
	for _, c := range hostileCOCO() {
		f.Add([]byte(c.data))
	}
	seeds(f, "coco_one.json")
	f.Fuzz(func(t *testing.T, data []byte) { read(t, "coco", data) })
}

func FuzzUltralytics(f *testing.F) {
	for _, c := range hostileTXT() {
		f.Add([]byte(`["a.jpg"]`), []byte(c.txt))
	}
	f.Add([]byte(`["b.jpg","sub/a.jpg"]`), []byte("0 0.5 0.5 1 1 0.5\n2 0.5 0.5 1 1 0.25 7\n"))
	f.Fuzz(func(t *testing.T, images, txt []byte) {
		dir := t.TempDir()
		write(t, dir, "images.json", string(images))
		write(t, dir, "a.txt", string(txt))
		for _, poses := range []bool{false, true} {
			file, err := OpenPath(t.Context(), dir, "ultralytics")
			if err != nil {
				t.Fatal(err)
			}
			if poses {
				_, err = EachKeypoints(file, func([][]float64) error { return nil })
			} else {
				_, err = EachDetections(file, func(Detections) error { return nil })
			}
			file.Close()
			var e *Error
			if err != nil && !errors.As(err, &e) {
				t.Fatalf("not blamed on the sender: %v", err)
			}
		}
	})
}

func FuzzFiftyOne(f *testing.F) {
	for _, c := range append(hostileFiftyOne(), hostileFiftyOneRows()...) {
		f.Add([]byte(c.data))
	}
	seeds(f, "fiftyone_samples/samples.json", "fiftyone_logits/samples.json", "fiftyone_labels/labels.json", "fiftyone_each/labels.json")
	f.Fuzz(func(t *testing.T, data []byte) { read(t, "fiftyone", data) })
}

func FuzzCSV(f *testing.F) {
	seeds(f, ".csv")
	f.Fuzz(func(t *testing.T, data []byte) { read(t, "csv", data) })
}

func FuzzJSONL(f *testing.F) {
	seeds(f, ".jsonl")
	f.Fuzz(func(t *testing.T, data []byte) {
		read(t, "jsonl", data)
		read(t, "json", data)
	})
}

func FuzzNames(f *testing.F) {
	seeds(f, ".txt", "names.csv", "names.json")
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, format := range []string{"txt", "json", "csv"} {
			list, err := ReadNames(memory(t, format, data))
			if err == nil && CheckNames(list) != nil {
				t.Fatalf("%s: %q", format, list)
			}
		}
	})
}

// What the scanner takes for JSON is JSON.
func FuzzScanner(f *testing.F) {
	seeds(f, ".jsonl", ".json")
	f.Fuzz(func(t *testing.T, data []byte) {
		s := &scanner{b: data}
		if errors.Join(s.skip(0), s.end()) == nil && !json.Valid(data) {
			t.Fatalf("%q is not JSON", data)
		}
		s = &scanner{b: data}
		if text, err := s.text(); err == nil && s.end() == nil {
			var want string
			if json.Unmarshal(data, &want) != nil || want != string(text) {
				t.Fatalf("%q is %q, not %q", data, want, text)
			}
		}
		s = &scanner{b: data}
		if v, err := s.number(64); err == nil && s.end() == nil {
			var want float64
			if json.Unmarshal(data, &want) != nil || want != v {
				t.Fatalf("%q is %v, not %v", data, want, v)
			}
		}
	})
}

func FuzzTree(f *testing.F) {
	for _, task := range []string{"cls", "det", "seg", "key"} {
		schema, err := os.ReadFile("testdata/tree/" + task + "/schema.json")
		if err != nil {
			f.Fatal(err)
		}
		err = filepath.WalkDir("testdata/tree/"+task, func(p string, _ os.DirEntry, err error) error {
			if err == nil && strings.HasSuffix(p, ".json") && path.Base(p) != "schema.json" {
				data, err := os.ReadFile(p)
				f.Add(schema, data)
				return err
			}
			return err
		})
		if err != nil {
			f.Fatal(err)
		}
	}
	f.Fuzz(func(t *testing.T, schema, image []byte) {
		dir := t.TempDir()
		for name, data := range map[string][]byte{"schema.json": schema, "a.json": image} {
			if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		for _, task := range []string{score.TaskClassification, score.TaskObjectDetection, score.TaskSemanticSegmentation, score.TaskKeypointDetection} {
			file, err := OpenPath(t.Context(), dir, "")
			if err != nil {
				t.Fatal(err)
			}
			switch task {
			case score.TaskClassification:
				_, err = gather(file)
			case score.TaskObjectDetection:
				_, err = EachDetections(file, func(Detections) error { return nil })
			case score.TaskSemanticSegmentation:
				_, err = EachPixels(file, func(p Pixels) error {
					for _, r := range p.Regions {
						if r.Pixels < 0 {
							t.Fatalf("%d pixels", r.Pixels)
						}
					}
					return nil
				})
			default:
				_, err = EachKeypoints(file, func([][]float64) error { return nil })
			}
			file.Close()
			var e *Error
			if err != nil && !errors.As(err, &e) {
				t.Fatalf("not blamed on the sender: %v", err)
			}
		}
	})
}

// A URI that is taken apart leads where it seems to lead.
func FuzzURI(f *testing.F) {
	for _, uri := range []string{"file:///data/a%20b.npy", "nats://bucket/a/b.npz", "inline:", "file:///../x", "file:///%2e%2e/x", "nats://u@b:1/k?q#f",
		"s3://bucket/a/", "gs://b_u.cket/a%2Fb", "azblob://$web/a", "https://host:8443/a?b=c", "https://[::1]/a", "https://1.2.3.4:0/a", "https://a@b/c"} {
		f.Add(uri)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		loc, err := locate(uri)
		if err != nil {
			return
		}
		switch loc.scheme {
		case "file":
			if !path.IsAbs(loc.path) || path.Clean(loc.path) != loc.path {
				t.Fatalf("%q leads to %q", uri, loc.path)
			}
		case "nats":
			if !validBucket(loc.bucket) || loc.path == "" || path.Clean("/"+loc.path) != "/"+loc.path {
				t.Fatalf("%q leads to %q in %q", uri, loc.path, loc.bucket)
			}
		case "s3", "gs", "azblob":
			key := "/" + strings.TrimSuffix(loc.path, "/")
			if !validCloudBucket(loc.bucket) || key == "/" || path.Clean(key) != key || loc.folder != strings.HasSuffix(loc.path, "/") {
				t.Fatalf("%q leads to %q in %q", uri, loc.path, loc.bucket)
			}
		case "https": // the client gets the whole: it must see the same host
			u, err := url.Parse(uri)
			if err != nil || !strings.EqualFold(u.Host, loc.bucket) || u.User != nil || u.Fragment != "" || u.Path != "/"+loc.path || u.RawQuery != loc.query {
				t.Fatalf("%q leads to %q on %q, for the client to %v, %v", uri, loc.path, loc.bucket, u, err)
			}
		}
		if strings.ContainsAny(loc.path, "\\\x00\n") {
			t.Fatalf("%q leads to %q", uri, loc.path)
		}
	})
}
