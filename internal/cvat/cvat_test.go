package cvat_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"nextbatch/internal/cvat"
	"nextbatch/internal/cvat/cvatfake"
	"nextbatch/internal/events"
)

// A selection becomes a task whose frames are its images in order, so many a
// job. Finished jobs label them, deleted frames are skipped, a job that is
// taken back withdraws its labels.
func TestRound(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, nil)
	names, s := r.choose(30, 10)
	task := r.tasks(1)[0]
	if diff := cmp.Diff(names, task.Frames); diff != "" {
		t.Errorf("frames: %s", diff)
	}
	if task.Project != 7 || !strings.HasPrefix(task.Name, s.Tag.Name+" [") || len(task.Jobs) != 3 {
		t.Errorf("%+v", task)
	}
	if j := r.cvat.Job(task.Jobs[2]); j.Start != 8 || j.Stop != 9 {
		t.Errorf("the last job has frames %d to %d", j.Start, j.Stop)
	}

	r.cvat.SetJob(task.Jobs[0], "", "in progress")
	r.cvat.DeleteFrames(task.ID, 1, 9)
	r.cvat.SetJob(task.Jobs[0], "", "completed")
	r.settle(s.Tag.Name, events.Batch{Labeled: 3, Skipped: 1, Pending: 6})
	r.cvat.SetJob(task.Jobs[1], "", "completed")
	r.settle(s.Tag.Name, events.Batch{Labeled: 7, Skipped: 1, Pending: 2})
	r.cvat.SetJob(task.Jobs[0], "", "in progress") // a reviewer found something
	r.settle(s.Tag.Name, events.Batch{Labeled: 4, Pending: 6})
	r.cvat.SetJob(task.Jobs[0], "", "completed")
	r.settle(s.Tag.Name, events.Batch{Labeled: 7, Skipped: 1, Pending: 2})
	r.cvat.SetJob(task.Jobs[2], "", "completed")
	r.settle(s.Tag.Name, events.Batch{Labeled: 8, Skipped: 2, Complete: true})

	want := []events.Labels{
		{Labeled: []string{names[0], names[2], names[3]}, Skipped: names[1:2]},
		{Labeled: names[4:8]},
		{Unlabeled: names[:4]},
		{Labeled: []string{names[0], names[2], names[3]}, Skipped: names[1:2]},
		{Labeled: names[8:9], Skipped: names[9:]},
	}
	for i := range want {
		want[i].Dataset, want[i].Tag = "clothing", s.Tag.Name
	}
	if diff := cmp.Diff(want, r.labelEvents()); diff != "" {
		t.Error(diff)
	}
}

// With a stage, a job counts when it is completed there; empty images may be
// skipped; a deleted task skips what was not labeled.
func TestStageEmptyAndDeletedTask(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, func(c *cvat.Config) { c.Stage, c.Empty = "validation", "skipped" })
	_, s := r.choose(30, 10)
	task := r.tasks(1)[0]
	r.cvat.Annotate(task.Jobs[0], 1, 0, 2, 3)
	r.cvat.SetJob(task.Jobs[0], "", "completed")
	r.cvat.SetJob(task.Jobs[0], "validation", "")
	r.cvat.SetJob(task.Jobs[0], "", "completed")
	r.settle(s.Tag.Name, events.Batch{Labeled: 3, Skipped: 1, Pending: 6})
	if all := r.labelEvents(); len(all) != 1 {
		t.Errorf("labels were said in %d events: %+v", len(all), all)
	}
	r.cvat.SetJob(task.Jobs[0], "acceptance", "") // further on: they stay labeled
	r.cvat.Annotate(task.Jobs[1], 2, 5)
	r.cvat.SetJob(task.Jobs[1], "acceptance", "new")
	r.settle(s.Tag.Name, events.Batch{Labeled: 4, Skipped: 4, Pending: 2})
	r.cvat.DeleteTask(task.ID)
	r.settle(s.Tag.Name, events.Batch{Labeled: 4, Skipped: 6, Complete: true})
}

