package cvat

import (
	"encoding/json"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"nextbatch/internal/annotation"
	"nextbatch/internal/events"
	"nextbatch/internal/state"
)

// A task has at most so many images, and their names so many bytes: a record
// and an event have to hold them.
const (
	maxPart      = 5000
	maxPartBytes = 400 << 10
	maxPath      = 1024 // characters that CVAT keeps of a path
)

// Steps of a task. All but the last three are gone on from by whoever finds
// them.
const (
	planned  = "planned"  // no task yet
	creating = "creating" // there may be one
	created  = "created"  // there is one; it may have been given its images
	attached = "attached" // CVAT is taking the images in
	ready    = "ready"
	failed   = "failed"  // CVAT refused; reconciliation tries again
	deleted  = "deleted" // in CVAT, by somebody
)

// part is the record of one task: a selection, or a part of a large one.
type part struct {
	Server    string   `json:"server"`
	Project   int      `json:"project"`
	Selection string   `json:"selection"` // id of its event
	Tag       string   `json:"tag"`
	Name      string   `json:"name"`  // of the task, unique
	Of        int      `json:"of"`    // tasks that the selection became
	Files     []string `json:"files"` // in selection order
	Honeypots []string `json:"honeypots,omitempty"`

	Step    string `json:"step"`
	Task    int    `json:"task,omitempty"`
	Request string `json:"request,omitempty"`
	Error   string `json:"error,omitempty"`
	Failed  int    `json:"failed,omitempty"` // how often
	Tried   int64  `json:"tried,omitempty"`  // Unix time of the last failure

	Said    string       `json:"said"`             // of each file: one of the letters below
	Before  string       `json:"before,omitempty"` // Said before its last change, until that is published
	Jobs    map[int]seen `json:"jobs,omitempty"`
	Changes int          `json:"changes,omitempty"` // of Said
}

// What was said of a file last.
const (
	nothing = '.'
	labeled = 'l'
	skipped = 's'
)

// seen is a job as it was looked at last.
type seen struct {
	State   string `json:"state"`
	Stage   string `json:"stage"`
	Updated string `json:"updated"`
	Done    bool   `json:"done"`
}

// pointer is the record by which a task of CVAT leads to its part.
type pointer struct {
	Part string `json:"part"`
}

func taskRecord(n int) string { return fmt.Sprintf("task-%d", n) }

// images is how CVAT calls the images of a dataset.
type images struct {
	remote   bool // it downloads them by URL
	template annotation.Template
	path     string // elsewhere: the template
}

func newImages(text, dataset string) (x images, err error) {
	x.remote = strings.HasPrefix(text, "http://") || strings.HasPrefix(text, "https://")
	if x.remote {
		dataset = url.PathEscape(dataset)
	}
	x.path = strings.ReplaceAll(text, "{dataset}", dataset)
	if x.template, err = annotation.ParseTemplate(x.path); err != nil || !x.remote {
		return x, err
	}
	if u, err := url.Parse(x.template.URL("NAME")); err != nil || !strings.Contains(u.Path, "NAME") {
		return x, fmt.Errorf("%q: want {filename} in the path of the URL, because CVAT names images by it", text)
	}
	return x, nil
}

// place is the entry of an image in the list of files, and the name that its
// frame has then. An error says why CVAT would not take it.
func (x images) place(filename string) (file, frame string, err error) {
	if x.remote {
		file = x.template.URL(filename)
		u, err := url.Parse(file)
		if err != nil {
			return "", "", err
		}
		frame = path.Base(u.Path)
	} else {
		file = strings.Replace(x.path, "{filename}", filename, 1)
		file = strings.TrimPrefix(path.Clean("/"+file), "/") // as CVAT does
		frame = file
	}
	switch {
	case path.Ext(frame) == "" || path.Ext(frame) == ".jsonl":
		return "", "", fmt.Errorf("CVAT knows images by their extension")
	case utf8.RuneCountInString(file) > maxPath:
		return "", "", fmt.Errorf("longer than %d characters", maxPath)
	}
	return file, frame, nil
}

