"""Makes the files of other ecosystems in this folder, each with its own
library: python make_formats.py, with

    pip install numpy==2.4.6 pyarrow==26.0.1 datasets==5.2.0 safetensors==0.8.0 pycocotools==2.0.11

They hold the numbers and names of make.py.
"""
import json
import os
import datasets
import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
import pyarrow as pa
import pyarrow.parquet as pq
import safetensors.numpy
from safetensors import TensorSpec, serialize_file

os.chdir(os.path.dirname(os.path.abspath(__file__)))
names = ["a.jpg", "sub/b.jpg", "Größe 42/ü.png", "c,d.jpg", 'e"f.jpg']
emb = (np.arange(15, dtype=np.float32).reshape(5, 3) / 8 - 0.5)
probs = np.array([[0.5, 0.25, 0.25], [1, 0, 0], [0.125, 0.75, 0.125], [0.0625, 0.0625, 0.875], [0.25, 0.5, 0.25]], np.float32)


def lists(m, dtype, fixed=False):
    flat = pa.array(m.astype(dtype).ravel())
    if fixed:
        return pa.FixedSizeListArray.from_arrays(flat, m.shape[1])
    return pa.ListArray.from_arrays(pa.array(np.arange(0, m.size + 1, m.shape[1]), pa.int32()), flat)


def parquet(name, columns, **how):
    pq.write_table(pa.table(columns), name, **how)


# Parquet: element types, lists, encodings, compressions, pages, row groups
for dtype in ["f2", "f4", "f8"]:
    parquet("emb_list_%s.parquet" % dtype, {"filename": names, "embedding": lists(emb, dtype)})
parquet("emb_fixed.parquet", {"filename": names, "embedding": lists(emb, "f4", True), "label": [0, 1, 2, 3, 4]}, compression="zstd")
parquet("emb_large.parquet", {"filename": pa.array(names, pa.large_string()), "features": lists(emb, "f4").cast(pa.large_list(pa.float32()))},
        compression="gzip", data_page_version="2.0")
parquet("emb_groups.parquet", {"filename": names, "embedding": lists(emb, "f4")}, row_group_size=2, compression="none", use_dictionary=False,
        data_page_size=8, write_page_checksum=True)
parquet("emb_split.parquet", {"filename": names, "embedding": lists(emb, "f8")}, use_dictionary=["filename"],
        column_encoding={"embedding.list.element": "BYTE_STREAM_SPLIT"})
parquet("emb_columns.parquet", {"filename": names, **{"embedding_%d" % i: emb[:, i] for i in range(3)}, "label": [1, 1, 0, 0, 1]}, row_group_size=2)
parquet("emb_unnamed.parquet", {"vectors": lists(emb, "f4")})
parquet("probs_list.parquet", {"filename": names, "probs": lists(probs, "f4"), "embedding": lists(emb, "f4")}, row_group_size=3)
parquet("probs_columns.parquet", {"filename": names, **{"prob_%d" % i: probs[:, i].astype("f8") for i in range(3)}})
parquet("names_dictionary.parquet", {"filename": pa.array(names).dictionary_encode(), "label": names})
parquet("null.parquet", {"filename": names, "embedding": pa.array([[1.0, 2.0], None, [3.0, 4.0], [1.0, 1.0], [None, 2.0]])})
parquet("ragged.parquet", {"filename": names, "embedding": pa.array([[1.0, 2.0], [3.0], [3.0, 4.0, 5.0], [1.0, 1.0], [2.0, 2.0]])})
parquet("lz4.parquet", {"filename": names, "embedding": lists(emb, "f4")}, compression="lz4")
parquet("both.parquet", {"filename": names, "probs": lists(probs, "f4"), "logits": lists(probs, "f4")})
parquet("score.parquet", {"filename": names, "p": probs[:, 0], "score": probs[:, 1]})

# Hugging Face: an image, whose path is the filename, a class label, and the model's output
features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog", "car"]),
                              "logits": datasets.List(datasets.Value("float32"), length=3)})
