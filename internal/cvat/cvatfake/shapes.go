package cvatfake

import "slices"

// The objects of the API, with every field that cvat-sdk asks for.

func (c *CVAT) user() map[string]any {
	return map[string]any{"url": c.url("/api/users/1"), "id": 1, "username": "anna", "first_name": "Anna", "last_name": ""}
}

func (c *CVAT) projectJSON(n int) map[string]any {
	count := 0
	for _, t := range c.tasks {
		if t.Project == n {
			count++
		}
	}
	return map[string]any{
		"url": c.url("/api/projects/%d", n), "id": n, "name": c.projects[n], "owner": c.user(), "assignee": nil, "guide_id": nil, "bug_tracker": "",
		"task_subsets": []string{}, "created_date": stamp(c.now), "updated_date": stamp(c.now), "status": "annotation", "dimension": "2d",
		"organization": nil, "organization_id": nil, "target_storage": nil, "source_storage": nil, "assignee_updated_date": nil,
		"tasks": map[string]any{"count": count, "url": c.url("/api/tasks?project_id=%d", n)}, "labels": map[string]any{"url": c.url("/api/labels?project_id=%d", n)},
	}
}

func (c *CVAT) taskJSON(t *Task) map[string]any {
	completed := 0
	for _, j := range t.Jobs {
		if c.jobs[j] != nil && c.jobs[j].State == "completed" {
			completed++
		}
	}
	var validation any
	if t.Validation != "" {
		validation = t.Validation
	}
	return map[string]any{
		"url": c.url("/api/tasks/%d", t.ID), "id": t.ID, "name": t.Name, "project_id": t.Project, "project_name": c.projects[t.Project], "mode": "annotation",
		"media_type": "images", "owner": c.user(), "assignee": nil, "bug_tracker": "", "created_date": stamp(c.now), "updated_date": stamp(c.now),
		"overlap": 0, "segment_size": t.SegmentSize, "initial_replicas": 0, "status": "annotation", "data_chunk_size": 72, "data_original_chunk_type": "imageset",
		"data_compressed_chunk_type": "imageset", "data_cloud_storage_id": nil, "guide_id": nil, "size": len(t.Frames), "image_quality": 70, "data": t.ID,
		"dimension": "2d", "subset": "", "organization": nil, "organization_id": nil, "target_storage": nil, "source_storage": nil,
		"assignee_updated_date": nil, "validation_mode": validation, "labels": map[string]any{"url": c.url("/api/labels?task_id=%d", t.ID)},
		"jobs": map[string]any{"count": len(t.Jobs), "completed": completed, "validation": 0, "url": c.url("/api/jobs?task_id=%d", t.ID)},
	}
}

func (c *CVAT) jobJSON(j *Job) map[string]any {
	t := c.tasks[j.Task]
	status := map[string]string{"annotation": "annotation", "validation": "validation", "acceptance": "completed"}[j.Stage]
	return map[string]any{
		"url": c.url("/api/jobs/%d", j.ID), "id": j.ID, "task_id": j.Task, "task_name": t.Name, "project_id": t.Project, "project_name": c.projects[t.Project],
		"assignee": nil, "guide_id": nil, "dimension": "2d", "mode": "annotation", "media_type": "images", "bug_tracker": nil, "status": status,
		"stage": j.Stage, "state": j.State, "frame_count": j.Stop - j.Start + 1, "start_frame": j.Start, "stop_frame": j.Stop, "data_chunk_size": 72,
		"data_compressed_chunk_type": "imageset", "data_original_chunk_type": "imageset", "created_date": stamp(c.now), "updated_date": stamp(j.Updated),
		"type": j.Type, "organization": nil, "target_storage": nil, "source_storage": nil, "assignee_updated_date": nil, "parent_job_id": nil,
		"replicas_count": 0, "issues": map[string]any{"url": c.url("/api/issues?job_id=%d", j.ID), "count": 0},
		"labels": map[string]any{"url": c.url("/api/labels?job_id=%d", j.ID)},
	}
}

func (c *CVAT) metaJSON(t *Task, start, stop int) map[string]any {
	frames, deleted := []any{}, []int{}
	for n := start; n <= stop; n++ {
		frames = append(frames, map[string]any{"name": t.Frames[n], "width": 640, "height": 480, "related_files": 0, "has_related_context": false})
		if slices.Contains(t.Deleted, n) {
			deleted = append(deleted, n)
		}
	}
	return map[string]any{
		"chunks_updated_date": stamp(c.now), "frames": frames, "deleted_frames": deleted, "chapters": nil, "chunk_size": 72, "size": len(frames),
		"image_quality": 70, "start_frame": start, "stop_frame": stop, "frame_filter": "", "included_frames": nil, "storage": "local", "cloud_storage_id": nil,
	}
}

func (c *CVAT) requestJSON(r *request) map[string]any {
	m := map[string]any{
		"status": r.status, "id": r.id, "message": r.message, "created_date": stamp(r.made), "started_date": nil, "finished_date": nil, "expiry_date": nil,
		"progress": nil, "result_url": nil, "result_id": nil, "owner": map[string]any{"id": 1, "username": "anna"},
		"operation": map[string]any{"type": "create:task", "target": "task", "project_id": nil, "task_id": r.task, "job_id": nil, "org_id": nil,
			"format": nil, "function_id": nil, "lightweight": nil},
	}
	if t := c.tasks[r.task]; t != nil {
		m["operation"].(map[string]any)["project_id"] = t.Project
	}
	return m
}

func (c *CVAT) hookJSON(h *webhook) map[string]any {
	m := map[string]any{
		"id": h.id, "url": c.url("/api/webhooks/%d", h.id), "target_url": h.target, "description": h.description, "type": "project",
		"content_type": "application/json", "is_active": h.active, "enable_ssl": true, "created_date": stamp(c.now), "updated_date": stamp(c.now),
		"owner": c.user(), "project_id": h.project, "organization": nil, "events": h.events,
	}
	if h.last != 0 {
		m["last_status"], m["last_delivery_date"] = h.last, stamp(c.now)
	}
	return m
}
