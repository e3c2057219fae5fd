package cvatfake

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

var numbers = regexp.MustCompile(`([/=])\d+`)

// handler checks the token, counts, and breaks what is to break.
func (c *CVAT) handler() http.Handler {
	mux := http.NewServeMux()
	c.routes(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		call := r.Method + " " + strings.TrimSuffix(numbers.ReplaceAllString(r.URL.Path, "${1}N"), "/")
		c.mu.Lock()
		defer c.mu.Unlock()
		c.calls[call]++
		if r.Method != http.MethodGet {
			text, err := io.ReadAll(r.Body)
			if err != nil {
				panic(http.ErrAbortHandler)
			}
			c.bodies[call] = append(c.bodies[call], string(text))
			r.Body = io.NopCloser(bytes.NewReader(text))
		}
		if c.down {
			http.Error(w, "<html>Bad Gateway</html>", http.StatusBadGateway)
			return
		}
		if r.URL.Path != "/api/server/about" && !authorized(r) {
			answer(w, http.StatusUnauthorized, map[string]any{"detail": "Authentication credentials were not provided."})
			return
		}
		i := slices.IndexFunc(c.faults, func(f fault) bool {
			return f.call == call || f.call == r.Method+" "+strings.TrimSuffix(r.URL.Path, "/")
		})
		if i < 0 {
			mux.ServeHTTP(w, r)
			return
		}
		f := c.faults[i]
		if !f.ever {
			c.faults = slices.Delete(c.faults, i, i+1)
		}
		if f.after {
			mux.ServeHTTP(httptest.NewRecorder(), r)
		}
		if f.code == 0 {
			panic(http.ErrAbortHandler)
		}
		http.Error(w, "out of order", f.code)
	})
}

func (c *CVAT) routes(mux *http.ServeMux) {
	ok := func(path string, f func(r *http.Request) any) {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) { answer(w, http.StatusOK, f(r)) })
	}
	ok("GET /api/server/about", func(*http.Request) any {
		return map[string]any{"name": "Computer Vision Annotation Tool", "description": "", "version": "2.80.0", "logo_url": "", "subtitle": ""}
	})
	ok("GET /api/users/self", func(*http.Request) any {
		u := c.user()
		for k, v := range map[string]any{"email": "", "groups": []string{"user"}, "is_staff": false, "is_superuser": false, "is_active": true, "last_login": nil,
			"date_joined": stamp(c.now), "has_analytics_access": false, "email_verified": true} {
			u[k] = v
		}
		return u
	})
	mux.HandleFunc("GET /api/projects/{id}", func(w http.ResponseWriter, r *http.Request) {
		if n := number(r); c.projects[n] != "" {
			answer(w, http.StatusOK, c.projectJSON(n))
			return
		}
		none(w)
	})
	mux.HandleFunc("GET /api/labels", func(w http.ResponseWriter, r *http.Request) {
		var all []any
		for i, name := range Labels {
			n, _ := strconv.Atoi(r.URL.Query().Get("project_id"))
			all = append(all, map[string]any{"id": i + 1, "name": name, "color": "#33ddff", "attributes": []any{}, "type": "tag", "sublabels": []any{},
				"project_id": n, "parent_id": nil, "has_parent": false})
		}
		list(w, r, all)
	})
	c.taskRoutes(mux)
	c.jobRoutes(mux)
	mux.HandleFunc("GET /api/requests", func(w http.ResponseWriter, r *http.Request) {
		var all []any
		for _, q := range c.requests {
			if is(r, "task_id", q.task) && is(r, "action", "create") && is(r, "target", "task") && is(r, "status", q.status) {
				all = append(all, c.requestJSON(q))
			}
		}
		list(w, r, all)
	})
	mux.HandleFunc("GET /api/requests/{id}", func(w http.ResponseWriter, r *http.Request) {
		for _, q := range c.requests {
			if q.id == r.PathValue("id") {
				c.work(q)
				answer(w, http.StatusOK, c.requestJSON(q))
				return
			}
		}
		none(w)
	})
	c.hookRoutes(mux)
}

// work lets a request be done when it is asked for the second time.
func (c *CVAT) work(q *request) {
	switch {
	case q.status == "queued":
		q.status = "started"
	case q.status == "started":
		q.status = "finished"
		if err := q.run(); err != nil {
			q.status, q.message = "failed", err.Error()
		}
	}
}

