"""Makes what Ultralytics writes, with its own result and validator classes:
python make_ultralytics.py, with ultralytics==8.4.190 and any torch. (PyPI has
torch with CUDA only, some GB; Debian's python3-torch and python3-torchvision
are enough, with numpy<2.)

They hold the numbers and names of make_formats.py.
"""
import json
import os
import shutil
from pathlib import Path
import numpy as np
import torch
from ultralytics.engine.results import Results
from ultralytics.models.yolo.detect import DetectionValidator
from ultralytics.models.yolo.pose import PoseValidator
from ultralytics.models.yolo.segment import SegmentationValidator

os.chdir(os.path.dirname(os.path.abspath(__file__)))
names = {0: "cat", 1: "dog", 2: "zebra crossing"}
images = ["a.jpg", "sub/000007.jpg", "z.jpg"]
height, width = 480, 640
# x0, y0, x1, y1, (track,) confidence, class
boxes = {"a": [[120, 225, 200, 255, 0.5, 2], [48, 36, 80, 60, 0.75, 0]], "z": [[0, 0, 640, 480, 12, 0.5, 1]], "000007": []}


def result(stem, **what):
    return Results(np.zeros((height, width, 3), np.uint8), stem + ".jpg", names, **what)


def folder(name):
    shutil.rmtree(name, ignore_errors=True)
    os.makedirs(name)
    with open(name + "/images.json", "w") as f:
        json.dump(images, f)
    return name + "/%s.txt"


def table(stem):
    return torch.tensor(boxes[stem]).reshape(len(boxes[stem]), -1 if boxes[stem] else 6)


out = folder("ultralytics")
for stem in boxes:
    result(stem, boxes=table(stem)).save_txt(out % stem, save_conf=True)
shutil.rmtree("ultralytics_plain", ignore_errors=True)
os.makedirs("ultralytics_plain")
shutil.copy("ultralytics/images.json", "ultralytics_plain/images.json")
result("a", boxes=table("a")).save_txt("ultralytics_plain/a.txt")

out = folder("ultralytics_segments")
for stem in ["a", "z"]:
    table_ = table(stem)[:, [0, 1, 2, 3, -2, -1]]
    masks = torch.zeros(len(table_), height, width, dtype=torch.uint8)
    for m, b in zip(masks, table_.int()):
        m[b[1] + 1:b[3] - 1, b[0] + 1:b[2] - 1] = 1
        m[b[1] + 1:b[1] + 5, b[0] + 1:b[0] + 9] = 0  # a corner is missing: six points
    result(stem, boxes=table_, masks=masks).save_txt(out % stem, save_conf=True)

out = folder("ultralytics_obb")
for stem in ["a", "z"]:
    b = table(stem)
    turned = torch.stack([(b[:, 0] + b[:, 2]) / 2, (b[:, 1] + b[:, 3]) / 2, b[:, 2] - b[:, 0], b[:, 3] - b[:, 1], b[:, 0] * 0 + 0.25, b[:, -2], b[:, -1]], 1)
    result(stem, obb=turned).save_txt(out % stem, save_conf=True)

out = folder("ultralytics_pose")
points = [[[160, 240, 0.75]], [[160, 240, 1], [320, 240, 0.5]]]  # an image's poses have as many points; two files of one would be rare
for p in points:
    result("z", boxes=torch.tensor([[0, 0, 640, 480, 0.25, 1]]), keypoints=torch.tensor([p])).save_txt(out % "z", save_conf=True)

out = folder("ultralytics_classes")
result("a", probs=torch.tensor([0.5, 0.25, 0.25])).save_txt(out % "a", save_conf=True)


def validate(folder, validator, stem, **what):
    v = validator(save_dir=Path(folder), args={"model": "yolo11n.pt"})
    v.class_map, v.jdict = list(range(80)), []
    b = table(stem)
    if len(b):
        v.pred_to_json({"bboxes": b[:, :4], "conf": b[:, -2], "cls": b[:, -1], **what}, {"im_file": "/data/images/%s.jpg" % stem})
    return v.jdict


def dump(folder, results):
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    with open(folder + "/predictions.json", "w") as f:
        json.dump(results, f)
    with open(folder + "/images.json", "w") as f:
        json.dump({"images": [{"id": i, "file_name": n, "width": width, "height": height} for i, n in enumerate(images)]}, f)


dump("coco_ultralytics", validate("coco_ultralytics", DetectionValidator, "z") + validate("coco_ultralytics", DetectionValidator, "a"))
mask = torch.zeros(2, height, width, dtype=torch.uint8)
mask[:, 10:20, 30:50] = 1
dump("coco_ultralytics_segments", validate("", SegmentationValidator, "a", masks=mask) + validate("", SegmentationValidator, "z", masks=mask[:1]))
dump("coco_ultralytics_pose", validate("", PoseValidator, "z", keypoints=torch.tensor([[[160, 240, 1], [320, 240, 0.5]]])))
shutil.rmtree("runs", ignore_errors=True)