table = pa.table({"image": pa.array([{"bytes": b"", "path": n} for n in names], pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
                  "label": pa.array([0, 1, 2, 0, 1], pa.int64()), "logits": lists(probs, "f4", True)})
datasets.Dataset(table.replace_schema_metadata(features.arrow_schema.metadata), info=datasets.DatasetInfo(features=features)).to_parquet("huggingface.parquet")

# safetensors
about = {"filenames": json.dumps(names)}
safetensors.numpy.save_file({"embeddings": emb, "labels": np.arange(5)}, "emb_f4.safetensors", about)
safetensors.numpy.save_file({"embeddings": emb.astype("f2")}, "emb_f2.safetensors", about)
safetensors.numpy.save_file({"embeddings": emb.astype("f8")}, "emb_f8.safetensors")
bfloat = (emb.view("u4") >> 16).astype("u2")  # exact: three bits are enough
spec = TensorSpec(dtype="bfloat16", shape=[5, 3], data_ptr=bfloat.ctypes.data, data_len=bfloat.nbytes)
serialize_file({"embeddings": spec}, "emb_bf16.safetensors", about)
safetensors.numpy.save_file({"probs": probs, "embeddings": emb}, "probs.safetensors", about)
safetensors.numpy.save_file({"probs": probs, "logits": probs}, "both.safetensors")


def dump(path, value):
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path, "w", encoding="utf-8") as f:
        json.dump(value, f)


# COCO: a data set and results, as its own evaluation takes them
images = [{"id": 139, "file_name": "a.jpg", "width": 640, "height": 480}, {"id": 7, "file_name": "sub/000007.jpg", "width": 640, "height": 480},
          {"id": 285, "file_name": "z.jpg", "width": 640, "height": 480}]
categories = [{"id": 1, "name": "cat"}, {"id": 4, "name": "dog", "keypoints": ["nose", "tail"], "skeleton": []}, {"id": 9, "name": "car"}]
truth = [{"id": 1, "image_id": 7, "category_id": 1, "bbox": [0, 0, 5, 5], "area": 25, "iscrowd": 0}]
boxes = [{"image_id": 285, "category_id": 4, "bbox": [1, 1, 1, 1], "score": 0.5},
         {"image_id": 139, "category_id": 9, "bbox": [10, 20, 30.5, 40], "score": 0.5},
         {"image_id": 139, "category_id": 1, "bbox": [0, 0, 1, 0], "score": 0.75}]
points = [{"image_id": 285, "category_id": 4, "keypoints": [1, 2, 0.5], "score": 0.5},
          {"image_id": 285, "category_id": 4, "keypoints": [1, 2, 1, 3, 4, 0.5], "score": 0.5}]
data = {"info": {}, "licenses": [], "annotations": truth, "images": images, "categories": categories}
dump("coco/instances_val.json", data)
dump("coco/results.bbox.json", boxes)
dump("coco_keypoints/images.json", data)
dump("coco_keypoints/results.json", points)
loaded = COCO("coco/instances_val.json").loadRes("coco/results.bbox.json")
assert len(loaded.getAnnIds(imgIds=[139])) == 2 and not loaded.getAnnIds(imgIds=[7])
dump("coco_one.json", {**data, "annotations": boxes})

# masks instead of boxes: run lengths as pycocotools packs them, and as they are
def mask(x, y, width, height, packed):
    m = np.zeros((480, 640), np.uint8, order="F")
    m[y:y + height, x:x + width] = 1
    if packed:
        rle = coco_mask.encode(m)
        return {"size": rle["size"], "counts": rle["counts"].decode("ascii")}
    return {"size": [480, 640], "counts": [x * 480 + y] + [height, 480 - height] * (width - 1) + [height, (640 - x - width) * 480 + 480 - y - height]}


assert (coco_mask.decode(coco_mask.frPyObjects(mask(3, 4, 5, 6, False), 480, 640)) == coco_mask.decode(mask(3, 4, 5, 6, True))).all()
segments = [{"image_id": 285, "category_id": 4, "segmentation": mask(1, 1, 1, 1, False), "score": 0.5},
            {"image_id": 139, "category_id": 9, "segmentation": mask(10, 20, 30, 40, True), "score": 0.5},
            {"image_id": 139, "category_id": 1, "segmentation": mask(0, 0, 1, 2, True), "score": 0.75}]
dump("coco_segments/instances_val.json", data)
dump("coco_segments/results.segm.json", segments)
assert len(COCO("coco_segments/instances_val.json").loadRes(segments[1:]).getAnnIds(imgIds=[139])) == 2  # it takes packed ones only

# Hugging Face's image-classification pipeline with top_k=None: classes with scores, best first
rows = [sorted(({"label": c, "score": float(v)} for c, v in zip(["cat", "dog", "car"], row)), key=lambda r: -r["score"]) for row in probs]
dump("pipeline.json", rows)
with open("pipeline.jsonl", "w", encoding="utf-8") as f:
    f.writelines(json.dumps({"filename": n, "probabilities": row}) + "\n" for n, row in zip(names, rows))
