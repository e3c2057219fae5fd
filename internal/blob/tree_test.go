package blob

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"nextbatch/internal/score"
)

// treeOf writes a prediction tree of one task, and opens it.
func treeOf(t *testing.T, files map[string]string) (*File, string) {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	f, err := OpenPath(t.Context(), dir, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f, dir
}

func TestBadTrees(t *testing.T) {
	const schema = `{"task_type":"object-detection","categories":[{"id":3},{"id":7}]}`
	image := func(predictions string) map[string]string {
		return map[string]string{"schema.json": schema, "a.json": `{"file_name":"a.jpg","predictions":[` + predictions + `]}`}
	}
	for _, c := range []struct {
		name  string
		files map[string]string
		code  string
		says  string
	}{
		{"empty", nil, "bad_tree", "neither schema.json nor tasks.json"},
		{"other task", map[string]string{"schema.json": `{"task_type":"classification","categories":[{"id":0}]}`}, "bad_tree", `task_type is "classification", want object-detection`},
		{"no categories", map[string]string{"schema.json": `{"task_type":"object-detection"}`}, "bad_tree", "no categories"},
		{"category twice", map[string]string{"schema.json": `{"task_type":"object-detection","categories":[{"id":1},{"id":1}]}`}, "bad_tree", "category 1 has no id, or that of another one"},
		{"category without id", map[string]string{"schema.json": `{"task_type":"object-detection","categories":[{"name":"x"}]}`}, "bad_tree", "category 0 has no id"},
		{"negative id", map[string]string{"schema.json": `{"task_type":"object-detection","categories":[{"id":-1}]}`}, "bad_tree", "whole number"},
		{"broken schema", map[string]string{"schema.json": `{"task_type":`}, "bad_tree", "schema.json: "},
		{"no such task", map[string]string{"tasks.json": `["x"]`}, "bad_tree", "none of the 1 tasks"},
		{"two tasks", map[string]string{"tasks.json": `["x","y"]`, "x/schema.json": schema, "y/schema.json": schema}, "bad_tree", `tasks "x" and "y" are both`},
		{"task outside", map[string]string{"tasks.json": `["../x"]`}, "bad_tree", `segment ".."`},
		{"unknown category", image(`{"category_id":4,"bbox":[0,0,1,1],"score":1}`), "bad_tree", "a.json: predictions: 0: category_id: schema.json has no category 4"},
		{"no category", image(`{"bbox":[0,0,1,1],"score":1}`), "bad_tree", "category_id is missing"},
		{"no score", image(`{"category_id":3,"bbox":[0,0,1,1]}`), "bad_tree", "score or bbox is missing"},
		{"no box", image(`{"category_id":3,"score":1}`), "bad_tree", "score or bbox is missing"},
		{"flat box", image(`{"category_id":3,"bbox":[0,0,0,1],"score":1}`), "bad_tree", "bbox: is [0 0 0 1]"},
		{"box of three", image(`{"category_id":3,"bbox":[0,0,1],"score":1}`), "bad_tree", "bbox: is [0 0 1]"},
		{"probabilities of others", image(`{"category_id":3,"bbox":[0,0,1,1],"score":1,"probabilities":[1]}`), "bad_tree", "1 values for 2 categories"},
		{"some probabilities", image(`{"category_id":3,"bbox":[0,0,1,1],"score":1},{"category_id":3,"bbox":[0,0,1,1],"score":1,"probabilities":[1,0]}`), "bad_tree", "some have probabilities"},
		{"typo", image(`{"category_id":3,"bbox":[0,0,1,1],"score":1,"probabilites":[1,0]}`), "bad_tree", `unknown field "probabilites"`},
		{"NaN", image(`{"category_id":3,"bbox":[0,0,1,1],"score":NaN}`), "bad_tree", "no NaN"},
		{"no predictions", map[string]string{"schema.json": schema, "a.json": `{"file_name":"a.jpg"}`}, "bad_tree", "file_name or predictions is missing"},
		{"name twice", map[string]string{"schema.json": schema, "a.json": `{"file_name":"a.jpg","predictions":[]}`, "b.json": `{"file_name":"a.jpg","predictions":[]}`}, "duplicate_filenames", `first "a.jpg"`},
		{"empty file", map[string]string{"schema.json": schema, "a.json": ``}, "bad_tree", "want an object"},
		{"deep", map[string]string{"schema.json": schema, strings.Repeat("d/", 70) + "a.json": `{}`}, "bad_tree", "nested deeper"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, _ := treeOf(t, c.files)
			_, err := EachDetections(f, func(Detections) error { return nil })
			wantCode(t, err, c.code)
			if !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, want it to say %q", err, c.says)
			}
		})
	}
}

