"""Tags and exports of 1.2.37: exports.py DATASET TOKEN FOLDER."""

import json
import sys
from urllib.request import urlopen

from lightly.api import ApiWorkflowClient
from lightly.openapi_generated.swagger_client.models.configuration_entry import ConfigurationEntry

dataset_id, token, folder = sys.argv[1:]
client = ApiWorkflowClient(dataset_id=dataset_id, token=token)
names = client.get_filenames()
assert client.dataset_exists(dataset_id) and not client.dataset_exists("no such id")
name = client.get_dataset_by_id(dataset_id).name
assert client.dataset_name_exists(name) and not client.dataset_name_exists("nothing by this name")
assert [d.id for d in client.get_datasets_by_name(name)] == [dataset_id]
assert dataset_id in [d.id for d in client.get_datasets()]

# Tags from filenames, what is in them, without their parent, and away again.
chosen = names[3:40:4]
tag = client.create_tag_from_filenames(fnames_new_tag=chosen, new_tag_name="by-hand")
assert client.get_filenames_in_tag(client.get_tag_by_name("by-hand")) == chosen
child = client.create_tag_from_filenames(fnames_new_tag=names[:12], new_tag_name="by-hand-2", parent_tag_id=tag.id)
outside = client.get_filenames_in_tag(client.get_tag_by_id(child.id), exclude_parent_tag=True)
assert outside == [n for n in names[:12] if n not in chosen], outside
client.delete_tag_by_name("by-hand-2")
assert "by-hand-2" not in [t.name for t in client.get_all_tags()]

# The three exports, in the order of the rows; the URLs need no token.
assert client.export_filenames_by_tag_name("by-hand").split("\n") == chosen
tasks = client.export_label_studio_tasks_by_tag_name("by-hand")
tasks = [t if isinstance(t, dict) else t.to_dict() for t in tasks]
assert len(tasks) == len(chosen) and len({t["id"] for t in tasks}) == len(tasks)
rows = client.export_label_box_data_rows_by_tag_name("by-hand")
rows = [r if isinstance(r, dict) else r.to_dict() for r in rows]
pairs = client.export_filenames_and_read_urls_by_tag_name("by-hand")
pairs = [p if isinstance(p, dict) else p.to_dict() for p in pairs]


def field(o, *names):
    return next(o[n] for n in names if n in o)


for want, task, row, pair in zip(chosen, tasks, rows, pairs):
    with open(f"{folder}/{want}", "rb") as f:
        image = f.read()
    data = task["data"]
    assert field(data, "lightly_file_name", "lightlyFileName") == want, task
    assert field(row, "external_id", "externalId") == want, row
    assert field(pair, "file_name", "fileName") == want, pair
    for url in (data["image"], field(row, "image_url", "imageUrl"), field(pair, "read_url", "readUrl")):
        assert token not in url
        with urlopen(url) as response:
            assert response.read() == image, url
assert len(rows) == len(pairs) == len(chosen)

# Which of the metadata may be shown.
entry = ConfigurationEntry(name="Weather", path="weather.scenario", default_value="unknown", value_data_type="CATEGORICAL_STRING")
made = client.create_custom_metadata_config("Shown", [entry])
listed = client._metadata_configurations_api.get_meta_data_configurations(dataset_id=dataset_id)
assert [c.id for c in listed] == [made.id] and listed[0].configs[0].path == "weather.scenario", listed

# A dataset of its own, listed by the page, and deleted.
client.create_new_dataset_with_unique_name(name, dataset_type="Images")
second = client.dataset_id
assert second != dataset_id and {dataset_id, second} <= {d.id for d in client.get_all_datasets()}
client.delete_dataset_by_id(second)
assert not ApiWorkflowClient(token=token).dataset_exists(second)

print(json.dumps({"chosen": chosen}))