// Honeypots are labeled images in every job; what annotators do with them says
// nothing new.
func TestHoneypots(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, func(c *cvat.Config) { c.Honeypots, c.JobSize = 0.25, 8 })
	first, s := r.choose(60, 12) // nothing is labeled: no honeypots
	task := r.tasks(1)[0]
	if !slices.Equal(task.Frames, first) || task.Validation != "" {
		t.Errorf("%+v", task)
	}
	for _, j := range task.Jobs {
		r.cvat.SetJob(j, "", "completed")
	}
	r.settle(s.Tag.Name, events.Batch{Labeled: 12, Complete: true})

	second, s := r.chooseMore(12)
	task = r.tasks(2)[1]
	if task.Validation != "gt_pool" || task.SegmentSize != 6 || len(task.Jobs) != 3 || len(task.Frames) != 12+2*2+3 {
		t.Fatalf("%+v", task)
	}
	for i, n := range task.Jobs {
		j, known := r.cvat.Job(n), 0
		for _, f := range task.Frames[j.Start : j.Stop+1] {
			if slices.Contains(first, f) {
				known++
			} else if !slices.Contains(second, f) {
				t.Errorf("%s is neither of the batch nor labeled", f)
			}
		}
		if want := []int{2, 2, 3}[i]; known != want {
			t.Errorf("job %d has %d labeled images, want %d", i, known, want)
		}
	}
	r.cvat.SetJob(task.Jobs[2], "", "completed") // ground truth
	r.cvat.SetJob(task.Jobs[0], "", "completed")
	r.settle(s.Tag.Name, events.Batch{Labeled: 6, Pending: 6})
	r.cvat.SetJob(task.Jobs[1], "", "completed")
	r.settle(s.Tag.Name, events.Batch{Labeled: 12, Complete: true})
}

// By URL CVAT knows an image only by the last part of it: images of one name go
// into tasks of their own.
func TestRemoteFiles(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, func(c *cvat.Config) { c.ImageURL = "https://images.example/{filename}?v=1" })
	var rows []map[string]any
	for i, name := range []string{"a/1.jpg", "b/1.jpg", "a/2 ü.jpg", "a/3.jpg", "b/2 ü.jpg", "c/1.jpg"} {
		rows = append(rows, map[string]any{"filename": name, "embedding": []float64{float64(i), 1}})
	}
	r.sendRows(rows)
	_, s := r.chooseMore(6)
	tasks := r.tasks(3)
	var frames []string
	for _, task := range tasks {
		frames = append(frames, task.Frames...)
		for _, j := range task.Jobs {
			r.cvat.SetJob(j, "", "completed")
		}
	}
	slices.Sort(frames)
	if want := []string{"1.jpg", "1.jpg", "1.jpg", "2 ü.jpg", "2 ü.jpg", "3.jpg"}; !slices.Equal(frames, want) {
		t.Errorf("frames %q, want %q", frames, want)
	}
	r.settle(s.Tag.Name, events.Batch{Labeled: 6, Complete: true})
}

// Replicas share the work: each selection becomes one task, whoever takes it.
func TestReplicas(t *testing.T) {
	t.Parallel()
	r := newRig(t, 3, func(c *cvat.Config) { c.Every = time.Second })
	var want [][]string
	names, _ := r.choose(60, 5)
	want = append(want, names)
	for range 5 {
		names, _ := r.chooseMore(5)
		want = append(want, names)
	}
	for i, task := range r.tasks(6) {
		if !slices.Equal(task.Frames, want[i]) {
			t.Errorf("task %d has %v, want %v", i, task.Frames, want[i])
		}
	}
	r.until("one webhook is left", func() bool { return r.cvat.Hooks() == 1 })
}

// Jobs of other people's tasks in the project are none of ours.
func TestForeignTasks(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, func(c *cvat.Config) { c.Every = time.Second })
	_, s := r.choose(20, 4)
	task := r.tasks(1)[0]
	other := r.cvat.NewTask(7, "by hand", "photos/0001.jpg", "x.jpg")
	r.cvat.SetJob(other.Jobs[0], "", "completed")
	r.cvat.DeleteTask(other.ID)
	looks := r.cvat.Calls("GET /api/jobs")
	r.until("all jobs were looked at", func() bool { return r.cvat.Calls("GET /api/jobs") > looks+1 })
	if all := r.labelEvents(); len(all) != 0 {
		t.Errorf("%+v", all)
	}
	r.cvat.SetJob(task.Jobs[0], "", "completed")
	r.settle(s.Tag.Name, events.Batch{Labeled: 4, Complete: true})
}

