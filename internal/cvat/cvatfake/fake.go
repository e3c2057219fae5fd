// Package cvatfake is a stand-in for CVAT in tests: CVAT itself is a dozen
// containers. It is written from CVAT's API as its own client cvat-sdk has it,
// and behaves as its documents and its server's code say: what goes with what
// when data is attached to a task, the order of frames, deleted frames,
// honeypots, pages of a list, signed webhooks. A test drives the generated
// models of cvat-sdk against it, so its shapes are those of the real one; what
// it does is as true as our reading.
package cvatfake

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Token is the access token of its only user.
const Token = "a-test.token"

// CVAT is the server. Its methods stand for people: an annotator who completes
// a job, a manager who deletes a task.
type CVAT struct {
	*httptest.Server

	mu       sync.Mutex // guards all below
	now      time.Time
	last     int // number given out last, to anything
	projects map[int]string
	tasks    map[int]*Task
	jobs     map[int]*Job
	requests []*request
	hooks    []*webhook
	calls    map[string]int
	bodies   map[string][]string
	missing  map[string]bool // files that no storage has
	losing   bool            // webhooks go nowhere
	down     bool
	faults   []fault
	twice    bool

	sender  http.Client
	sending sync.WaitGroup
	sent    []Delivery
}

// Labels are those of every project; their numbers begin with 1.
var Labels = []string{"dark", "bright"}

// Task as CVAT has it.
type Task struct {
	ID, Project int
	Name        string
	SegmentSize int
	Frames      []string // by number
	Deleted     []int
	Jobs        []int
	Validation  string // gt_pool
	Storage     int
}

// Job is a part of a task: the frames Start to Stop.
type Job struct {
	ID, Task    int
	Start, Stop int
	Type        string
	Stage       string
	State       string
	Updated     time.Time
	Annotations annotations
}

type annotations struct {
	Version int   `json:"version"`
	Tags    []any `json:"tags"`
	Shapes  []any `json:"shapes"`
	Tracks  []any `json:"tracks"`
}

type request struct {
	id, status, message string
	task                int
	made                time.Time
	run                 func() error
}

type webhook struct {
	id, project    int
	target, secret string
	events         []string
	active         bool
	last           int
	description    string
}

// fault answers a call badly: before it is done, or after.
type fault struct {
	call  string
	after bool
	code  int // 0 = the connection breaks
	ever  bool
}

// Start runs a CVAT with these projects.
func Start(projects map[int]string) *CVAT {
	c := &CVAT{projects: projects, tasks: map[int]*Task{}, jobs: map[int]*Job{}, calls: map[string]int{}, bodies: map[string][]string{}, missing: map[string]bool{}, now: time.Now()}
	c.sender = http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	c.Server = httptest.NewServer(c.handler())
	return c
}

// Close waits for the webhooks that are on their way.
func (c *CVAT) Close() {
	c.sending.Wait()
	c.Server.CloseClientConnections()
	c.Server.Close()
}

func (c *CVAT) next() int {
	c.last++
	return c.last
}

