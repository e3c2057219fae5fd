package blob

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"nextbatch/internal/score"
)

// formatOfSample is the format of a sample that its name does not tell.
func formatOfSample(name string) string {
	format, _, _ := strings.Cut(name, "_")
	return format
}

// Each file holds the same boxes in the same images.
func TestScoredDetections(t *testing.T) {
	names := []string{"a.jpg", "sub/000007.jpg", "z.jpg"}
	for _, name := range []string{
		"coco", "coco_one.json", "coco_segments", "coco_ultralytics", "coco_ultralytics_segments",
		"ultralytics", "ultralytics_segments", "ultralytics_obb",
		"fiftyone_labels", "fiftyone_flat", "fiftyone_samples", "fiftyone_samples/samples.json", "fiftyone_media",
	} {
		t.Run(name, func(t *testing.T) {
			var got []Detections
			scorer, err := score.NewDetection(score.DefaultDetection(), score.Options{Strict: true})
			if err != nil {
				t.Fatal(err)
			}
			found, err := EachDetections(open(t, name, formatOfSample(name)), func(d Detections) error {
				got = append(got, cloned(d))
				return d.Add(scorer)
			})
			if err != nil {
				t.Fatal(err)
			}
			want := []Detections{
				{Boxes: score.Boxes{Scores: []float64{0.5, 0.75}}, Labels: []int{2, 0}},
				{Boxes: score.Boxes{Scores: []float64{}}, Labels: []int{}},
				{Boxes: score.Boxes{Scores: []float64{0.5}}, Labels: []int{1}},
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			wantNames := names
			if name == "fiftyone_flat" { // labels.json alone has neither folders nor extensions
				wantNames = []string{"a", "000007", "z"}
			}
			if diff := cmp.Diff(wantNames, found); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestCOCOKeypoints(t *testing.T) {
	for name, want := range map[string][][][]float64{
		"coco_keypoints":        {{}, {}, {{1, 2, 0.5}, {1, 2, 1, 3, 4, 0.5}}},
		"coco_ultralytics_pose": {{}, {}, {{160, 240, 1, 320, 240, 0.5}}},
	} {
		var got [][][]float64
		names, err := EachKeypoints(open(t, name, "coco"), func(instances [][]float64) error {
			got = append(got, clonedRows(instances))
			return nil
		})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if diff := cmp.Diff([]string{"a.jpg", "sub/000007.jpg", "z.jpg"}, names); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

const cocoImages = `{"images":[{"id":1,"file_name":"a.jpg"},{"id":2,"file_name":"b.jpg"}],"categories":[{"id":3}]}`

// hostileCOCO are documents of images with annotations.
func hostileCOCO() []struct{ name, data, code, says string } {
	with := func(annotations string) string {
		return strings.TrimSuffix(cocoImages, "}") + `,"annotations":` + annotations + "}"
	}
	result := func(fields string) string {
		return with(`[{"image_id":1,"category_id":3,"score":0.5,"bbox":[0,0,1,1]},{` + fields + `}]`)
	}
	return []struct{ name, data, code, says string }{
		{"results alone", `[]`, "bad_coco", "without the images"},
		{"no JSON", `hello`, "bad_coco", "want one of"},
		{"cut off", with(`[{"image_id":1`), "bad_coco", "ends within its JSON"},
		{"cut off in text", with(`[{"image_id":"1`), "bad_coco", "ends within its JSON"},
		{"more after it", with(`[]`) + "{}", "bad_coco", "goes on"},
		{"nested deeply", with(strings.Repeat("[", 1<<16)), "bad_coco", "ends within"},
		{"no images", `{"annotations":[]}`, "bad_coco", "no images"},
		{"images twice", `{"images":[],"images":[]}`, "bad_coco", "images: is given twice"},
		{"no annotations", cocoImages, "bad_coco", "no annotations"},
		{"annotations twice", with(`[],"annotations":[]`), "bad_coco", "annotations: is given twice"},
		{"image without id", `{"images":[{"file_name":"a.jpg"}]}`, "bad_coco", "element 1: id or file_name"},
		{"id twice", `{"images":[{"id":1,"file_name":"a.jpg"},{"id":1,"file_name":"b.jpg"}]}`, "bad_coco", "element 2: id 1"},
		{"file twice", `{"images":[{"id":1,"file_name":"a.jpg"},{"id":2,"file_name":"a.jpg"}],"annotations":[]}`, "duplicate_filenames", "a.jpg"},
		{"file outside", `{"images":[{"id":1,"file_name":"../a.jpg"}],"annotations":[]}`, "bad_filename", "a.jpg"},
		{"category twice", `{"images":[],"categories":[{"id":1},{"id":1}]}`, "bad_coco", "element 2: category 1 has no id, or that of another one"},
		{"unknown image", result(`"image_id":9,"category_id":3,"score":0.5,"bbox":[0,0,1,1]`), "bad_coco", "element 2: no image has the id"},
		{"unknown stem", result(`"image_id":"c","category_id":3,"score":0.5,"bbox":[0,0,1,1]`), "bad_coco", "no image has the id"},
		{"another file", result(`"image_id":1,"file_name":"b.jpg","category_id":3,"score":0.5,"bbox":[0,0,1,1]`), "bad_coco", "among the images, not"},
		{"unknown category", result(`"image_id":1,"category_id":4,"score":0.5,"bbox":[0,0,1,1]`), "bad_coco", "no category has the id 4"},
		{"no score", result(`"image_id":1,"category_id":3,"bbox":[0,0,1,1]`), "bad_coco", "score or bbox and segmentation is missing"},
		{"no box", result(`"image_id":1,"category_id":3,"score":0.5`), "bad_coco", "score or bbox and segmentation is missing"},
		{"mask that is no JSON", result(`"image_id":1,"category_id":3,"score":0.5,"segmentation":{"size":[1,1],"counts":"}`), "bad_coco", "ends within its JSON"},
		{"mask nested deeply", result(`"image_id":1,"category_id":3,"score":0.5,"segmentation":` + strings.Repeat("[", 100) + strings.Repeat("]", 100)), "bad_coco", "nested deeper"},
		{"neither box nor mask", result(`"image_id":1,"category_id":3,"score":0.5,"bbox":null,"segmentation":null`), "bad_coco", "segmentation is missing"},
		{"infinite score", result(`"image_id":1,"category_id":3,"score":1e999,"bbox":[0,0,1,1]`), "bad_coco", "range"},
		{"infinite box", result(`"image_id":1,"category_id":3,"score":0.5,"bbox":[0,0,1,1e999]`), "bad_coco", "range"},
		{"image as an object", result(`"image_id":{"$oid":"1"},"category_id":3,"score":0.5,"bbox":[0,0,1,1]`), "bad_coco", "want a number"},
		{"half an image", result(`"image_id":1.5,"category_id":3,"score":0.5,"bbox":[0,0,1,1]`), "bad_coco", "whole number"},
		{"image beyond 2^53", result(`"image_id":1e17,"category_id":3,"score":0.5,"bbox":[0,0,1,1]`), "bad_coco", "whole number"},
		{"negative category", result(`"image_id":1,"category_id":-3,"score":0.5,"bbox":[0,0,1,1]`), "bad_coco", "whole number"},
		{"category of 2^40", result(`"image_id":1,"category_id":1099511627776,"score":0.5,"bbox":[0,0,1,1]`), "bad_coco", "whole number"},
		{"images that are no list", `{"images":{"1":"a.jpg"},"annotations":[]}`, "bad_coco", "images: want one of"},
		{"image that is text", `{"images":["a.jpg"],"annotations":[]}`, "bad_coco", "want an object"},
		{"text that is no UTF-8", "{\"images\":[{\"id\":1,\"file_name\":\"\xff.jpg\"}],\"annotations\":[]}", "bad_coco", "not valid UTF-8"},
		{"NUL", "\x00\x00\x00\x00", "bad_coco", "want one of"},
		{"categories twice", `{"images":[],"categories":[],"categories":[]}`, "bad_coco", "categories: is given twice"},
		{"stem of two images", `{"images":[{"id":1,"file_name":"x/a.jpg"},{"id":2,"file_name":"y/a.jpg"}],"annotations":[{"image_id":"a","category_id":3,"score":0.5,"bbox":[0,0,1,1]}]}`, "bad_coco", "fits several images"},
		{"half a box", result(`"image_id":1,"category_id":3,"score":0.5,"bbox":[0,0]`), "bad_coco", "bbox: is [0 0]"},
		{"negative box", result(`"image_id":1,"category_id":3,"score":0.5,"bbox":[0,0,-1,1]`), "bad_coco", "bbox: is"},
		{"NaN", result(`"image_id":1,"category_id":3,"score":NaN,"bbox":[0,0,1,1]`), "bad_coco", "NaN"},
		{"field twice", result(`"image_id":1,"image_id":2,"category_id":3,"score":0.5,"bbox":[0,0,1,1]`), "bad_coco", "given twice"},
	}
}

func TestHostileCOCO(t *testing.T) {
	for _, c := range hostileCOCO() {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "a.json")
			write(t, filepath.Dir(path), "a.json", c.data)
			f, err := OpenPath(t.Context(), path, "coco")
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
	for name, files := range map[string][]string{"empty": nil, "results": {"a.json"}, "two of results": {"a.json", "b.json"}} {
		dir := t.TempDir()
		for _, file := range files {
			write(t, dir, file, "[]")
		}
		f, err := OpenPath(t.Context(), dir, "coco")
		if err != nil {
			t.Fatal(err)
		}
		_, err = EachDetections(f, func(Detections) error { return nil })
		f.Close()
		t.Log(name)
		wantCode(t, err, "bad_coco")
	}
	dir := t.TempDir()
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "a.json")); err != nil {
		t.Fatal(err)
	}
	f, err := OpenPath(t.Context(), dir, "coco")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_, err = EachDetections(f, func(Detections) error { return nil })
	wantCode(t, err, "reference_not_allowed")
}

// Values are the same wherever a read ends.
func TestStreamAcrossReads(t *testing.T) {
	long := strings.Repeat(`\\\"`, 100_000)
	text := ` [ {"a" : "}` + long + `"} , [1,[2]] ,"x" , 12.5 , null ] `
	var got []string
	s := newStream(strings.NewReader(text))
	if err := s.array(func(e *scanner) error {
		got = append(got, strings.TrimSpace(string(e.b)))
		return e.skip(0)
	}); err != nil {
		t.Fatal(err)
	}
	if err := s.end(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{`{"a" : "}` + long + `"}`, `[1,[2]]`, `"x"`, `12.5`, `null`}, got); diff != "" {
		t.Error(diff)
	}
}

func BenchmarkCOCO(b *testing.B) {
	const images, boxes = 5_000, 20
	dir := b.TempDir()
	var list, results strings.Builder
	for i := range images {
		fmt.Fprintf(&list, `,{"id":%d,"file_name":"%07d.jpg"}`, i, i)
		for range boxes {
			fmt.Fprintf(&results, `,{"image_id":%d,"category_id":3,"bbox":[104.5,208.25,33.125,41.5],"score":0.8125}`, i)
		}
	}
	for name, content := range map[string]string{"images.json": `{"images":[` + list.String()[1:] + "]}", "results.json": "[" + results.String()[1:] + "]"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(int64(list.Len() + results.Len()))
	b.ReportAllocs()
	defer func() { b.ReportMetric(float64(images)*float64(b.N)/b.Elapsed().Seconds(), "images/s") }()
	for b.Loop() {
		f, err := OpenPath(b.Context(), dir, "coco")
		if err != nil {
			b.Fatal(err)
		}
		n := 0
		if _, err = EachDetections(f, func(Detections) error { n++; return nil }); err != nil || n != images {
			b.Fatal(n, err)
		}
		f.Close()
	}
}
