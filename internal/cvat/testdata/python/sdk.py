"""CVAT's own client goes through what the connector does, against the stand-in
of the tests: each answer is read by the generated models, which check types and
enumerations. Then the same models read what the connector itself had sent, as
standard input says it."""

import json
import os
import sys

from cvat_sdk import Client, exceptions, models
from cvat_sdk.core.client import AccessTokenCredentials, Config
from cvat_sdk.core.exceptions import BackgroundRequestException
from cvat_sdk.core.helpers import get_paginated_collection
from cvat_sdk.core.proxies.tasks import ResourceType

client = Client(os.environ["CVAT_URL"], config=Config(status_check_period=0.05, allow_unsupported_server=False))
client.login(AccessTokenCredentials(os.environ["CVAT_TOKEN"]))
api = client.api_client
me, _ = api.users_api.retrieve_self()
print("version", client.get_server_version(), "user", me.username)
print("project", client.projects.retrieve(7).name)

# A task in an order of its own.
files = [f"photos/{n}.jpg" for n in (3, 1, 4, 15, 9, 2, 6)]
task = client.tasks.create_from_data(
    models.TaskWriteRequest(name="by sdk", project_id=7),
    files,
    resource_type=ResourceType.SHARE,
    data_params={"job_file_mapping": [files[:3], files[3:6], files[6:]], "use_cache": True},
)
assert [f.name for f in task.get_meta().frames] == files, task.get_meta()
assert task.size == len(files)
jobs = sorted(task.get_jobs(), key=lambda job: job.start_frame)
assert [[f.name for f in job.get_frames_info()] for job in jobs] == [files[:3], files[3:6], files[6:]]
assert [job.get_meta().start_frame for job in jobs] == [0, 3, 6]
assert {str(job.type) for job in jobs} == {"annotation"} and {str(job.state) for job in jobs} == {"new"}

job = jobs[1]
job.remove_frames_by_ids([4])
assert job.get_meta().deleted_frames == [4] and jobs[0].get_meta().deleted_frames == []
job.set_annotations(
    models.LabeledDataRequest(
        tags=[models.LabeledImageRequest(frame=3, label_id=1)],
        shapes=[models.LabeledShapeRequest(frame=5, label_id=1, type="rectangle", points=[1.0, 2.0, 3.0, 4.0])],
        tracks=[
            models.LabeledTrackRequest(
                frame=3, label_id=1, shapes=[models.TrackedShapeRequest(type="rectangle", frame=3, points=[1.0, 2.0, 3.0, 4.0], outside=False)]
            )
        ],
    )
)
found = job.get_annotations()
assert (found.tags[0].frame, found.shapes[0].frame, found.tracks[0].shapes[0].frame) == (3, 5, 3)
job.update({"stage": "validation"})
job.update({"state": "completed"})
assert (str(job.stage), str(job.state)) == ("validation", "completed"), job
print("task", task.id, "jobs", len(jobs))

# Lists, in pages, with the filters that the connector uses.
ours = get_paginated_collection(api.jobs_api.list_endpoint, project_id=7, type="annotation", sort="id", page_size=2)
assert [j.id for j in ours] == sorted(j.id for j in jobs), ours
assert [t.id for t in get_paginated_collection(api.tasks_api.list_endpoint, project_id=7, name="by sdk", sort="id")] == [task.id]
[request] = get_paginated_collection(api.requests_api.list_endpoint, task_id=task.id, action="create", target="task")
assert str(request.status) == "finished" and api.requests_api.retrieve(request.id)[0].operation.task_id == task.id

# What the server's code refuses, and honeypots.
for spec, params in (
    ({"segment_size": 3}, {"job_file_mapping": [files]}),
    ({}, {"job_file_mapping": [files], "sorting_method": "predefined"}),
    ({"segment_size": 3}, {"validation_params": {"mode": "gt_pool", "frame_selection_method": "manual", "frames": files[:1], "frames_per_job_count": 1}}),
):
    try:
        client.tasks.create_from_data(
            models.TaskWriteRequest(name="refused", project_id=7, **spec), files, resource_type=ResourceType.SHARE, data_params=params
        )
    except BackgroundRequestException as e:
        print("refused:", e)
    else:
        sys.exit(f"{params} was taken")
task = client.tasks.create_from_data(
    models.TaskWriteRequest(name="honeypots", project_id=7, segment_size=3),
    files,
    resource_type=ResourceType.SHARE,
    data_params={
        "sorting_method": "random",
        "validation_params": {"mode": "gt_pool", "frame_selection_method": "manual", "frames": files[:2], "frames_per_job_count": 1, "random_seed": 1},
    },
)
assert task.validation_mode == "gt_pool" and sorted(str(j.type) for j in task.get_jobs()) == ["annotation", "annotation", "ground_truth"]
try:
    api.jobs_api.retrieve(1)
except exceptions.ApiException as e:
    print("not found:", e.status)
try:
    task.upload_data(files, resource_type=ResourceType.SHARE)
except exceptions.ApiException as e:
    print("more data:", e.status)
task.remove()

# Webhooks.
hooks = api.webhooks_api
spec = {"target_url": os.environ["HOOK_URL"], "events": [models.EventsEnum("update:job"), models.EventsEnum("delete:task")], "secret": "a secret of the sdk test"}
hook, _ = hooks.create(models.WebhookWriteRequest(type=models.WebhookType("project"), project_id=7, is_active=True, **spec))
delivery, _ = hooks.create_ping(hook.id)
assert delivery.status_code == 200, delivery
hooks.partial_update(hook.id, patched_webhook_write_request=models.PatchedWebhookWriteRequest(**spec))
[again] = get_paginated_collection(hooks.list_endpoint, project_id=7, target_url=os.environ["HOOK_URL"])
assert again.last_status == 200 and again.is_active and [str(e) for e in again.events] == ["update:job", "delete:task"]

# What the connector sent, read as CVAT's schema has it: an unknown field or a
# wrong type is an error.
sent = json.load(sys.stdin)
known = {"task": models.TaskWriteRequest, "data": models.DataRequest, "webhook": models.WebhookWriteRequest, "job": models.JobRead}
for kind, bodies in sent.items():
    assert bodies, f"the connector sent no {kind}"
    for body in bodies:
        unknown = set(body) - set(known[kind].attribute_map.values())
        assert not unknown, f"{kind}: CVAT knows no {unknown}"
        known[kind]._from_openapi_data(**body, _spec_property_naming=True, _configuration=api.configuration)
    print("read", len(bodies), kind)
