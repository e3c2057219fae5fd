package blob

import (
	"bytes"
	"compress/zlib"
	"encoding/base64"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"nextbatch/internal/score"
)

func hostileFiftyOne() []struct{ name, data, code, says string } {
	const code = "bad_fiftyone"
	labels := func(value string) string { return `{"classes":["x","y"],"labels":{"a.jpg":` + value + `}}` }
	sample := func(fields string) string { return `{"samples":[{"filepath":"data/a.jpg",` + fields + `}]}` }
	const box = `{"label":"x","bounding_box":[0,0,1,1],"confidence":0.5}`
	detections := `{"_cls":"Detections","detections":[` + box + `]}`
	return []struct{ name, data, code, says string }{
		{"no JSON", "hello", code, "want one of"},
		{"an array", "[]", code, "want one of"},
		{"nothing", "{}", code, "neither samples nor labels"},
		{"both", `{"samples":[],"labels":{}}`, code, "or both"},
		{"labels twice", `{"labels":{},"labels":{}}`, code, "labels: is given twice"},
		{"cut off", labels(`[`)[:40], code, "ends within its JSON"},
		{"class alone", labels("1"), code, "task of these is classification"},
		{"unknown class", labels(`[{"label":2,"bounding_box":[0,0,1,1],"confidence":0.5}]`), code, "label 2 of 2 classes"},
		{"unknown name", labels(`[{"label":"z","bounding_box":[0,0,1,1],"confidence":0.5}]`), code, `1 labels that are no class ("z")`},
		{"names and numbers", labels(`[` + box + `,{"label":1,"bounding_box":[0,0,1,1],"confidence":0.5}]`), code, "names and labels that are numbers"},
		{"huge class", labels(`[{"label":1e300,"bounding_box":[0,0,1,1],"confidence":0.5}]`), code, "whole number"},
		{"no confidence", labels(`[{"label":1,"bounding_box":[0,0,1,1]}]`), code, "no confidence"},
		{"no box", labels(`[{"label":1,"confidence":0.5}]`), code, "bounding_box is missing"},
		{"half a box", labels(`[{"label":1,"bounding_box":[0,0],"confidence":0.5}]`), code, "detection 0: bounding_box: is [0 0]"},
		{"NaN", labels(`[{"label":1,"bounding_box":[0,0,1,1],"confidence":NaN}]`), code, "NaN"},
		{"image twice", `{"classes":[],"labels":{"a.jpg":null,"a.jpg":null}}`, "duplicate_filenames", "a.jpg"},
		{"image outside", `{"classes":[],"labels":{"../a.jpg":null}}`, "bad_filename", "segment"},
		{"sample without path", `{"samples":[{"predictions":` + detections + `}]}`, code, "filepath is missing"},
		{"sample without detections", sample(`"tags":[]`), code, "no field with detections"},
		{"two fields", sample(`"x":` + detections + `,"y":` + detections), code, `y: "x" holds detections too`},
		{"labels for predictions", sample(`"truth":{"_cls":"Detections","detections":[{"label":"x","bounding_box":[0,0,1,1]}]}`), code, "no confidence"},
		{"absolute path", `{"samples":[{"filepath":"/data/a.jpg","p":` + detections + `}]}`, "bad_filename", "absolute"},
		{"classes that are no list", `{"classes":{"x":0},"labels":{}}`, code, "classes: want one of"},
		{"class that is a number", `{"classes":[1],"labels":{}}`, code, "want a string"},
		{"labels that are a list", `{"classes":[],"labels":[]}`, code, "labels: want one of"},
		{"samples that are no list", `{"samples":{}}`, code, "samples: want one of"},
		{"sample that is text", `{"samples":["a.jpg"]}`, code, "element 1: want an object"},
		{"detections that are no list", sample(`"x":{"_cls":"Detections","detections":{}}`), code, "x: detections: want an array"},
		{"detection that is a number", labels(`[7]`), code, "want an object"},
		{"field twice", labels(`[{"label":0,"label":1,"bounding_box":[0,0,1,1],"confidence":0.5}]`), code, "given twice"},
		{"infinite confidence", labels(`[{"label":1,"bounding_box":[0,0,1,1],"confidence":1e999}]`), code, "range"},
		{"negative box", labels(`[{"label":1,"bounding_box":[0,0,-1,1],"confidence":0.5}]`), code, "bounding_box: is"},
		{"no UTF-8", "{\"labels\":{\"\xff\":[]}}", code, "not valid UTF-8"},
		{"control character", "{\"labels\":{\"a\nb\":[]}}", code, "control character"},
		{"more after it", labels("null") + "{}", code, "goes on"},
		{"nested deeply", sample(`"x":` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000)), code, "nested deeper"},
	}
}

func TestHostileFiftyOne(t *testing.T) {
	for _, c := range hostileFiftyOne() {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "a.json")
			write(t, filepath.Dir(path), "a.json", c.data)
			f, err := OpenPath(t.Context(), path, "fiftyone")
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			before := allocated()
			_, err = EachDetections(f, func(Detections) error { return nil })
			if grown := allocated() - before; grown > 8<<20 {
				t.Errorf("took %d bytes", grown)
			}
			wantCode(t, err, c.code)
			if !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %v does not say %q", err, c.says)
			}
		})
	}
	f, err := OpenPath(t.Context(), t.TempDir(), "fiftyone")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_, err = EachDetections(f, func(Detections) error { return nil })
	wantCode(t, err, "bad_fiftyone")
}

