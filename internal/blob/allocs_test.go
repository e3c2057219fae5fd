package blob

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"nextbatch/internal/score"
)

// Reading and scoring an image takes memory for its file at most, however many
// boxes, instances, regions or pixels there are.
func TestNothingIsAllocatedPerBoxOrPixel(t *testing.T) {
	detections := func(f *File) error {
		s, err := score.NewDetection(score.DefaultDetection(), score.Options{Strict: true})
		if err == nil {
			_, err = EachDetections(f, func(d Detections) error { return d.Add(s) })
		}
		return err
	}
	keypoints := func(f *File) error {
		s, err := score.NewKeypoints(score.Options{Strict: true})
		if err == nil {
			_, err = EachKeypoints(f, s.Add)
		}
		return err
	}
	pixels := func(f *File) error {
		s, err := score.NewSegmentation(score.Options{Strict: true})
		if err == nil {
			_, err = EachPixels(f, func(p Pixels) error { return p.Add(s) })
		}
		return err
	}
	for _, c := range []struct {
		name, task   string // task: of a tree, "" for JSON lines
		open         string // of an image; the lists that follow get n elements each
		lists, items []string
		read         func(*File) error
	}{
		{"boxes with probabilities", "", `{`, []string{`"boxes":`, `"object_probabilities":`, `"class_probabilities":`}, []string{`[0,0,0.5,0.5]`, `0.5`, `[0.25,0.25,0.5]`}, detections},
		{"boxes with labels", "", `{`, []string{`"boxes":`, `"scores":`, `"labels":`}, []string{`[0,0,0.5,0.5]`, `0.5`, `2`}, detections},
		{"boxes of a tree", "object-detection", ``, nil, []string{`{"category_id":1,"bbox":[0,0,5,5],"score":0.5,"probabilities":[0.25,0.75]}`}, detections},
		{"labels of a tree", "object-detection", ``, nil, []string{`{"category_id":1,"bbox":[0,0,5,5],"score":0.5}`}, detections},
		{"instances", "", `{`, []string{`"instances":`}, []string{`{"keypoints":[1,2,0.5,3,4,0.25],"category_id":1,"score":0.5}`}, keypoints},
		{"instances of a tree", "keypoint-detection", ``, nil, []string{`{"category_id":1,"score":0.5,"keypoints":[1,2,0.5,3,4,0.25]}`}, keypoints},
		{"pixels", "", `{"shape":[1,%d,2],`, []string{`"data":`}, []string{`0.5,0.5`}, pixels},
		{"regions", "semantic-segmentation", ``, nil, []string{`{"category_id":1,"segmentation":[1,2,3,4],"probabilities":[0.25,0.75]}`}, pixels},
		{"regions with scores", "semantic-segmentation", ``, nil, []string{`{"category_id":1,"segmentation":[1,2,3,4],"score":0.5}`}, pixels},
	} {
		t.Run(c.name, func(t *testing.T) {
			list := func(item string, n int) string { return "[" + strings.Repeat(item+",", n-1) + item + "]" }
			allocs := func(n int) float64 {
				const images = 8
				path := filepath.Join(t.TempDir(), "a.jsonl")
				var b strings.Builder
				if c.task != "" {
					path = filepath.Dir(path)
					write(t, path, "schema.json", `{"task_type":"`+c.task+`","categories":[{"id":0},{"id":1}]}`)
				}
				for i := range images {
					if c.task != "" {
						write(t, path, fmt.Sprintf("%d.json", i), fmt.Sprintf(`{"file_name":"%d.jpg","predictions":%s}`, i, list(c.items[0], n)))
						continue
					}
					b.WriteString(strings.ReplaceAll(c.open, "%d", fmt.Sprint(n)))
					for k, field := range c.lists {
						b.WriteString(field + list(c.items[k], n) + ",")
					}
					fmt.Fprintf(&b, "\"filename\":\"%d.jpg\"}\n", i)
				}
				if c.task == "" {
					write(t, filepath.Dir(path), "a.jsonl", b.String())
				}
				return testing.AllocsPerRun(3, func() {
					f, err := OpenPath(t.Context(), path, "")
					if err != nil {
						t.Fatal(err)
					}
					defer f.Close()
					if err := c.read(f); err != nil {
						t.Fatal(err)
					}
				})
			}
			// Buffers grow while the first image is read.
			few, many := allocs(10), allocs(1000)
			if many > few+60 {
				t.Errorf("%v allocations for 8 images of 10, %v for 8 of 1000", few, many)
			}
		})
	}
}

