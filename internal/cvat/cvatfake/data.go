package cvatfake

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
)

// data is the body of POST /api/tasks/N/data.
type data struct {
	ServerFiles  []string   `json:"server_files"`
	RemoteFiles  []string   `json:"remote_files"`
	ClientFiles  []string   `json:"client_files"`
	CloudStorage *int       `json:"cloud_storage_id"`
	Quality      int        `json:"image_quality"`
	UseCache     bool       `json:"use_cache"`
	Sorting      string     `json:"sorting_method"`
	Jobs         [][]string `json:"job_file_mapping"`
	Validation   *struct {
		Mode   string   `json:"mode"`
		Method string   `json:"frame_selection_method"`
		Frames []string `json:"frames"`
		PerJob int      `json:"frames_per_job_count"`
		Seed   uint64   `json:"random_seed"`
	} `json:"validation_params"`
}

// attach queues the work; once a task has frames it takes no more.
func (c *CVAT) attach(w http.ResponseWriter, r *http.Request, t *Task) {
	if len(t.Frames) > 0 {
		refuse(w, "Adding more data is not supported")
		return
	}
	var in data
	if !body(w, r, &in) {
		return
	}
	for _, q := range c.requests {
		if q.task == t.ID && (q.status == "queued" || q.status == "started") {
			answer(w, http.StatusConflict, map[string]any{"detail": "Request is being processed"})
			return
		}
	}
	q := &request{id: fmt.Sprintf("action=create&target=task&id=%d", t.ID), status: "queued", task: t.ID, made: c.tickTime()}
	q.run = func() error {
		if c.tasks[t.ID] == nil {
			return errors.New("Task matching query does not exist.")
		}
		return c.load(t, in)
	}
	c.requests = append(slices.DeleteFunc(c.requests, func(o *request) bool { return o.id == q.id }), q)
	answer(w, http.StatusAccepted, map[string]any{"rq_id": q.id})
}

// load does what the server's background worker does with new data.
func (c *CVAT) load(t *Task, in data) error {
	if in.Sorting == "" {
		in.Sorting = "lexicographical"
	}
	if in.Jobs != nil {
		switch {
		case len(slices.Concat(in.Jobs...)) == 0:
			return errors.New("job_file_mapping cannot be empty")
		case t.SegmentSize != 0:
			return errors.New("job_file_mapping cannot be used with segment_size")
		case in.Sorting != "lexicographical":
			return errors.New("job_file_mapping cannot be used with sorting_method")
		}
	}
	if in.Validation != nil {
		switch {
		case in.Validation.Mode != "gt_pool" || in.Validation.Method != "manual":
			return fmt.Errorf("validation mode %q, method %q: not in this fake", in.Validation.Mode, in.Validation.Method)
		case in.Sorting != "random":
			return errors.New(`validation mode "gt_pool" can only be used with "random" sorting`)
		case in.Jobs != nil:
			return errors.New(`validation mode "gt_pool" cannot be used with "job_file_mapping"`)
		}
	}
	var files []string // names of frames
	for _, raw := range in.RemoteFiles {
		u, err := url.Parse(raw)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" {
			return fmt.Errorf("Unsupported URL scheme: %s", raw)
		}
		name := path.Base(u.Path)
		if slices.Contains(files, name) {
			return fmt.Errorf("filename collision: %s", name)
		}
		if c.missing[raw] {
			return fmt.Errorf("Failed to download %s; HTTP error 404", raw)
		}
		files = append(files, name)
	}
	for _, raw := range in.ServerFiles {
		name := strings.TrimLeft(path.Clean(raw), "/")
		if slices.Contains(strings.Split(name, "/"), "..") {
			return errors.New("Don't use '..' inside file paths")
		}
		if c.missing[raw] {
			return fmt.Errorf("Can't find file '%s'", raw)
		}
		files = append(files, name)
	}
	files = slices.DeleteFunc(files, func(f string) bool { // others are skipped with a warning
		return !slices.Contains([]string{".jpg", ".jpeg", ".png", ".webp", ".bmp"}, strings.ToLower(path.Ext(f)))
	})
	if len(files) == 0 {
		return errors.New("No media data found")
	}
	if in.CloudStorage != nil {
		t.Storage = *in.CloudStorage
	}
	if in.Validation != nil {
		return c.pool(t, in, files)
	}
	if in.Jobs != nil {
		for _, f := range slices.Concat(in.Jobs...) {
			if !slices.Contains(files, f) {
				return fmt.Errorf("Can't find file '%s' in the input files", f)
			}
		}
		t.Frames = slices.Concat(in.Jobs...)
		for start := 0; len(in.Jobs) > 0; in.Jobs = in.Jobs[1:] {
			c.newJob(t, "annotation", start, start+len(in.Jobs[0])-1)
			start += len(in.Jobs[0])
		}
		return nil
	}
	if in.Sorting == "lexicographical" || in.Sorting == "natural" {
		slices.Sort(files)
	}
	t.Frames = files
	size := t.SegmentSize
	if size == 0 {
		size = len(files)
	}
	for start := 0; start < len(files); start += size {
		c.newJob(t, "annotation", start, min(start+size, len(files))-1)
	}
	return nil
}

// pool deals out the images in random order, with honeypots in each job, and
// puts the pool at the end, for a job of its own.
func (c *CVAT) pool(t *Task, in data, files []string) error {
	var plain []string
	slices.Sort(files)
	for _, f := range files {
		if !slices.Contains(in.Validation.Frames, f) {
			plain = append(plain, f)
		}
	}
	pool := slices.Clone(in.Validation.Frames)
	slices.Sort(pool)
	for _, f := range pool {
		if !slices.Contains(files, f) {
			return fmt.Errorf("Unknown validation frames requested: %s", f)
		}
	}
	switch {
	case len(plain) == 0:
		return errors.New("Cannot create task: too few non-honeypot frames left after selecting validation frames")
	case in.Validation.PerJob == 0:
		return errors.New("The number of validation frames is not specified")
	}
	rng := rand.New(rand.NewPCG(in.Validation.Seed, 1))
	shuffle := func(s []string) { rng.Shuffle(len(s), func(i, j int) { s[i], s[j] = s[j], s[i] }) }
	shuffle(plain)
	t.Validation = "gt_pool"
	for chunk := range slices.Chunk(plain, max(1, t.SegmentSize)) {
		picks := slices.Clone(pool)
		shuffle(picks)
		job := append(slices.Clone(chunk), picks[:min(in.Validation.PerJob, len(picks))]...)
		shuffle(job)
		start := len(t.Frames)
		t.Frames = append(t.Frames, job...)
		c.newJob(t, "annotation", start, len(t.Frames)-1)
	}
	start := len(t.Frames)
	t.Frames = append(t.Frames, pool...)
	c.newJob(t, "ground_truth", start, len(t.Frames)-1)
	return nil
}