func TestConfig(t *testing.T) {
	good := cvat.Config{URL: "http://cvat", Token: "t", Projects: map[string]int{"a": 1, "c": 2}, Secrets: []string{"1234567890123456"}, HookURL: "https://w"}
	for want, change := range map[string]func(*cvat.Config){
		`the address of CVAT is "cvat:8080"`:                          func(c *cvat.Config) { c.URL = "cvat:8080" },
		`needs an access token`:                                       func(c *cvat.Config) { c.Token = "" },
		`AL_CVAT_PROJECTS is empty`:                                   func(c *cvat.Config) { c.Projects = nil },
		`AL_CVAT_PROJECTS has clothing:0`:                             func(c *cvat.Config) { c.Projects = map[string]int{"clothing": 0} },
		`AL_CVAT_PROJECTS gives project 1 to "a" and "b"`:             func(c *cvat.Config) { c.Projects = map[string]int{"a": 1, "b": 1} },
		`AL_CVAT_STAGE is "review"`:                                   func(c *cvat.Config) { c.Stage = "review" },
		`AL_CVAT_EMPTY is "no"`:                                       func(c *cvat.Config) { c.Empty = "no" },
		`AL_CVAT_HONEYPOTS is 1`:                                      func(c *cvat.Config) { c.Honeypots = 1 },
		`AL_CVAT_JOB_SIZE is -1`:                                      func(c *cvat.Config) { c.JobSize = -1 },
		`AL_CVAT_EVERY is 1ms`:                                        func(c *cvat.Config) { c.Every = time.Millisecond },
		`AL_CVAT_IMAGE_URL is "x"`:                                    func(c *cvat.Config) { c.ImageURL = "x" },
		`want {filename} in the path`:                                 func(c *cvat.Config) { c.ImageURL = "https://h/get?file={filename}" },
		`AL_CVAT_IMAGE_URL is a URL and AL_CVAT_CLOUD_STORAGE is set`: func(c *cvat.Config) { c.ImageURL, c.CloudStorage = "https://h/{filename}", 3 },
		`AL_CVAT_HOOK_URL is "w"`:                                     func(c *cvat.Config) { c.HookURL = "w" },
		`AL_CVAT_HOOK_URL needs AL_CVAT_SECRET`:                       func(c *cvat.Config) { c.Secrets = nil },
		`a secret of AL_CVAT_SECRET has 3 bytes: want 16 to 64`:       func(c *cvat.Config) { c.Secrets = []string{"1234567890123456", "abc"} },
	} {
		c := good
		change(&c)
		if err := c.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestCheck(t *testing.T) {
	fake := cvatfake.Start(map[int]string{7: "Clothing"})
	defer fake.Close()
	cfg := cvat.Config{URL: fake.URL, Token: cvatfake.Token, Projects: map[string]int{"clothing": 7}}
	var said []string
	check := func() (err error) { said, err = cvat.Describe(t.Context(), cfg); return }
	if err := check(); err != nil || len(said) != 2 || !strings.Contains(said[1], "project 7 (Clothing) for dataset clothing: it has no webhook") {
		t.Errorf("%q, %v", said, err)
	}
	cfg.Projects = map[string]int{"clothing": 7, "food": 9}
	if err := check(); err == nil || !strings.Contains(err.Error(), "dataset food: GET /api/projects/9: CVAT answers 404") {
		t.Error(err)
	}
	cfg.Token = "wrong"
	if err := check(); err == nil || !strings.Contains(err.Error(), "is AL_CVAT_TOKEN right") || strings.Contains(err.Error(), "wrong") {
		t.Error(err)
	}
	fake.Down(true)
	if err := check(); err == nil || !strings.Contains(err.Error(), "502") || strings.Contains(err.Error(), "html") {
		t.Error(err)
	}
}

// A very large selection, which travels by reference, becomes several tasks.
func TestLargeSelection(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, func(c *cvat.Config) { c.JobSize = 1000 })
	const n = 11_000
	var rows []map[string]any
	for i := range n {
		rows = append(rows, map[string]any{"filename": fmt.Sprintf("a folder with a rather long name/%06d.jpg", i), "embedding": []float64{float64(i)}})
	}
	for part := range slices.Chunk(rows, 4000) {
		r.sendRows(part)
	}
	r.until("all are in the dataset", func() bool { d, _, err := r.state.Dataset(t.Context(), "clothing"); return err == nil && d.Rows == n })
	names, s := r.chooseMore(n)
	if len(names) != 0 || s.Counts.Added != n {
		t.Fatalf("%d names inline of %d", len(names), s.Counts.Added)
	}
	frames, jobs := map[string]bool{}, 0
	for _, task := range r.tasks(3) {
		for _, f := range task.Frames {
			frames[f] = true
		}
		for _, j := range task.Jobs {
			r.cvat.SetJob(j, "", "completed")
			jobs++
		}
	}
	if len(frames) != n || jobs != 11 {
		t.Errorf("%d different images in %d jobs", len(frames), jobs)
	}
	r.settle(s.Tag.Name, events.Batch{Labeled: n, Complete: true})
}
