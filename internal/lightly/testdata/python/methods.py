"""What else the agent does, on every release: methods.py DATASET TOKEN FOLDER.

Prints each tag that it made with the filenames that the client sees in it.
"""

import json
import sys
import warnings

import numpy as np
from model import detect, predict

import lightly
from lightly.active_learning.agents import ActiveLearningAgent
from lightly.active_learning.scorers import ScorerClassification, ScorerObjectDetection
from lightly.active_learning.utils.bounding_box import BoundingBox
from lightly.active_learning.utils.object_detection_output import ObjectDetectionOutput
from lightly.api.api_workflow_client import ApiWorkflowClient
from lightly.openapi_generated.swagger_client import SamplingMethod

try:
    from lightly.active_learning.config import SamplerConfig
except ImportError:
    from lightly.active_learning.config import SelectionConfig as SamplerConfig

dataset_id, token, folder = sys.argv[1:]
original = lightly.__version__ == "1.1.5"  # the semantics of the original page
client = ApiWorkflowClient(dataset_id=dataset_id, token=token)
made = []


def query(agent, name, n, method, scorer=None, **more):
    before = list(agent.labeled_set)
    agent.query(SamplerConfig(name=name, n_samples=n, method=method, **more), *([scorer] if scorer else []))
    labeled = list(agent.labeled_set)
    assert set(before) <= set(labeled), name
    made.append({"tag": name, "labeled": labeled})
    return [f for f in labeled if f not in set(before)]


def scores(scorer):
    return scorer._calculate_scores() if original else scorer.calculate_scores()


def pool(agent):
    """The filenames that scores follow."""
    return agent.unlabeled_set if original else agent.query_set


def best(agent, values, n):
    """The n samples of the pool that are not labeled yet and score highest."""
    ranked = sorted((-v, f) for f, v in zip(pool(agent), values) if f in set(agent.unlabeled_set))
    assert ranked[n - 1][0] < ranked[n][0], "a tie decides"
    return {f for _, f in ranked[:n]}


everything = client.get_filenames() if hasattr(client, "get_filenames") else client.filenames_on_server

# Random, and once more with as many as there are: nothing is added.
agent = ActiveLearningAgent(client)
assert len(query(agent, "random", 40, SamplingMethod.RANDOM)) == 40
assert query(agent, "random-again", 40, SamplingMethod.RANDOM) == []

# Fewer than there are: the client warns and asks for nothing.
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    agent.query(SamplerConfig(name="fewer", n_samples=30, method=SamplingMethod.RANDOM))
assert any("smaller" in str(w.message) for w in caught), caught

# The highest scores of a classifier. The server cannot know which kind of
# score is meant; margin comes first.
scorer = ScorerClassification(predict(folder, pool(agent)))
margin = scores(scorer)["prediction-margin" if original else "uncertainty_margin"]
want = best(agent, margin, 15)
assert set(query(agent, "by-margin", 55, SamplingMethod.ACTIVE_LEARNING, scorer)) == want

# One agent on: its labeled set is the tag that it has just made.
scorer = ScorerClassification(predict(folder, pool(agent)))
assert len(query(agent, "coral", 70, SamplingMethod.CORAL, scorer)) == 15

# The detection scorer, on a labeled set made by another process.
agent = ActiveLearningAgent(client, preselected_tag_name="random")
outputs = [
    ObjectDetectionOutput([BoundingBox(*b) for b in o["boxes"]], o["object_probabilities"], o["class_probabilities"])
    for o in detect(folder, pool(agent))
]
scorer = ScorerObjectDetection(outputs)
assert len(scores(scorer)) > 1
query(agent, "objects", 60, SamplingMethod.CORAL, scorer)
assert len(agent.labeled_set) == 60

# Only what the query tag holds is chosen.
agent = ActiveLearningAgent(client, query_tag_name="coral", preselected_tag_name="random")
assert len(pool(agent)) == (30 if original else 70)
added = query(agent, "within", 50, SamplingMethod.CORESET)
assert len(added) == 10 and set(added) <= set(made[3]["labeled"])
if not original:
    assert agent.added_set == added
    # Scores uploaded by themselves are there for a later query.
    scorer = ScorerClassification(predict(folder, agent.query_set))
    want = best(agent, scores(scorer)["uncertainty_margin"], 5)
    agent.upload_scores(scorer)
    assert set(query(agent, "uploaded-before", 55, SamplingMethod.ACTIVE_LEARNING)) == want

# No two samples nearer than that, however many: only the client itself can ask.
config = SamplerConfig(name="apart", n_samples=-1, min_distance=2.0, method=SamplingMethod.CORESET)
tag = client.sampling(config)
apart = bin(int(tag.bit_mask_data, 16)).count("1")
assert 1 < apart < len(everything), apart

# A name that is taken.
try:
    query(ActiveLearningAgent(client), "coral", 5, SamplingMethod.RANDOM)
    raise SystemExit("a tag was made twice")
except RuntimeError as e:
    assert "already exists" in str(e), e

# Without a name there is one of method, number, distance and time.
agent = ActiveLearningAgent(client)
config = SamplerConfig(n_samples=8)
agent.query(config)
made.append({"tag": config.name, "labeled": list(agent.labeled_set)})
assert config.name.startswith("CORESET_8_-1_") and len(agent.labeled_set) == 8

print(json.dumps({"made": made, "apart": apart, "samples": len(everything)}))