func (c *CVAT) taskRoutes(mux *http.ServeMux) {
	one := func(path string, f func(w http.ResponseWriter, r *http.Request, t *Task)) {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			if t := c.tasks[number(r)]; t != nil {
				f(w, r, t)
				return
			}
			none(w)
		})
	}
	mux.HandleFunc("GET /api/tasks", func(w http.ResponseWriter, r *http.Request) {
		var all []any
		for _, n := range c.sorted(r, len(c.tasks), func(yield func(int)) {
			for n := range c.tasks {
				yield(n)
			}
		}) {
			if t := c.tasks[n]; is(r, "project_id", t.Project) && is(r, "name", t.Name) {
				all = append(all, c.taskJSON(t))
			}
		}
		list(w, r, all)
	})
	mux.HandleFunc("POST /api/tasks", func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			Name    string `json:"name"`
			Project int    `json:"project_id"`
			Segment int    `json:"segment_size"`
			Labels  []any  `json:"labels"`
			Overlap *int   `json:"overlap"`
			Subset  string `json:"subset"`
		}
		if !body(w, r, &in) {
			return
		}
		switch {
		case in.Name == "" || len(in.Name) > 256:
			refuse(w, "name: 1 to 256 characters")
		case c.projects[in.Project] == "":
			refuse(w, "The specified project #%d does not exist.", in.Project)
		default:
			if c.twice {
				c.newTask(in.Project, in.Name, in.Segment)
				c.twice = false
			}
			t := c.newTask(in.Project, in.Name, in.Segment)
			answer(w, http.StatusCreated, c.taskJSON(t))
		}
	})
	one("GET /api/tasks/{id}", func(w http.ResponseWriter, _ *http.Request, t *Task) { answer(w, http.StatusOK, c.taskJSON(t)) })
	one("DELETE /api/tasks/{id}", func(w http.ResponseWriter, _ *http.Request, t *Task) {
		c.deleteTask(t.ID)
		w.WriteHeader(http.StatusNoContent)
	})
	one("GET /api/tasks/{id}/data/meta", func(w http.ResponseWriter, _ *http.Request, t *Task) {
		answer(w, http.StatusOK, c.metaJSON(t, 0, len(t.Frames)-1))
	})
	one("POST /api/tasks/{id}/data/", c.attach)
	one("GET /api/tasks/{id}/annotations/", func(w http.ResponseWriter, _ *http.Request, t *Task) {
		all := annotations{Tags: []any{}, Shapes: []any{}, Tracks: []any{}}
		for _, n := range t.Jobs {
			a := c.jobs[n].Annotations
			all.Tags, all.Shapes, all.Tracks = append(all.Tags, a.Tags...), append(all.Shapes, a.Shapes...), append(all.Tracks, a.Tracks...)
		}
		answer(w, http.StatusOK, all)
	})
}

func (c *CVAT) jobRoutes(mux *http.ServeMux) {
	one := func(path string, f func(w http.ResponseWriter, r *http.Request, j *Job)) {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			if j := c.jobs[number(r)]; j != nil {
				f(w, r, j)
				return
			}
			none(w)
		})
	}
	mux.HandleFunc("GET /api/jobs", func(w http.ResponseWriter, r *http.Request) {
		var all []any
		for _, n := range c.sorted(r, len(c.jobs), func(yield func(int)) {
			for n := range c.jobs {
				yield(n)
			}
		}) {
			j := c.jobs[n]
			if is(r, "project_id", c.tasks[j.Task].Project) && is(r, "task_id", j.Task) && is(r, "type", j.Type) && is(r, "state", j.State) {
				all = append(all, c.jobJSON(j))
			}
		}
		list(w, r, all)
	})
	one("GET /api/jobs/{id}", func(w http.ResponseWriter, _ *http.Request, j *Job) { answer(w, http.StatusOK, c.jobJSON(j)) })
	one("PATCH /api/jobs/{id}", func(w http.ResponseWriter, r *http.Request, j *Job) {
		var in struct{ Stage, State string }
		if body(w, r, &in) {
			c.setJob(j, in.Stage, in.State)
			answer(w, http.StatusOK, c.jobJSON(j))
		}
	})
	one("GET /api/jobs/{id}/data/meta", func(w http.ResponseWriter, _ *http.Request, j *Job) {
		answer(w, http.StatusOK, c.metaJSON(c.tasks[j.Task], j.Start, j.Stop))
	})
	one("PATCH /api/jobs/{id}/data/meta", func(w http.ResponseWriter, r *http.Request, j *Job) {
		var in struct {
			Deleted []int `json:"deleted_frames"`
		}
		if body(w, r, &in) {
			t := c.tasks[j.Task]
			t.Deleted = slices.DeleteFunc(t.Deleted, func(n int) bool { return n >= j.Start && n <= j.Stop })
			t.Deleted = append(t.Deleted, in.Deleted...)
			answer(w, http.StatusOK, c.metaJSON(t, j.Start, j.Stop))
		}
	})
	one("GET /api/jobs/{id}/annotations/", func(w http.ResponseWriter, _ *http.Request, j *Job) { answer(w, http.StatusOK, j.Annotations) })
	one("PUT /api/jobs/{id}/annotations/", func(w http.ResponseWriter, r *http.Request, j *Job) {
		in := annotations{Tags: []any{}, Shapes: []any{}, Tracks: []any{}}
		if body(w, r, &in) {
			in.Version = j.Annotations.Version + 1
			j.Annotations, j.Updated = in, c.tickTime()
			answer(w, http.StatusOK, in)
		}
	})
}

// sorted are numbers as the list is asked for: by id, or the newest first.
func (c *CVAT) sorted(r *http.Request, n int, each func(func(int))) []int {
	all := make([]int, 0, n)
	each(func(n int) { all = append(all, n) })
	slices.Sort(all)
	if r.URL.Query().Get("sort") != "id" {
		slices.Reverse(all)
	}
	return all
}

func number(r *http.Request) int {
	n, _ := strconv.Atoi(r.PathValue("id"))
	return n
}

// is reports whether a filter of the query, if it is there, fits.
func is[T int | string](r *http.Request, name string, value T) bool {
	got := r.URL.Query().Get(name)
	switch v := any(value).(type) {
	case int:
		return got == "" || got == strconv.Itoa(v)
	case string:
		return got == "" || got == v
	}
	return false
}

func none(w http.ResponseWriter) {
	answer(w, http.StatusNotFound, map[string]any{"detail": "Not found."})
}

// body reads a request; fields that CVAT does not know are ignored, as it does.
func body(w http.ResponseWriter, r *http.Request, v any) bool {
	if err := json.NewDecoder(r.Body).Decode(v); err != nil {
		refuse(w, "JSON parse error - %v", err)
		return false
	}
	return true
}
