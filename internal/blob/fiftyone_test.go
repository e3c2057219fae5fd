package blob

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
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
		{"class alone", labels("1"), code, "send its probabilities"},
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
		{"two fields", sample(`"x":` + detections + `,"y":` + detections), code, `fields "x" and "y" both hold`},
		{"labels for predictions", sample(`"truth":{"_cls":"Detections","detections":[{"label":"x","bounding_box":[0,0,1,1]}]}`), code, "no confidence"},
		{"absolute path", `{"samples":[{"filepath":"/data/a.jpg","p":` + detections + `}]}`, "bad_filename", "absolute"},
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
