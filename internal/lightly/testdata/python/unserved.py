"""The calls of 1.2.37 that this server does not serve: unserved.py DATASET TOKEN OUT.

Prints the status that each one gets. Sharing is a matter of Lightly's user
accounts, datasources are buckets that Lightly's own worker would read.
"""

import json
import sys

from lightly.api import ApiWorkflowClient
from lightly.api.api_workflow_compute_worker import ArtifactNotExist
from lightly.openapi_generated.swagger_client.rest import ApiException

dataset_id, token, out = sys.argv[1:]
client = ApiWorkflowClient(dataset_id=dataset_id, token=token)
tag = client.get_all_tags()[-1]
run = client.get_compute_worker_runs(dataset_id=dataset_id)[0]


def status(call):
    try:
        return f"served: {call()}"[:100]
    except ApiException as e:
        assert json.loads(e.body)["message"], e.body
        return str(e.status)
    except ArtifactNotExist:
        return "no such artifact"


print(json.dumps({
    "set_s3_config": status(lambda: client.set_s3_config("s3://bucket/path", "eu-1", "key", "secret")),
    "set_s3_delegated_access_config": status(lambda: client.set_s3_delegated_access_config("s3://bucket/path", "eu-1", "arn", "0" * 10)),
    "set_gcs_config": status(lambda: client.set_gcs_config("gs://bucket/path", "project", "{}")),
    "set_azure_config": status(lambda: client.set_azure_config("container/path", "account", "key")),
    "set_local_config": status(lambda: client.set_local_config("path")),
    "get_datasource": status(client.get_datasource),
    "download_raw_samples": status(client.download_raw_samples),
    "download_new_raw_samples": status(client.download_new_raw_samples),
    "download_raw_predictions": status(lambda: client.download_raw_predictions("task")),
    "download_raw_metadata": status(client.download_raw_metadata),
    "get_processed_until_timestamp": status(client.get_processed_until_timestamp),
    "update_processed_until_timestamp": status(lambda: client.update_processed_until_timestamp(1)),
    "get_prediction_read_url": status(lambda: client.get_prediction_read_url("task/image.json")),
    "get_metadata_read_url": status(lambda: client.get_metadata_read_url("image.json")),
    "share_dataset_only_with": status(lambda: client.share_dataset_only_with(dataset_id, ["ada@example.com"])),
    "get_shared_users": status(lambda: client.get_shared_users(dataset_id)),
    "download_compute_worker_run_report_pdf": status(lambda: client.download_compute_worker_run_report_pdf(run, f"{out}/report.pdf")),
    "download_compute_worker_run_report_json": status(lambda: client.download_compute_worker_run_report_json(run, f"{out}/report.json")),
    "download_compute_worker_run_checkpoint": status(lambda: client.download_compute_worker_run_checkpoint(run, f"{out}/checkpoint")),
    "download_compute_worker_run_log": status(lambda: client.download_compute_worker_run_log(run, f"{out}/log")),
    "download_compute_worker_run_memory_log": status(lambda: client.download_compute_worker_run_memory_log(run, f"{out}/memory.log")),
    "update_dataset_by_id": status(lambda: client._datasets_api.update_dataset_by_id({"name": "another"}, dataset_id)),
    "update_tag_by_tag_id": status(lambda: client._tags_api.update_tag_by_tag_id({"name": "another"}, dataset_id, tag.id)),
    "export_tag_to_sama_tasks": status(lambda: client._tags_api.export_tag_to_sama_tasks(dataset_id, tag.id)),
    "download_zip_of_samples_by_tag_id": status(lambda: client._tags_api.download_zip_of_samples_by_tag_id(dataset_id, tag.id)),
}))