// The same for the formats of others, whose results of an image may lie anywhere.
func TestNothingIsAllocatedPerResult(t *testing.T) {
	boxes := func(f *File) error {
		_, err := EachDetections(f, func(Detections) error { return nil })
		return err
	}
	poses := func(f *File) error {
		_, err := EachKeypoints(f, func([][]float64) error { return nil })
		return err
	}
	rows := func(f *File) error {
		_, err := gather(f)
		return err
	}
	const cocoOpen = `{"images":[{"id":1,"file_name":"a.jpg"}],"categories":[{"id":3}],"annotations":[`
	for _, c := range []struct {
		name, format, file string
		open, item, close  string
		read               func(*File) error
	}{
		{"coco", "coco", "a.json", cocoOpen, `,{"image_id":1,"category_id":3,"bbox":[104.5,208.25,33.125,41.5],"score":0.8125}`, "]}", boxes},
		{"coco masks", "coco", "a.json", cocoOpen, `,{"image_id":1,"category_id":3,"segmentation":{"size":[1,1],"counts":[0,1]},"score":0.8125}`, "]}", boxes},
		{"coco keypoints", "coco", "a.json", cocoOpen, `,{"image_id":1,"category_id":3,"keypoints":[1,2,0.5,3,4,0.25],"score":0.8125}`, "]}", poses},
		{"fiftyone labels", "fiftyone", "labels.json", `{"classes":["x","y"],"labels":{"a":[`, `,{"label":1,"bounding_box":[0,0,1,1],"confidence":0.5}`, "]}}", boxes},
		{"fiftyone samples", "fiftyone", "samples.json", `{"samples":[{"filepath":"a.jpg","p":{"_cls":"Detections","detections":[`,
			`,{"_id":{"$oid":"0"},"_cls":"Detection","attributes":{},"tags":[],"label":"x","bounding_box":[0,0,1,1],"confidence":0.5}`, "]}}]}", boxes},
		{"fiftyone logits", "fiftyone", "samples.json", `{"samples":[{"filepath":"a.jpg","p":{"_cls":"Classification","logits":[`, `,0.5`, "]}}]}", rows},
		{"ultralytics", "ultralytics", "a.txt", "", "\n3 0.104523 0.208 0.33125 0.415039 0.8125", "\n2 0.5 0.5 0.5 0.5 0.5", boxes},
		{"ultralytics segments", "ultralytics", "a.txt", "", "\n3 0.104523 0.208 0.33125 0.415039 0.1 0.2 0.8125", "\n2 0.5 0.5 0.5 0.5 0.5", boxes},
		{"ultralytics poses", "ultralytics", "a.txt", "", "\n3 0.104523 0.208 0.33125 0.415039 0.1 0.2 0.5 0.8125", "\n2 0.5 0.5 0.5 0.5 0.5 0.5 0.5 0.5", poses},
	} {
		t.Run(c.name, func(t *testing.T) {
			allocs := func(n int) float64 {
				dir := t.TempDir()
				path := filepath.Join(dir, c.file)
				write(t, dir, c.file, c.open+strings.Repeat(c.item, n)[1:]+c.close)
				if c.format == "ultralytics" {
					write(t, dir, "images.json", `["a.jpg"]`)
					path = dir
				}
				return testing.AllocsPerRun(3, func() {
					f, err := OpenPath(t.Context(), path, c.format)
					if err != nil {
						t.Fatal(err)
					}
					defer f.Close()
					if err := c.read(f); err != nil {
						t.Fatal(err)
					}
				})
			}
			if few, many := allocs(10), allocs(10_000); many > few+80 {
				t.Errorf("%v allocations for 10 results, %v for 10,000", few, many)
			}
		})
	}
}

func write(t *testing.T, dir, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}
