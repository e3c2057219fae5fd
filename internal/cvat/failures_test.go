package cvat_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"nextbatch/internal/cvat"
	"nextbatch/internal/events"
)

// A call that fails, before or after CVAT has done it, makes no second task
// and loses none.
func TestCallsThatFail(t *testing.T) {
	for _, call := range []string{"GET /api/tasks", "POST /api/tasks", "GET /api/tasks/N", "POST /api/tasks/N/data", "GET /api/requests",
		"GET /api/requests/action=create&target=task&id=N", "GET /api/jobs/N", "GET /api/jobs/N/data/meta"} {
		t.Run(strings.ReplaceAll(call, "/", "_"), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, 1, nil)
			for _, after := range []bool{false, true} {
				for _, code := range []int{0, 503} {
					r.cvat.Break(call, after, code)
				}
			}
			names, s := r.choose(12, 6)
			task := r.tasks(1)[0]
			if !slices.Equal(task.Frames, names) {
				t.Errorf("frames %v, want %v", task.Frames, names)
			}
			for _, j := range task.Jobs {
				r.cvat.SetJob(j, "", "completed")
			}
			r.settle(s.Tag.Name, events.Batch{Labeled: 6, Complete: true})
			if n := len(r.cvat.Tasks()); n != 1 {
				t.Errorf("%d tasks", n)
			}
		})
	}
}

// While CVAT is away nothing is lost: selections wait, and what was finished
// meanwhile is found.
func TestAway(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, nil)
	first, s1 := r.choose(40, 6)
	task := r.tasks(1)[0]
	r.cvat.SetJob(task.Jobs[0], "", "completed")
	r.settle(s1.Tag.Name, events.Batch{Labeled: 4, Pending: 2})
	r.cvat.Down(true)
	second, s2 := r.chooseMore(5)
	third, _ := r.chooseMore(3)
	before := r.cvat.Calls("GET /api/tasks")
	r.until("it was tried again and again", func() bool { return r.cvat.Calls("GET /api/tasks") > before+2 })
	r.cvat.SetJob(task.Jobs[1], "", "completed") // its webhook comes through, its connector cannot ask
	r.cvat.Down(false)
	tasks := r.tasks(3)
	for i, want := range [][]string{first, second, third} {
		if !slices.Equal(tasks[i].Frames, want) {
			t.Errorf("task %d has %v, want %v", i, tasks[i].Frames, want)
		}
	}
	r.settle(s1.Tag.Name, events.Batch{Labeled: 6, Complete: true})
	r.cvat.SetJob(tasks[1].Jobs[1], "", "completed")
	r.settle(s2.Tag.Name, events.Batch{Labeled: 1, Pending: 4})
}

// What CVAT refuses does not hold up what comes after it, and is tried again.
func TestRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, func(c *cvat.Config) { c.Every = time.Second })
	names := []string{"a/1.jpg", "a/2.jpg", "a/3.jpg", "a/4.jpg", "a/5.jpg", "a/6.jpg"}
	r.cvat.Lack(true, names...)
	var rows []map[string]any
	for i, name := range append(names, "noextension") {
		rows = append(rows, map[string]any{"filename": name, "embedding": []float64{float64(i), 1}})
	}
	r.sendRows(rows)
	picks, s := r.chooseMore(7)
	want := slices.DeleteFunc(slices.Clone(picks), func(n string) bool { return !strings.HasPrefix(n, "a/") })
	r.until("the task was refused", func() bool { return r.cvat.Calls("POST /api/tasks/N/data") > 1 })
	r.cvat.Lack(false, names...)
	task := r.tasks(1)[0]
	if !slices.Equal(task.Frames, want) {
		t.Errorf("frames %v, want %v", task.Frames, want)
	}
	for _, j := range task.Jobs {
		r.cvat.SetJob(j, "", "completed")
	}
	r.settle(s.Tag.Name, events.Batch{Labeled: 6, Pending: 1})
}

// Of two tasks that a lost call left the older one stays, and nothing is done
// twice.
func TestTaskMadeTwice(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, nil)
	r.cvat.Twice()
	names, s := r.choose(20, 4)
	task := r.tasks(1)[0]
	if !slices.Equal(task.Frames, names) || r.cvat.Calls("DELETE /api/tasks/N") != 1 {
		t.Errorf("%+v after %d deletions", task, r.cvat.Calls("DELETE /api/tasks/N"))
	}
	r.cvat.SetJob(task.Jobs[0], "", "completed")
	r.settle(s.Tag.Name, events.Batch{Labeled: 4, Complete: true})
}

// A job, a task or a project that CVAT fails at, or that the token may not
// see, does not hold up the others.
func TestOneThingIsBroken(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, func(c *cvat.Config) {
		c.Projects = map[string]int{"clothing": 7, "other": 8}
		c.Every = time.Second
	})
	_, s1 := r.choose(60, 4)
	_, s2 := r.chooseMore(4)
	tasks := r.tasks(2)
	r.cvat.Always(fmt.Sprintf("GET /api/jobs/%d/data/meta", tasks[0].Jobs[0]), 500)
	r.cvat.Always(fmt.Sprintf("GET /api/jobs/%d", tasks[0].Jobs[0]), 403)
	r.cvat.SetJob(tasks[0].Jobs[0], "", "completed")
	r.cvat.SetJob(tasks[1].Jobs[0], "", "completed")
	r.settle(s2.Tag.Name, events.Batch{Labeled: 4, Complete: true})
	r.cvat.Heal()
	r.settle(s1.Tag.Name, events.Batch{Labeled: 4, Complete: true})

	r.cvat.Always("POST /api/tasks/N/data", 500)
	_, s3 := r.chooseMore(4)
	r.until("the connector has given up for now", func() bool { return r.cvat.Calls("POST /api/tasks/N/data") > 3 })
	r.cvat.Heal()
	task := r.tasks(3)[2]
	r.cvat.SetJob(task.Jobs[0], "", "completed")
	r.settle(s3.Tag.Name, events.Batch{Labeled: 4, Complete: true})
}

// What no webhook told of is found at the next look at all jobs, and at the
// start of a connector.
func TestLostWebhooks(t *testing.T) {
	t.Parallel()
	r := newRig(t, 0, nil)
	stop := r.connect(func(c *cvat.Config) { c.Every = time.Second })
	r.cvat.Lose(true)
	_, s := r.choose(30, 10)
	task := r.tasks(1)[0]
	r.cvat.SetJob(task.Jobs[0], "", "completed")
	r.settle(s.Tag.Name, events.Batch{Labeled: 4, Pending: 6})
	r.cvat.SetJob(task.Jobs[0], "", "rejected")
	r.settle(s.Tag.Name, events.Batch{Pending: 10})
	stop()
	r.cvat.SetJob(task.Jobs[0], "", "completed")
	r.cvat.SetJob(task.Jobs[1], "", "completed")
	r.connect(nil)
	r.settle(s.Tag.Name, events.Batch{Labeled: 8, Pending: 2})
	for _, d := range r.cvat.Sent() {
		if d.Status != 0 {
			t.Errorf("%s reached the connector", d.Event)
		}
	}
}

// A task whose deletion no webhook told of is missed at the next look.
func TestLostDeletion(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, func(c *cvat.Config) { c.Every = time.Second })
	r.cvat.Lose(true)
	_, s := r.choose(30, 10)
	r.cvat.DeleteTask(r.tasks(1)[0].ID)
	r.settle(s.Tag.Name, events.Batch{Skipped: 10, Complete: true})
}
