"""The next selection of the page, in a new process: page_next.py DATASET TOKEN FOLDER.

The original page's words, for releases whose scores follow the unlabeled set
and whose query returns the labeled set: up to 1.1.5.
"""

import json
import sys

from model import predict

from lightly.api.api_workflow_client import ApiWorkflowClient
from lightly.active_learning.agents import ActiveLearningAgent
from lightly.active_learning.config import SamplerConfig
from lightly.openapi_generated.swagger_client import SamplingMethod

dataset_id, token, folder = sys.argv[1:]

# client and agent anew
api_client = ApiWorkflowClient(dataset_id=dataset_id, token=token)
al_agent = ActiveLearningAgent(api_client, preselected_tag_name='initial-selection')

# the filenames of the unlabeled set
unlabeled_set = al_agent.unlabeled_set

predictions = predict(folder, unlabeled_set)

from lightly.active_learning.scorers import ScorerClassification

scorer = ScorerClassification(predictions)

# 200 images in total after this iteration
config = SamplerConfig(n_samples=200, method=SamplingMethod.CORAL, name='al-iteration-1')
al_iteration_1 = al_agent.query(config, scorer)

assert len(al_iteration_1) == 200

print(json.dumps({"unlabeled": unlabeled_set, "labeled": al_iteration_1}))