// What lies in a tree beside predictions, and what leads out of it.
func TestHostileTrees(t *testing.T) {
	files := map[string]string{
		"schema.json": `{"task_type":"Object_Detection","categories":[{"id":3}]}`,
		"a.json":      `{"file_name":"a.jpg","predictions":[]}`,
		"notes.txt":   "not a prediction",
		"sub/b.json":  `{"file_name":"sub/b.jpg","predictions":[]}`,
	}
	outside := filepath.Join(t.TempDir(), "secret.json")
	if err := os.WriteFile(outside, []byte(files["a.json"]), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		make func(dir string) error
		code string
	}{
		{"as it is", func(string) error { return nil }, ""},
		{"symlink within", func(dir string) error { return os.Symlink("a.json", filepath.Join(dir, "c.json")) }, "duplicate_filenames"},
		{"symlink out", func(dir string) error { return os.Symlink(outside, filepath.Join(dir, "c.json")) }, "bad_tree"},
		{"folder out", func(dir string) error { return os.Symlink(filepath.Dir(outside), filepath.Join(dir, "c")) }, "bad_tree"},
		{"folder loop", func(dir string) error { return os.Symlink(".", filepath.Join(dir, "c")) }, "bad_tree"},
		{"FIFO", func(dir string) error { return syscall.Mkfifo(filepath.Join(dir, "c.json"), 0o644) }, "reference_not_allowed"},
		{"huge file", func(dir string) error {
			path := filepath.Join(dir, "c.json")
			if err := os.WriteFile(path, nil, 0o644); err != nil {
				return err
			}
			return os.Truncate(path, 1<<40)
		}, "reference_too_large"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, dir := treeOf(t, maps.Clone(files))
			if err := c.make(dir); err != nil {
				t.Fatal(err)
			}
			before := allocated()
			names, err := EachDetections(f, func(Detections) error { return nil })
			if grown := allocated() - before; grown > 4<<20 {
				t.Errorf("took %d bytes", grown)
			}
			if c.code == "" {
				if err != nil || strings.Join(names, " ") != "a.jpg sub/b.jpg" {
					t.Errorf("%q, %v", names, err)
				}
				return
			}
			wantCode(t, err, c.code)
		})
	}
}

// A reference may point to the task or to the folder of all tasks, but neither
// leads to anything else of the allowed folder.
func TestTreeReference(t *testing.T) {
	dir, err := filepath.Abs("testdata")
	if err != nil {
		t.Fatal(err)
	}
	o, err := NewOpener(Config{Roots: []string{dir}})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	for _, path := range []string{"/tree", "/tree/", "/tree/det"} {
		f, err := o.Open(t.Context(), Ref{URI: "file://" + dir + path, Format: "lightly"})
		if err != nil {
			t.Fatal(err)
		}
		images := 0
		if _, err := EachDetections(f, func(Detections) error { images++; return nil }); err != nil || images != 3 {
			t.Errorf("%s: %d images, %v", path, images, err)
		}
		f.Close()
	}
	f, err := o.Open(t.Context(), Ref{URI: "file://" + dir, Format: "lightly"})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_, err = gather(f)
	wantCode(t, err, "bad_tree")
}

// Classification trees and masks that cannot be scored.
func TestBadTreePredictions(t *testing.T) {
	for _, c := range []struct{ task, predictions, says string }{
		{"classification", ``, "want one prediction with probabilities"},
		{"classification", `{"category_id":0}`, "want one prediction with probabilities"},
		{"classification", `{"category_id":0,"probabilities":[1]},{"category_id":0,"probabilities":[1]}`, "want one prediction"},
		{"instance-segmentation", `{"category_id":0,"score":1}`, "segmentation is missing"},
		{"instance-segmentation", `{"category_id":0,"segmentation":[1,2]}`, "neither probabilities nor score"},
		{"semantic-segmentation", `{"category_id":0,"segmentation":[1,-2],"score":1}`, "segmentation: want a whole number"},
		{"semantic-segmentation", `{"category_id":0,"segmentation":[1099511627776,1099511627776],"score":1}`, "pixels"},
		{"keypoint-detection", `{"category_id":0,"score":1}`, "keypoints are missing"},
	} {
		f, _ := treeOf(t, map[string]string{
			"schema.json": `{"task_type":"` + c.task + `","categories":[{"id":0}]}`,
			"a.json":      `{"file_name":"a.jpg","predictions":[` + c.predictions + `]}`,
		})
		var err error
		switch c.task {
		case "classification":
			_, err = gather(f)
		case "keypoint-detection":
			_, err = EachKeypoints(f, func([][]float64) error { return nil })
		default:
			_, err = EachPixels(f, func(Pixels) error { return nil })
		}
		wantCode(t, err, "bad_tree")
		if !strings.Contains(err.Error(), c.says) {
			t.Errorf("%v, want it to say %q", err, c.says)
		}
	}
	if len(taskTypes) != 4 || taskTypes[score.TaskClassification] == nil {
		t.Error("a task without types")
	}
}
