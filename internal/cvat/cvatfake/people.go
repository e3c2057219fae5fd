package cvatfake

// What people do in CVAT.

// SetJob changes a job as a person does, and sends webhooks.
func (c *CVAT) SetJob(n int, stage, state string) {
	c.with(func() { c.setJob(c.jobs[n], stage, state) })
}

func (c *CVAT) setJob(j *Job, stage, state string) {
	before := map[string]any{}
	if stage != "" && stage != j.Stage {
		before["stage"], j.Stage = j.Stage, stage
		if state == "" {
			state = "new"
		}
	}
	if state != "" && state != j.State {
		before["state"], j.State = j.State, state
	}
	if len(before) == 0 {
		return
	}
	j.Updated = c.tickTime()
	t := c.tasks[j.Task]
	c.send("update:job", t.Project, map[string]any{"job": c.jobJSON(j), "before_update": before})
}

// DeleteFrames marks frames of a task as deleted.
func (c *CVAT) DeleteFrames(task int, frames ...int) {
	c.with(func() { c.tasks[task].Deleted = append(c.tasks[task].Deleted, frames...) })
}

// Annotate puts a tag on frames of a job: a number from Labels.
func (c *CVAT) Annotate(job, label int, frames ...int) {
	c.with(func() {
		for _, f := range frames {
			c.jobs[job].Annotations.Tags = append(c.jobs[job].Annotations.Tags, map[string]any{
				"id": c.next(), "frame": f, "label_id": label, "group": 0, "source": "manual", "attributes": []any{}})
		}
	})
}

// DeleteTask deletes a task as a person does, and sends webhooks.
func (c *CVAT) DeleteTask(n int) { c.with(func() { c.deleteTask(n) }) }

func (c *CVAT) deleteTask(n int) {
	t := c.tasks[n]
	body := map[string]any{"task": c.taskJSON(t)}
	delete(c.tasks, n)
	for _, j := range t.Jobs {
		delete(c.jobs, j)
	}
	c.send("delete:task", t.Project, body)
}

// NewTask makes a task as a person does, with one job.
func (c *CVAT) NewTask(project int, name string, frames ...string) (t Task) {
	c.with(func() {
		made := c.newTask(project, name, 0)
		made.Frames = frames
		c.newJob(made, "annotation", 0, len(frames)-1)
		t = *made
	})
	return t
}
