"""Writes a file per format with its own library, and times that library
reading it into numpy: python theirs.py FOLDER ROWS. Prints a line of JSON per
format; what was read is beside the file as float64, row by row."""
import contextlib
import io
import json
import os
import sys
import time
import datasets
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import safetensors.numpy
from pycocotools.coco import COCO

folder, rows, dim, classes = sys.argv[1], int(sys.argv[2]), 128, 10
datasets.disable_progress_bars()
rng = np.random.default_rng(0)
names = ["images/%07d.jpg" % i for i in range(rows)]
few = names[:rows // 10]  # where each is a file
emb = rng.normal(size=(rows, dim)).astype("float32")
probs = rng.dirichlet(np.ones(classes), rows).astype("float32")
scores = np.round(rng.random(rows), 5)


def path(name):
    return os.path.join(folder, name)


def fixed(m):
    return pa.FixedSizeListArray.from_arrays(pa.array(m.ravel()), m.shape[1])


def listed(table, column, dtype="float32"):
    return table[column].combine_chunks().values.to_numpy().reshape(rows, -1), table["filename"].to_pylist()


def columns(table, names):
    return np.stack([table[n].to_numpy() for n in names], 1), table["filename"].to_pylist()


def npz(name="emb.npz"):
    with np.load(path(name)) as z:
        return z["embeddings"], z["filenames"].tolist()


def tensors():
    with safetensors.safe_open(path("emb.safetensors"), "np") as f:
        return f.get_tensor("embeddings"), json.loads(f.metadata()["filenames"])


def hugging_face():
    d = datasets.Dataset.from_parquet(path("hf.parquet"), cache_dir=path("cache"), keep_in_memory=True)
    return np.asarray(d.with_format("numpy")["logits"][:]), d["filename"][:]


def coco():
    with contextlib.redirect_stdout(io.StringIO()):
        found = COCO(path("coco/images.json")).loadRes(path("coco/results.json"))
    return np.array([a["score"] for i in found.getImgIds() for a in found.imgToAnns[i]]), [found.imgs[i]["file_name"] for i in found.getImgIds()]


def lines():
    with open(path("probs.jsonl"), encoding="utf-8") as f:
        found = [json.loads(line) for line in f]
    return np.array([r["probabilities"] for r in found]), [r["filename"] for r in found]


def tree():
    values, found = [], []
    for p in sorted(os.listdir(path("tree"))):
        if p != "schema.json":
            with open(path("tree/" + p)) as f:
                image = json.load(f)
            values.append(image["predictions"][0]["probabilities"])
            found.append(image["file_name"])
    return np.array(values), found


def txt():
    """As Ultralytics reads the labels of an image."""
    values = []
    for n in few:
        file = path("ultralytics/%s.txt" % n[7:-4])
        if os.path.isfile(file):
            with open(file, encoding="utf-8") as f:
                lines_ = [line.split() for line in f.read().strip().splitlines() if line]
            values.append(np.array(lines_, "float64")[:, 5])
    return np.concatenate(values), few


def fiftyone():
    with open(path("fiftyone/labels.json")) as f:
        found = json.load(f)["labels"]
    return np.array([d["confidence"] for all_ in found.values() for d in all_]), [k + ".jpg" for k in found]


def dump(name, value):
    os.makedirs(os.path.dirname(path(name)), exist_ok=True)
    with open(path(name), "w") as f:
        json.dump(value, f)


def write_folders():
    dump("tree/schema.json", {"task_type": "classification", "categories": [{"id": i} for i in range(classes)]})
    dump("ultralytics/images.json", few)
    for i, n in enumerate(few):
        dump("tree/%s.json" % n[7:-4], {"file_name": n, "predictions": [{"category_id": 0, "probabilities": probs[i].tolist()}]})
        if i % 10 == 0:
            with open(path("ultralytics/%s.txt" % n[7:-4]), "w") as f:
                f.writelines("%d 0.5 0.5 0.25 0.25 %g\n" % (k % 2, s) for k, s in enumerate(scores[i:i + 10]))
    dump("fiftyone/labels.json", {"classes": ["x", "y"], "labels": {n[:-4]: [
        {"label": k % 2, "bounding_box": [0.1, 0.2, 0.3, 0.4], "confidence": float(s)} for k, s in enumerate(scores[i:i + 10])] if i % 10 == 0 else []
        for i, n in enumerate(names)}})
    for n in names:
        os.makedirs(os.path.dirname(path("fiftyone/data/" + n)), exist_ok=True)
        open(path("fiftyone/data/" + n), "w").close()


def write():
    np.save(path("emb.npy"), emb)
    np.savez_compressed(path("emb_packed.npz"), embeddings=emb, filenames=np.array(names))
    with open(path("probs.jsonl"), "w", encoding="utf-8") as f:
        f.writelines(json.dumps({"filename": n, "probabilities": p.tolist()}) + "\n" for n, p in zip(names, probs))
    write_folders()
    np.savez(path("emb.npz"), embeddings=emb, filenames=np.array(names))
    safetensors.numpy.save_file({"embeddings": emb}, path("emb.safetensors"), {"filenames": json.dumps(names)})
    pq.write_table(pa.table({"filename": names, "embedding": fixed(emb)}), path("emb.parquet"))
    pq.write_table(pa.table({"filename": names, "embedding": fixed(emb.astype("float16"))}), path("half.parquet"), compression="zstd")
    wide = {"p_%d" % i: probs[:, i] for i in range(classes)}
    pq.write_table(pa.table({"filename": names, **wide}), path("columns.parquet"))
    datasets.Dataset.from_dict({"filename": names, "logits": list(probs)}).to_parquet(path("hf.parquet"))
    pyarrow.csv.write_csv(pa.table({"filename": names, **wide}), path("probs.csv"))
    os.makedirs(path("coco"))
    with open(path("coco/images.json"), "w") as f:
        json.dump({"images": [{"id": i, "file_name": n} for i, n in enumerate(names)], "annotations": [], "categories": [{"id": 1}, {"id": 2}]}, f)
    with open(path("coco/results.json"), "w") as f:
        json.dump([{"image_id": i // 10, "category_id": 1 + i % 2, "bbox": [1.5, 2.25, 30, 40], "score": round(float(s), 5)}
                   for i, s in enumerate(rng.random(rows // 10 * 10))], f)


write()
wide = ["p_%d" % i for i in range(classes)]
for file, library, read in [
        ("emb.npy", "numpy", lambda: (np.load(path("emb.npy")), names)),
        ("emb.npz", "numpy", npz),
        ("emb_packed.npz", "numpy", lambda: npz("emb_packed.npz")),
        ("emb.safetensors", "safetensors", tensors),
        ("emb.parquet", "pyarrow", lambda: listed(pq.read_table(path("emb.parquet")), "embedding")),
        ("half.parquet", "pyarrow", lambda: listed(pq.read_table(path("half.parquet")), "embedding")),
        ("columns.parquet", "pyarrow", lambda: columns(pq.read_table(path("columns.parquet")), wide)),
        ("hf.parquet", "datasets", hugging_face),
        ("probs.csv", "pyarrow", lambda: columns(pyarrow.csv.read_csv(path("probs.csv")), wide)),
        ("probs.jsonl", "json", lines),
        ("tree", "json", tree),
        ("coco", "pycocotools", coco),
        ("ultralytics", "numpy, as its own", txt),
        ("fiftyone", "json", fiftyone)]:
    seconds = cpu = float("inf")
    for _ in range(7):
        begin, begin_cpu = time.perf_counter(), time.process_time()
        values, found = read()
        seconds, cpu = min(seconds, time.perf_counter() - begin), min(cpu, time.process_time() - begin_cpu)
    assert found == names[:len(found)] and len(found) in (rows, len(few))
    np.ascontiguousarray(values, "<f8").tofile(path(file + ".f8"))
    print(json.dumps({"file": file, "library": library, "rows": len(found), "seconds": seconds, "cpu": cpu}), flush=True)
