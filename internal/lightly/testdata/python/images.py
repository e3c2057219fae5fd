"""Files there and back, on every release: images.py DATASET TOKEN FOLDER MORE EMBEDDINGS OUT.

MORE is FOLDER with a few images beside, EMBEDDINGS has a row for each of MORE.
"""

import csv
import json
import sys
import warnings
from pathlib import Path

import numpy as np
from PIL import Image

import lightly
from lightly.active_learning.agents import ActiveLearningAgent
from lightly.api.api_workflow_client import ApiWorkflowClient
from lightly.openapi_generated.swagger_client import SamplingMethod

try:
    from lightly.active_learning.config import SamplerConfig
except ImportError:
    from lightly.active_learning.config import SelectionConfig as SamplerConfig

dataset_id, token, folder, more, embeddings, out = sys.argv[1:]
original, last = lightly.__version__ == "1.1.5", lightly.__version__ == "1.2.37"
client = ApiWorkflowClient(dataset_id=dataset_id, token=token)
before = sorted(p.name for p in Path(folder).iterdir())
new = sorted(p.name for p in Path(more).iterdir() if p.name not in before)


def filenames():
    c = ApiWorkflowClient(dataset_id=dataset_id, token=token)  # the old one remembers
    return c.get_filenames() if last else c.filenames_on_server


# The images of a tag come back as they were sent.
agent = ActiveLearningAgent(client)
agent.query(SamplerConfig(name="to-annotate", n_samples=10, method=SamplingMethod.CORESET))
Path(f"{out}/tag").mkdir()  # 1.2.37 would make it from eight threads, of which seven can fail
client.download_dataset(output_dir=f"{out}/tag", tag_name="to-annotate")
assert sorted(p.name for p in Path(f"{out}/tag").iterdir()) == sorted(agent.labeled_set)
for name in agent.labeled_set:
    assert (np.asarray(Image.open(f"{out}/tag/{name}").convert("L")) == np.asarray(Image.open(f"{folder}/{name}").convert("L"))).all(), name

assert sorted(filenames()) == before
if original:  # what has a tag is complete
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        client.upload_dataset(input=more)
    assert any("Skipping upload" in str(w.message) for w in caught), caught
    client.upload_embeddings(path_to_embeddings_csv=embeddings, name="default")  # prints that it is there
    assert sorted(filenames()) == before
else:
    order = filenames()
    list_tags = client.get_all_tags if last else client._get_all_tags
    known = {t.name for t in list_tags()}
    client.upload_dataset(input=more, mode="full")
    assert filenames()[:len(before)] == order and sorted(filenames()[len(before):]) == new
    tags = {t.name: t for t in list_tags()}
    bits = {name: bin(int(t.bit_mask_data, 16)).count("1") for name, t in tags.items()}
    assert bits["initial-tag"] == len(before) + len(new) and bits["to-annotate"] == 10, bits
    assert [n for name, n in bits.items() if name not in known] == [len(new)], bits  # the new ones, named by the time
    assert {t.tot_size for t in tags.values()} == {len(before) + len(new)}

    # Vectors of the new images; those of the old ones are fetched and merged.
    with open(embeddings) as f:
        header, *rows = csv.reader(f)
    with open(f"{out}/new.csv", "w") as f:
        csv.writer(f).writerows([header] + [r for r in rows if r[0] in new])
    if last:
        client.upload_embeddings(path_to_embeddings_csv=f"{out}/new.csv", name="default")
    else:
        client.set_embedding_id_by_name("default")
        client.append_embeddings(f"{out}/new.csv", client.embedding_id)
        client.upload_embeddings(path_to_embeddings_csv=f"{out}/new.csv", name="default-2")
    listed = (client._embeddings_api if last else client.embeddings_api).get_embeddings_by_dataset_id(dataset_id)
    assert len(listed) == 2 and all(e.is_processed for e in listed), listed
    agent = ActiveLearningAgent(client, preselected_tag_name="to-annotate")
    agent.query(SamplerConfig(name="all", n_samples=len(before) + len(new), method=SamplingMethod.CORESET))
    assert sorted(agent.labeled_set) == sorted(before + new)

    # Metadata of the user's own.
    client.upload_custom_metadata({
        "images": [{"id": i, "file_name": name} for i, name in enumerate(before + new)],
        "metadata": [{"image_id": i, "weather": {"scenario": "rainy" if i % 2 else "cloudy", "temperature": i / 2}}
                     for i in range(len(before + new))],
    })
    api = client._samples_api if last else client.samples_api
    samples = {s.file_name: s for s in api.get_samples_by_dataset_id(dataset_id)}
    assert len(samples) == len(before + new)
    for i, name in enumerate(before + new):
        custom = samples[name].custom_meta_data
        assert custom["image_id"] == i and custom["weather"]["temperature"] == i / 2, custom

print(json.dumps({"samples": len(filenames())}))
