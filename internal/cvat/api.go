package cvat

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
)

// What of CVAT's objects is used; names as in its API.

type cvatTask struct {
	ID   int    `json:"id"`
	Name string `json:"name"`
	Size int    `json:"size"` // frames; 0 until the data is there
}

type cvatJob struct {
	ID        int    `json:"id"`
	TaskID    int    `json:"task_id"`
	ProjectID int    `json:"project_id"`
	Type      string `json:"type"`  // annotation, ground_truth, replica
	Stage     string `json:"stage"` // annotation, validation, acceptance
	State     string `json:"state"` // new, in progress, rejected, completed
	Updated   string `json:"updated_date"`
}

// taskSpec creates a task.
type taskSpec struct {
	Name      string `json:"name"`
	ProjectID int    `json:"project_id"`
	JobSize   int    `json:"segment_size,omitempty"` // not where the data has a job_file_mapping
}

// taskData is what a task is about.
type taskData struct {
	ServerFiles  []string    `json:"server_files,omitempty"`
	RemoteFiles  []string    `json:"remote_files,omitempty"`
	CloudStorage int         `json:"cloud_storage_id,omitempty"`
	Quality      int         `json:"image_quality"`
	UseCache     bool        `json:"use_cache"`
	Sorting      string      `json:"sorting_method,omitempty"`
	Jobs         [][]string  `json:"job_file_mapping,omitempty"`
	Validation   *validation `json:"validation_params,omitempty"`
}

// validation says which images of a task are honeypots.
type validation struct {
	Mode   string   `json:"mode"`
	Method string   `json:"frame_selection_method"`
	Frames []string `json:"frames"`
	PerJob int      `json:"frames_per_job_count"`
	Seed   uint32   `json:"random_seed"`
}

// frames are those of a job: the i-th has the number Start+i in its task.
type frames struct {
	Start   int   `json:"start_frame"`
	Deleted []int `json:"deleted_frames"` // numbers in the task
	Frames  []struct {
		Name string `json:"name"`
	} `json:"frames"`
}

type annotations struct {
	Tags   []struct{ Frame int } `json:"tags"`
	Shapes []struct{ Frame int } `json:"shapes"`
	Tracks []struct {
		Shapes []struct {
			Frame   int
			Outside bool
		} `json:"shapes"`
	} `json:"tracks"`
}

type cvatRequest struct {
	ID      string `json:"id"`
	Status  string `json:"status"` // queued, started, finished, failed
	Message string `json:"message"`
}

type cvatWebhook struct {
	ID     int    `json:"id"`
	Target string `json:"target_url"`
	Active bool   `json:"is_active"`
	Status int    `json:"last_status"`
}

func id(kind string, n int) string { return "/api/" + kind + "/" + strconv.Itoa(n) }

func (c *client) version(ctx context.Context) (string, error) {
	var about struct{ Version string }
	err := c.call(ctx, http.MethodGet, "/api/server/about", nil, nil, &about)
	return about.Version, err
}

func (c *client) user(ctx context.Context) (string, error) {
	var self struct{ Username string }
	err := c.call(ctx, http.MethodGet, "/api/users/self", nil, nil, &self)
	return self.Username, err
}

func (c *client) project(ctx context.Context, n int) (name string, err error) {
	var p struct{ Name string }
	err = c.call(ctx, http.MethodGet, id("projects", n), nil, nil, &p)
	return p.Name, err
}

// tasksNamed lists the tasks of a project with a name, oldest first.
func (c *client) tasksNamed(ctx context.Context, project int, name string) (tasks []cvatTask, err error) {
	query := url.Values{"project_id": {strconv.Itoa(project)}, "name": {name}, "sort": {"id"}}
	err = pages(ctx, c, "/api/tasks", query, func(t cvatTask) {
		if t.Name == name {
			tasks = append(tasks, t)
		}
	})
	return tasks, err
}

func (c *client) task(ctx context.Context, n int) (t cvatTask, err error) {
	err = c.call(ctx, http.MethodGet, id("tasks", n), nil, nil, &t)
	return t, err
}

