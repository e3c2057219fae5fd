"""One query of 1.2.37 and the tags after it: query.py DATASET TOKEN FOLDER NAME N METHOD [PRESELECTED]."""

import json
import sys

from model import predict

from lightly.active_learning.agents import ActiveLearningAgent
from lightly.active_learning.config import SelectionConfig
from lightly.active_learning.scorers import ScorerClassification
from lightly.api import ApiWorkflowClient

dataset_id, token, folder, name, n, method, *preselected = sys.argv[1:]
client = ApiWorkflowClient(dataset_id=dataset_id, token=token)
agent = ActiveLearningAgent(client, preselected_tag_name=preselected[0] if preselected else None)
scorer = ScorerClassification(predict(folder, agent.query_set)) if method == "CORAL" else None
agent.query(SelectionConfig(name=name, n_samples=int(n), method=method), scorer)

names = client.get_filenames()
tags = client.get_all_tags()
by_id = {t.id: t.name for t in tags}
print(json.dumps({
    "labeled": agent.labeled_set,
    "added": agent.added_set,
    "tags": [{
        "name": t.name, "samples": client.get_filenames_in_tag(t, names), "previous": by_id.get(t.prev_tag_id, ""), "total": t.tot_size,
    } for t in tags],
}))
