"""The next selection of the page as it reads from 1.1.7 on: page_next_query_set.py DATASET TOKEN FOLDER.

Scores follow the query set, query returns nothing, and the agent has the sets.
"""

import json
import sys

from model import predict

from lightly.api import ApiWorkflowClient
from lightly.active_learning.agents import ActiveLearningAgent
try:
    from lightly.active_learning.config import SamplerConfig
except ImportError:  # its name from 1.2.14 on
    from lightly.active_learning.config import SelectionConfig as SamplerConfig
from lightly.openapi_generated.swagger_client import SamplingMethod

dataset_id, token, folder = sys.argv[1:]

# client and agent anew
api_client = ApiWorkflowClient(dataset_id=dataset_id, token=token)
al_agent = ActiveLearningAgent(api_client, preselected_tag_name='initial-selection')

# the filenames for which predictions are needed
query_set = al_agent.query_set
unlabeled_set = al_agent.unlabeled_set

predictions = predict(folder, query_set)

from lightly.active_learning.scorers import ScorerClassification

scorer = ScorerClassification(predictions)

# 200 images in total after this iteration
config = SamplerConfig(n_samples=200, method=SamplingMethod.CORAL, name='al-iteration-1')
al_agent.query(config, scorer)

labeled_set = al_agent.labeled_set
added_set = al_agent.added_set
assert len(labeled_set) == 200
assert len(added_set) == 100

print(json.dumps({"query": query_set, "unlabeled": unlabeled_set, "labeled": labeled_set, "added": added_set}))