func (c *client) createTask(ctx context.Context, spec taskSpec) (t cvatTask, err error) {
	err = c.call(ctx, http.MethodPost, "/api/tasks", nil, spec, &t)
	if err == nil && t.ID == 0 {
		err = fmt.Errorf("POST /api/tasks: the answer has no id")
	}
	return t, err
}

func (c *client) deleteTask(ctx context.Context, n int) error {
	err := c.call(ctx, http.MethodDelete, id("tasks", n), nil, nil, nil)
	if gone(err) {
		return nil
	}
	return err
}

// attach gives a task its data, and returns the request that CVAT makes of it.
func (c *client) attach(ctx context.Context, n int, data taskData) (request string, err error) {
	var answer struct {
		ID string `json:"rq_id"`
	}
	err = c.call(ctx, http.MethodPost, id("tasks", n)+"/data/", nil, data, &answer)
	if err == nil && answer.ID == "" {
		err = fmt.Errorf("POST /api/tasks/%d/data/: the answer has no rq_id: CVAT 2.34 or newer is needed", n)
	}
	return answer.ID, err
}

func (c *client) request(ctx context.Context, rq string) (r cvatRequest, err error) {
	err = c.call(ctx, http.MethodGet, "/api/requests/"+url.PathEscape(rq), nil, nil, &r)
	return r, err
}

// requestsOf lists the requests that attach data to a task.
func (c *client) requestsOf(ctx context.Context, task int) (all []cvatRequest, err error) {
	query := url.Values{"task_id": {strconv.Itoa(task)}, "action": {"create"}, "target": {"task"}}
	err = pages(ctx, c, "/api/requests", query, func(r cvatRequest) { all = append(all, r) })
	return all, err
}

func (c *client) job(ctx context.Context, n int) (j cvatJob, err error) {
	err = c.call(ctx, http.MethodGet, id("jobs", n), nil, nil, &j)
	return j, err
}

// jobsOf calls f with the annotators' jobs of a project.
func (c *client) jobsOf(ctx context.Context, project int, f func(cvatJob)) error {
	return pages(ctx, c, "/api/jobs", url.Values{"project_id": {strconv.Itoa(project)}, "type": {"annotation"}, "sort": {"id"}}, f)
}

func (c *client) frames(ctx context.Context, job int) (f frames, err error) {
	err = c.call(ctx, http.MethodGet, id("jobs", job)+"/data/meta", nil, nil, &f)
	return f, err
}

func (c *client) annotations(ctx context.Context, job int) (a annotations, err error) {
	err = c.call(ctx, http.MethodGet, id("jobs", job)+"/annotations/", nil, nil, &a)
	return a, err
}

func (c *client) webhooks(ctx context.Context, project int) (all []cvatWebhook, err error) {
	err = pages(ctx, c, "/api/webhooks", url.Values{"project_id": {strconv.Itoa(project)}, "sort": {"id"}}, func(w cvatWebhook) { all = append(all, w) })
	return all, err
}

// hookEvents are those that the receiver acts on.
var hookEvents = []string{"update:job", "delete:task"}

// putWebhook creates a webhook, or with a number gives one our secret and
// events.
func (c *client) putWebhook(ctx context.Context, n, project int, target, secret string) error {
	body := map[string]any{"target_url": target, "description": "nextbatch", "events": hookEvents, "secret": secret, "content_type": "application/json"}
	if n != 0 {
		return c.call(ctx, http.MethodPatch, id("webhooks", n), nil, body, nil)
	}
	body["type"], body["project_id"], body["is_active"], body["enable_ssl"] = "project", project, true, true
	return c.call(ctx, http.MethodPost, "/api/webhooks", nil, body, nil)
}

func (c *client) deleteWebhook(ctx context.Context, n int) error {
	err := c.call(ctx, http.MethodDelete, id("webhooks", n), nil, nil, nil)
	if gone(err) {
		return nil
	}
	return err
}