func BenchmarkFiftyOne(b *testing.B) {
	const images, boxes = 5_000, 20
	var text strings.Builder
	for i := range images {
		fmt.Fprintf(&text, `,"%07d.jpg":[%s]`, i, strings.Repeat(`,{"label":1,"bounding_box":[0.104523,0.2085,0.33125,0.415039],"confidence":0.8125}`, boxes)[1:])
	}
	path := filepath.Join(b.TempDir(), "labels.json")
	writeBench(b, path, `{"classes":["x","y"],"labels":{`+text.String()[1:]+"}}")
	b.SetBytes(int64(text.Len()))
	b.ReportAllocs()
	defer func() { b.ReportMetric(float64(images)*float64(b.N)/b.Elapsed().Seconds(), "images/s") }()
	for b.Loop() {
		f, err := OpenPath(b.Context(), path, "fiftyone")
		if err != nil {
			b.Fatal(err)
		}
		n := 0
		if _, err = EachDetections(f, func(d Detections) error { n += len(d.Labels); return nil }); err != nil || n != images*boxes {
			b.Fatal(n, err)
		}
		f.Close()
	}
}

func writeBench(b *testing.B, path, content string) {
	b.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		b.Fatal(err)
	}
}

// Logits come as FiftyOne keeps vectors, all classes as a list of classifications.
func TestFiftyOneClassification(t *testing.T) {
	names := []string{"a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg"}
	for _, name := range []string{"fiftyone_logits", "fiftyone_logits/samples.json", "fiftyone_each"} {
		got, err := gather(open(t, name, "fiftyone"))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if strings.HasPrefix(name, "fiftyone_logits") {
			for i := range got.Float64.Data {
				got.Float64.Data[i] = math.Exp(got.Float64.Data[i])
			}
		}
		want := gathered{Names: names, Float64: score.Matrix[float64]{Rows: 5, Cols: 3, Data: wantProbs}}
		if diff := cmp.Diff(want, got, cmpopts.EquateApprox(0, 1e-6)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	e, err := ReadEmbeddings(open(t, "fiftyone_logits", "fiftyone"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Embeddings{names, 5, 3, wantEmbeddings()}, e); diff != "" {
		t.Error(diff)
	}
}

// Beside predictions a sample has the truth, in fields of the same types.
func TestFiftyOneBesideTheTruth(t *testing.T) {
	list := func(confidence string) string {
		return `{"_cls":"Classifications","classifications":[{"label":"x"` + confidence + `},{"label":"y"` + confidence + `}]}`
	}
	for _, fields := range []string{
		`"truth":` + list("") + `,"p":` + list(`,"confidence":0.5`),
		`"p":` + list(`,"confidence":0.5`) + `,"truth":` + list(""),
		`"other":` + list(`,"confidence":1`) + `,"predictions":` + list(`,"confidence":0.5`),
		`"predictions":` + list(`,"confidence":0.5`) + `,"other":` + list(`,"confidence":1`),
		`"truth":{"_cls":"Classification","label":"x"},"boxes":{"_cls":"Detections","detections":[]},"p":{"_cls":"Classification","label":"x","confidence":0.5,"logits":[0.5,0.5]}`,
	} {
		got, err := gather(memory(t, "fiftyone", []byte(`{"samples":[{"filepath":"a.jpg",`+fields+`},{"filepath":"b.jpg",`+fields+`}]}`)))
		if err != nil {
			t.Errorf("%s: %v", fields, err)
			continue
		}
		if diff := cmp.Diff([]float64{0.5, 0.5, 0.5, 0.5}, got.Float64.Data); diff != "" {
			t.Errorf("%s: %s", fields, diff)
		}
	}
}

func TestFiftyOneConfidenceAlone(t *testing.T) {
	for _, name := range []string{"fiftyone_classes", "fiftyone_confidence"} {
		_, err := gather(open(t, name, "fiftyone"))
		wantCode(t, err, "bad_fiftyone")
		if !strings.Contains(err.Error(), "logits=") {
			t.Errorf("%s: error %v does not say what to export instead", name, err)
		}
	}
}

func hostileFiftyOneRows() []struct{ name, data, code, says string } {
	const code = "bad_fiftyone"
	labels := func(value string) string { return `{"classes":["x","y"],"labels":{"a.jpg":` + value + `}}` }
	sample := func(fields string) string { return `{"samples":[{"filepath":"data/a.jpg",` + fields + `}]}` }
	packed := func(npy []byte) string {
		var b bytes.Buffer
		w := zlib.NewWriter(&b)
		w.Write(npy)
		w.Close()
		return `{"$binary":{"base64":"` + base64.StdEncoding.EncodeToString(b.Bytes()) + `","subType":"00"}}`
	}
	logits := func(value string) string {
		return sample(`"predictions":{"_cls":"Classification","label":"x","logits":` + value + `}`)
	}
	const both = `[{"label":0,"confidence":0.5},{"label":1,"confidence":0.5}]`
	return []struct{ name, data, code, says string }{
		{"confidence alone", labels(`{"label":0,"confidence":0.5}`), code, "logits="},
		{"class alone", labels("1"), code, "logits="},
		{"no class", labels("null"), code, "leave the image out"},
		{"detections", labels(`[{"label":1,"bounding_box":[0,0,1,1],"confidence":0.5}]`), code, "object_detection"},
		{"class twice", labels(`[{"label":0,"confidence":0.5},{"label":0,"confidence":0.5}]`), code, "there twice"},
		{"no confidence", labels(`[{"label":0}]`), code, "confidence is missing"},
		{"no classes", labels(`[]`), code, "without values"},
		{"fewer classes", `{"labels":{"a":` + both + `,"b":[{"label":0,"confidence":1}]}}`, code, "1 of 2 classes"},
		{"other classes", `{"labels":{"a":` + both + `,"b":[{"label":7,"confidence":1}]}}`, code, `"7" is no class of the first row`},
		{"image twice", `{"labels":{"a":` + both + `,"a":` + both + `}}`, "duplicate_filenames", "a"},
		{"sample without path", `{"samples":[{"predictions":{"_cls":"Classification","logits":[1,2]}}]}`, code, "filepath is missing"},
		{"sample without logits", sample(`"predictions":{"_cls":"Classification","label":"x","confidence":0.5}`), code, "logits="},
		{"sample without anything", sample(`"predictions":{"_cls":"Detections","detections":[]}`), code, "no field with predictions"},
		{"two fields", sample(`"x":{"_cls":"Classification","logits":[1,2]},"y":{"_cls":"Classification","logits":[1,2]}`), code, `y: "x" holds predictions too`},
		{"rows of two and three", `{"samples":[{"filepath":"a","p":{"_cls":"Classification","logits":[1,2]}},{"filepath":"b","p":{"_cls":"Classification","logits":[1,2,3]}}]}`, "bad_shape", "row 2 has 3"},
		{"logits that are text", logits(`"1 2 3"`), code, "want an object"},
		{"no base64", logits(`{"$binary":{"base64":"!!","subType":"00"}}`), code, "is no base64"},
		{"no binary", logits(`{"$oid":"65f1c0ffee65f1c0ffee65f1"}`), code, "is no vector"},
		{"no zlib", logits(`{"$binary":{"base64":"aGVsbG8gd29ybGQ=","subType":"00"}}`), code, "no vector of FiftyOne"},
		{"cut off zlib", logits(`{"$binary":{"base64":"` + packed(npyOf("<f4", "3,", 12))[len(`{"$binary":{"base64":"`):][:40] + `","subType":"00"}}`), code, "header"},
		{"no npy", logits(packed([]byte("hello"))), code, "too short for an npy"},
		{"npy that lies", logits(packed(npyOf("<f4", "1000000000,", 12))), code, "needs 4000000000"},
		{"npy of two axes", logits(packed(npyOf("<f4", "3, 1", 12))), code, "want one axis"},
		{"npy of texts", logits(packed(npyOf("<U1", "3,", 12))), code, "want one axis of numbers"},
		{"pickle", logits(packed(npyOf("|O", "3,", 12))), "pickle_refused", "Python objects"},
		{"zlib bomb", logits(packed(make([]byte, 4<<20))), code, "unpacks to more than 65536 values"},
		{"deep", logits(strings.Repeat("[", 1000)), code, "ends within"},
	}
}

func TestHostileFiftyOneRows(t *testing.T) {
	for _, c := range hostileFiftyOneRows() {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "a.json")
			write(t, filepath.Dir(path), "a.json", c.data)
			f, err := OpenPath(t.Context(), path, "fiftyone")
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			before := allocated()
			_, err = gather(f)
			if grown := allocated() - before; grown > 8<<20 {
				t.Errorf("took %d bytes", grown)
			}
			wantCode(t, err, c.code)
			if !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %v does not say %q", err, c.says)
			}
		})
	}
}

// Names of an export need the images beside it, each of which has its own.
func TestFiftyOneFolder(t *testing.T) {
	read := func(files ...string) error {
		dir := t.TempDir()
		write(t, dir, "labels.json", `{"classes":["x"],"labels":{"sub/a":[]}}`)
		for _, name := range files {
			if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
				t.Fatal(err)
			}
			write(t, dir, name, "")
		}
		f, err := OpenPath(t.Context(), dir, "fiftyone")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		_, err = EachDetections(f, func(Detections) error { return nil })
		return err
	}
	for _, good := range [][]string{nil, {"data/sub/a.jpg"}, {"data/sub/a.jpg", "data/a.jpg", "data/a/a.jpg"}} {
		if err := read(good...); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range [][]string{{"data/a.jpg"}, {"data/sub/a.jpg", "data/sub/a.png"}, {"data/" + strings.Repeat("x/", maxDepth+2) + "a.jpg"}} {
		wantCode(t, read(bad...), "bad_fiftyone")
	}
}
