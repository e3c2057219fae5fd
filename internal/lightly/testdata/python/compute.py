"""Predictions and the compute worker of 1.2.37: compute.py DATASET TOKEN FOLDER.

Nothing of the dataset has been selected before.
"""

import json
import sys
import time

import numpy as np
from model import predict

from lightly.api import ApiWorkflowClient
from lightly.api.prediction_singletons import PredictionSingletonClassificationRepr
from lightly.openapi_generated.swagger_client import PredictionTaskSchema, PredictionTaskSchemaCategory, TaskType
from lightly.openapi_generated.swagger_client.rest import ApiException

dataset_id, token, folder = sys.argv[1:]
client = ApiWorkflowClient(dataset_id=dataset_id, token=token)
names = client.get_filenames()
ids = client._mappings_api.get_sample_mappings_by_dataset_id(dataset_id, field="_id")
predictions = predict(folder, names)

client.create_or_update_prediction_task_schema(PredictionTaskSchema(
    name="clothing", type=TaskType.CLASSIFICATION,
    categories=[PredictionTaskSchemaCategory(id=i, name=f"class {i}") for i in range(10)]))
client.create_or_update_predictions({
    sample: [PredictionSingletonClassificationRepr(
        taskName="clothing", categoryId=int(p.argmax()), score=float(p.max()), probabilities=(p / p.sum()).tolist())]
    for sample, p in zip(ids, predictions)
})

client.register_compute_worker(name="Default", labels=["cpu"])
assert len(client.get_compute_worker_ids()) >= 1


def run(n, *strategies):
    """Schedules a run, waits for its end as the package's own loop does, but without its 30 s between two looks."""
    tags = {t.name for t in client.get_all_tags()}
    scheduled = client.schedule_compute_worker_run(
        worker_config={"enable_training": False},
        selection_config={"n_samples": n, "strategies": [{"input": i, "strategy": s} for i, s in strategies]},
    )
    until = time.monotonic() + 30
    while not client.get_compute_worker_run_info(scheduled).in_end_state():
        assert time.monotonic() < until, client.get_compute_worker_run_info(scheduled)
        time.sleep(0.2)
    infos = list(client.compute_worker_run_info_generator(scheduled))
    added = [t for t in client.get_all_tags() if t.name not in tags]
    return infos[-1], [client.get_filenames_in_tag(t) for t in added], scheduled


diversity = ({"type": "EMBEDDINGS"}, {"type": "DIVERSITY"})
margin = ({"type": "SCORES", "task": "clothing", "score": "uncertainty_margin"}, {"type": "WEIGHTS"})

info, [labeled], scheduled = run(20, diversity)
assert info.ended_successfully() and len(labeled) == 20, info
document = client.get_compute_worker_run_from_scheduled_run(scheduled)
assert document.id in [r.id for r in client.get_compute_worker_runs(dataset_id=dataset_id)]

# The most uncertain of those that are left, by the predictions that were
# uploaded. Here n_samples counts the new ones, and the tag holds the old too.
top2 = np.sort(predictions, axis=1)[:, -2:]
uncertainty = 1 - (top2[:, 1] - top2[:, 0])
left = [names[i] for i in np.argsort(-uncertainty) if names[i] not in set(labeled)]
want = set(labeled) | set(left[:15])
info, [labeled], _ = run(15, margin)
assert info.ended_successfully() and set(labeled) == want, info

info, [labeled], _ = run(30, margin, diversity)
assert info.ended_successfully() and len(labeled) == 65 and want < set(labeled), info

# Several wishes at once: as many of each class as there are classes, among
# those that are not all too certain, and different from one another.
limit = ({"type": "SCORES", "task": "clothing", "score": "uncertainty_margin"},
         {"type": "THRESHOLD", "threshold": 0.01, "operation": "BIGGER"})
classes = ({"type": "PREDICTIONS", "task": "clothing", "name": "CLASS_DISTRIBUTION"},
           {"type": "BALANCE", "target": {"class 1": 0.5, "class 2": 0.5}})
before = set(labeled)
info, [labeled], _ = run(6, limit, classes, diversity)
assert info.ended_successfully() and len(labeled) == 71, info
new = [names.index(n) for n in set(labeled) - before]
assert all(uncertainty[i] > 0.01 for i in new), uncertainty[new]

# What does not exist here is refused in words.
refused = {}
for name, strategy in {
    "balance": ({"type": "METADATA", "key": "weather.scenario"}, {"type": "BALANCE", "target": {"rainy": 0.5, "cloudy": 0.5}}),
    "nonsense": ({"type": "EMBEDDINGS"}, {"type": "NO_SUCH_STRATEGY"}),
}.items():
    try:
        info, tags, _ = run(10, strategy)
        assert not info.ended_successfully() and tags == [], (name, info)
        refused[name] = info.message
    except ApiException as e:
        assert 400 <= e.status < 500, e
        refused[name] = e.body
    assert refused[name], name
assert "NO_SUCH_STRATEGY" in refused["nonsense"], refused

print(json.dumps({"refused": refused}))
