"""Brings a folder of images to the server, as every release does: upload.py TOKEN NAME FOLDER EMBEDDINGS MODE."""

import json
import sys

from lightly.api.api_workflow_client import ApiWorkflowClient

token, name, folder, embeddings, mode = sys.argv[1:]

client = ApiWorkflowClient(token=token)
client.create_dataset(dataset_name=name)
client.upload_dataset(input=folder, mode=mode)
client.upload_embeddings(path_to_embeddings_csv=embeddings, name="default")

print(json.dumps({"dataset": client.dataset_id}))
