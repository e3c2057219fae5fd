"""What a server has to refuse, as every release sees it: refused.py DATASET TOKEN."""

import json
import sys

from lightly.api.api_workflow_client import ApiWorkflowClient
from lightly.active_learning.agents import ActiveLearningAgent
from lightly.openapi_generated.swagger_client.rest import ApiException

dataset_id, token = sys.argv[1:]


def status(call):
    try:
        call()
    except ApiException as e:
        assert json.loads(e.body)["message"], e.body
        return e.status
    return 200


def mapping(dataset, token):
    client = ApiWorkflowClient(dataset_id=dataset, token=token)
    api = client._mappings_api if hasattr(client, "_mappings_api") else client.mappings_api
    return api.get_sample_mappings_by_dataset_id(dataset_id=dataset, field="fileName")


print(json.dumps({
    "right": status(lambda: mapping(dataset_id, token)),
    "wrong token": status(lambda: mapping(dataset_id, "wrong")),
    "no token": status(lambda: mapping(dataset_id, "")),
    "unknown dataset": status(lambda: mapping("0" * 24, token)),
    "path": status(lambda: mapping("../../etc/passwd", token)),
}))
