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

func write(t *testing.T, dir, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}