// plan divides a selection into tasks: one, unless it is very large or has
// images that CVAT cannot tell apart. It also returns the words for what CVAT
// cannot show at all.
func (c *Connector) plan(id string, s *events.Created, picks []events.Added) (parts []part, bad []string) {
	type bin struct {
		bytes  int
		frames map[string]bool
	}
	var bins []*bin
	for _, a := range picks {
		_, frame, err := c.images[s.Dataset].place(a.Filename)
		if err != nil {
			bad = append(bad, fmt.Sprintf("%.120q: %v", a.Filename, err))
			continue
		}
		text, _ := json.Marshal(a.Filename)
		size := len(text) + 1
		i := slices.IndexFunc(bins, func(b *bin) bool {
			return !b.frames[frame] && len(b.frames) < maxPart && b.bytes+size <= maxPartBytes
		})
		if i < 0 {
			i = len(bins)
			bins = append(bins, &bin{frames: map[string]bool{}})
			parts = append(parts, part{Server: c.client.base, Project: c.cfg.Projects[s.Dataset], Selection: id, Tag: s.Tag.Name, Step: planned})
		}
		bins[i].bytes += size
		bins[i].frames[frame] = true
		parts[i].Files = append(parts[i].Files, a.Filename)
	}
	for i := range parts {
		p := &parts[i]
		p.Of = len(parts)
		p.Said = strings.Repeat(string(nothing), len(p.Files))
		p.Name = fmt.Sprintf("%.180s [%s]", s.Tag.Name, p.id(i)[:12])
		if len(parts) > 1 {
			p.Name = fmt.Sprintf("%.180s, %d of %d [%s]", s.Tag.Name, i+1, len(parts), p.id(i)[:12])
		}
		p.Name = strings.ToValidUTF8(p.Name, "")
	}
	return parts, bad
}

// id is the name of the record of the i-th part.
func (p *part) id(i int) string {
	return state.HexID(32, "cvat", p.Server, fmt.Sprint(p.Project), p.Selection, fmt.Sprint(i))
}

// data is what CVAT is to show: in the order of the selection, so many images
// a job. With honeypots CVAT deals the images out itself, in random order: it
// allows nothing else.
func (c *Connector) data(dataset string, p *part) taskData {
	x := c.images[dataset]
	d := taskData{CloudStorage: c.cfg.CloudStorage, Quality: 70, UseCache: true}
	files, names := x.places(p.Files)
	if len(p.Honeypots) > 0 {
		more, pool := x.places(p.Honeypots)
		perJob, _ := c.share(len(p.Files))
		files = append(files, more...)
		d.Sorting = "random"
		d.Validation = &validation{Mode: "gt_pool", Method: "manual", Frames: pool, PerJob: min(perJob, len(pool)), Seed: 1}
	} else {
		d.Jobs = slices.Collect(slices.Chunk(names, c.cfg.JobSize))
	}
	if x.remote {
		d.RemoteFiles = files
	} else {
		d.ServerFiles = files
	}
	return d
}

// places are the entries and frame names of files that have some.
func (x images) places(filenames []string) (files, frames []string) {
	for _, name := range filenames {
		if file, frame, err := x.place(name); err == nil {
			files, frames = append(files, file), append(frames, frame)
		}
	}
	return files, frames
}

// share is how many images of a job are honeypots, and from how many they are
// drawn, for a task of n images.
func (c *Connector) share(n int) (perJob, pool int) {
	if c.cfg.Honeypots == 0 {
		return 0, 0
	}
	perJob = max(1, min(int(float64(c.cfg.Honeypots*float64(c.cfg.JobSize))+0.5), c.cfg.JobSize-1))
	return perJob, max(perJob, min(int(float64(c.cfg.Honeypots*float64(n))+0.5), 1000))
}
