"""The first selection of Lightly's active-learning page: page_first.py DATASET TOKEN.

Its calls as they stand there, but for id, token, the module paths on which its
imports do not work on any release, and the name of the configuration, which it
spells in two ways.
"""

import json
import sys

import lightly

if lightly.__version__ == "1.1.5":
    from lightly.api.api_workflow_client import ApiWorkflowClient
else:
    from lightly.api import ApiWorkflowClient
from lightly.active_learning.agents import ActiveLearningAgent
try:
    from lightly.active_learning.config import SamplerConfig
except ImportError:  # its name from 1.2.14 on
    from lightly.active_learning.config import SelectionConfig as SamplerConfig
from lightly.openapi_generated.swagger_client import SamplingMethod

dataset_id, token = sys.argv[1:]

api_client = ApiWorkflowClient(dataset_id=dataset_id, token=token)
al_agent = ActiveLearningAgent(api_client)

# an initial selection of 100 images
config = SamplerConfig(n_samples=100, method=SamplingMethod.CORESET, name='initial-selection')
initial_selection = al_agent.query(config)

if lightly.__version__ != "1.1.5":  # from 1.1.7 on, query returns nothing
    assert initial_selection is None
    initial_selection = al_agent.labeled_set
    assert al_agent.added_set == initial_selection
assert len(initial_selection) == 100
print(json.dumps({"labeled": initial_selection}))