// tickTime is the time of a change: each has its own.
func (c *CVAT) tickTime() time.Time {
	c.now = c.now.Add(time.Millisecond)
	return c.now
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000Z") }

// Down lets every call fail, as a proxy does whose CVAT is away.
func (c *CVAT) Down(down bool) { c.with(func() { c.down = down }) }

// Lack takes files out of the storage, or puts them back.
func (c *CVAT) Lack(lack bool, files ...string) {
	c.with(func() {
		for _, f := range files {
			c.missing[f] = lack
		}
	})
}

// Break lets the next call of a kind, "POST /api/tasks", fail with a status, or
// with 0 by a connection that breaks, before or after CVAT has done it.
func (c *CVAT) Break(call string, after bool, code int) {
	c.with(func() { c.faults = append(c.faults, fault{call: call, after: after, code: code}) })
}

// Twice lets the next task be made twice, as when a call that was given up for
// lost arrives after all.
func (c *CVAT) Twice() { c.with(func() { c.twice = true }) }

// Lose lets every delivery of webhooks go nowhere, or no longer.
func (c *CVAT) Lose(lose bool) { c.with(func() { c.losing = lose }) }

// Always lets every call of a kind fail, until Heal.
func (c *CVAT) Always(call string, code int) {
	c.with(func() { c.faults = append(c.faults, fault{call: call, code: code, ever: true}) })
}

// Heal ends what Break and Always began, and returns how much was still to
// come.
func (c *CVAT) Heal() (left int) {
	c.with(func() { left, c.faults = len(c.faults), nil })
	return left
}

func (c *CVAT) with(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}

// Tasks returns a copy of every task, oldest first.
func (c *CVAT) Tasks() (all []Task) {
	c.with(func() {
		for _, t := range c.tasks {
			all = append(all, *t)
		}
	})
	slices.SortFunc(all, func(a, b Task) int { return a.ID - b.ID })
	return all
}

// Job returns a copy of a job.
func (c *CVAT) Job(n int) (j Job) {
	c.with(func() { j = *c.jobs[n] })
	return j
}

// Calls counts the calls of a kind so far.
func (c *CVAT) Calls(call string) (n int) {
	c.with(func() { n = c.calls[call] })
	return n
}

// Bodies returns what was sent with the calls of a kind.
func (c *CVAT) Bodies(call string) (all []string) {
	c.with(func() { all = slices.Clone(c.bodies[call]) })
	return all
}

// newTask gives numbers that are not mistaken for those of anything else.
func (c *CVAT) newTask(project int, name string, segment int) *Task {
	t := &Task{ID: 1000 + c.next(), Project: project, Name: name, SegmentSize: segment}
	c.tasks[t.ID] = t
	return t
}

func (c *CVAT) newJob(t *Task, kind string, start, stop int) {
	j := &Job{ID: 5000 + c.next(), Task: t.ID, Start: start, Stop: stop, Type: kind, Stage: "annotation", State: "new", Updated: c.tickTime(),
		Annotations: annotations{Tags: []any{}, Shapes: []any{}, Tracks: []any{}}}
	c.jobs[j.ID] = j
	t.Jobs = append(t.Jobs, j.ID)
}

func (c *CVAT) url(format string, args ...any) string {
	return c.Server.URL + fmt.Sprintf(format, args...)
}

// list answers a page of a list.
func list(w http.ResponseWriter, r *http.Request, all []any) {
	size, err := strconv.Atoi(r.URL.Query().Get("page_size"))
	if err != nil || size < 1 {
		size = 10
	}
	page, err := strconv.Atoi(r.URL.Query().Get("page"))
	if err != nil {
		page = 1
	}
	from := (page - 1) * size
	if page < 1 || from > 0 && from >= len(all) {
		answer(w, http.StatusNotFound, map[string]any{"detail": "Invalid page."})
		return
	}
	link := func(n int) any {
		if n < 1 || (n-1)*size >= len(all) {
			return nil
		}
		q := r.URL.Query()
		q.Set("page", strconv.Itoa(n))
		return "http://" + r.Host + r.URL.Path + "?" + q.Encode()
	}
	to := min(from+size, len(all))
	answer(w, http.StatusOK, map[string]any{"count": len(all), "next": link(page + 1), "previous": link(page - 1), "results": append([]any{}, all[from:to]...)})
}

func answer(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/vnd.cvat+json")
	w.WriteHeader(code)
	json.NewEncoder(w).Encode(v)
}

func refuse(w http.ResponseWriter, format string, args ...any) {
	answer(w, http.StatusBadRequest, []string{fmt.Sprintf(format, args...)})
}

func authorized(r *http.Request) bool {
	h := r.Header.Get("Authorization")
	return strings.TrimPrefix(h, "Bearer ") == Token && h != Token
}
