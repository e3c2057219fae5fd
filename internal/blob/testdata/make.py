"""Makes the files in this folder, with numpy 2.4.6: python make.py

Every embeddings file holds the same 5 x 3 matrix and every classification file
the same 5 x 3 probabilities, all exact in float16, so that the tests compare
every format with the same numbers.
"""
import csv
import json
import os
import zipfile
import numpy as np

os.chdir(os.path.dirname(os.path.abspath(__file__)))
names = ["a.jpg", "sub/b.jpg", "Größe 42/ü.png", "c,d.jpg", 'e"f.jpg']
emb = (np.arange(15, dtype=np.float32).reshape(5, 3) / 8 - 0.5)
probs = np.array([[0.5, 0.25, 0.25], [1, 0, 0], [0.125, 0.75, 0.125], [0.0625, 0.0625, 0.875], [0.25, 0.5, 0.25]], np.float32)


def lines(name, rows):
    with open(name, "w", newline="\n", encoding="utf-8") as f:
        for row in rows:
            f.write(json.dumps(row) + "\n")


# npy
for dtype in ["<f2", "<f4", "<f8", ">f2", ">f4", ">f8"]:
    np.save("emb_%s.npy" % dtype.replace("<", "le_").replace(">", "be_"), emb.astype(dtype))
np.save("emb_fortran.npy", np.asfortranarray(emb))
np.save("emb_fortran_f8.npy", np.asfortranarray(emb.astype(np.float64)))
with open("emb_v2.npy", "wb") as f:
    np.lib.format.write_array(f, emb, version=(2, 0))
with open("emb_v3.npy", "wb") as f:
    np.lib.format.write_array(f, emb, version=(3, 0))
for dtype in ["|b1", "|u1", "|i1", "<i2", "<u2", "<i4", ">i4", "<u4", "<i8", "<u8"]:
    np.save("onehot_%s.npy" % dtype.strip("|").replace("<", "le_").replace(">", "be_"), np.eye(3).astype(dtype))
np.save("probs.npy", probs)
np.save("probs_f8.npy", probs.astype(np.float64))
np.save("scalar.npy", np.float32(3))
np.save("vector.npy", emb[0])
np.save("cube.npy", emb.reshape(5, 3, 1))
np.save("empty_rows.npy", emb[:0])
np.save("structured.npy", np.zeros(3, dtype=[("a", "<f4"), ("b", "<f4")]))
np.save("complex.npy", np.zeros((3, 3), dtype=np.complex64))
np.save("object.npy", np.array([{"a": 1}, None], dtype=object), allow_pickle=True)
np.save("nan.npy", np.array([[1, 2], [np.nan, 0], [np.inf, 1], [0, -np.inf], [np.nan, np.nan]], np.float32))
np.save("overflow.npy", np.array([[1, 2], [1e300, 0]]))
np.save("names_u.npy", np.array(names))
np.save("names_be.npy", np.array(names).astype(">U14"))
np.save("names_s.npy", np.array([n.encode() for n in names]))

# npz
np.savez("emb.npz", embeddings=emb, filenames=np.array(names))
np.savez_compressed("emb_compressed.npz", features=emb, filenames=np.array(names), labels=np.arange(5))
np.savez("emb_only.npz", emb)
np.savez("probs.npz", probs=probs, filenames=np.array(names))
np.savez_compressed("logits.npz", logits=probs.astype(np.float64), filenames=np.array(names), labels=np.arange(5))
np.savez("both.npz", probs=probs, logits=probs)
np.savez("fewer_names.npz", probs=probs, filenames=np.array(names[:3]))
np.savez("twice.npz", probs=probs, filenames=np.array(["a.jpg", "b.jpg", "a.jpg", "b.jpg", "c.jpg"]))
np.savez("object.npz", probs=probs, filenames=np.array(names, dtype=object))
np.savez("number_names.npz", probs=probs, filenames=np.arange(5))
image = np.repeat(probs[None, :2], 2, axis=0)  # 2 x 2 x 3
wide = np.repeat(probs[None, :], 3, axis=0)  # 3 x 5 x 3
np.savez("seg.npz", **{"a.png": image, "sub/b.png": wide.astype(np.float64), "c.png": np.asfortranarray(wide)})
np.savez_compressed("seg_numbered.npz", *[image[:, :, :] for _ in range(11)], filenames=np.array(["%d.png" % i for i in range(11)]))
np.savez("seg_unnamed.npz", image, wide)
with zipfile.ZipFile("torch.zip", "w") as z:  # what torch.save writes
    z.writestr(zipfile.ZipInfo("archive/data.pkl"), b"\x80\x02}q\x00.")
    z.writestr(zipfile.ZipInfo("archive/version"), b"3\n")

# csv
with open("lightly.csv", "w", newline="", encoding="utf-8") as f:  # as the csv module in text mode did on Windows
    w = csv.writer(f, lineterminator="\r\r\n")
    w.writerow(["filenames"] + ["embedding_%d" % i for i in range(3)] + ["labels", "note"])
    for i, n in enumerate(names):
        w.writerow([n] + [repr(float(v)) for v in emb[i]] + [i % 2, "x"])
        if i == 2:
            f.write("\r\n")
with open("lightly_selected.csv", "w", newline="\n", encoding="utf-8") as f:
    w = csv.writer(f, lineterminator="\n")
    w.writerow(["filenames"] + ["embedding_%d" % i for i in range(3)] + ["masked", "selected", "labels"])
    for i, n in enumerate(names):
        w.writerow([n] + ["%.18e" % v for v in emb[i]] + [0, 1, i])
for name, m in [("emb.csv", emb), ("probs.csv", probs)]:
    with open(name, "w", newline="\n", encoding="utf-8") as f:
        w = csv.writer(f, lineterminator="\n")
        w.writerow(["filename"] + ["class %d" % i for i in range(3)])
        for i, n in enumerate(names):
            w.writerow([n] + [repr(float(v)) for v in m[i]])
np.savetxt("probs_savetxt.csv", probs, delimiter=",")
with open("names.csv", "w", newline="\n", encoding="utf-8") as f:
    w = csv.writer(f, lineterminator="\n")
    w.writerow(["id", "filename", "label"])
    for i, n in enumerate(names):
        w.writerow([i, n, "shoe"])

# JSON lines
lines("emb.jsonl", [{"filename": n, "embedding": emb[i].tolist()} for i, n in enumerate(names)])
lines("probs.jsonl", [{"filename": n, "probabilities": probs[i].tolist()} for i, n in enumerate(names)])
lines("probs_bare.jsonl", probs.tolist())
lines("nan.jsonl", [{"filename": "a.jpg", "probabilities": [float("nan"), 0.5]}])
lines("names.jsonl", names)
lines("names_objects.jsonl", [{"filename": n} for n in names])
with open("names.json", "w", encoding="utf-8") as f:
    json.dump(names, f, indent=1)
with open("names.txt", "w", newline="\r\n", encoding="utf-8-sig") as f:
    f.write("\n".join(names) + "\n")
lines("detection.jsonl", [
    {"filename": "a.jpg", "boxes": [[0, 0, 0.5, 0.5], [0.25, 0.25, 1, 1]], "object_probabilities": [0.5, 0.75], "class_probabilities": [[0.5, 0.5], [0.25, 0.75]]},
    {"filename": "b.jpg", "object_probabilities": [0.5], "class_probabilities": [[0.5, 0.5]], "scores": [0.25]},
    {"filename": "c.jpg", "boxes": [], "object_probabilities": [], "class_probabilities": [], "scores": None},
])
lines("detection_scored.jsonl", [
    {"filename": "a.jpg", "boxes": [[0, 0, 0.5, 0.5], [0.25, 0.25, 1, 1]], "scores": [0.5, 0.75], "labels": [0, 4]},
    {"filename": "b.jpg", "scores": [0.5], "labels": [1]},
    {"filename": "c.jpg", "boxes": []},
])
lines("seg.jsonl", [
    {"filename": "a.png", "shape": [2, 2, 3], "data": image.ravel().tolist()},
    {"filename": "b.png", "shape": [3, 5, 3], "data": wide.ravel().tolist()},
])
lines("keypoints.jsonl", [
    {"filename": "a.jpg", "instances": [{"keypoints": [1, 2, 0.5], "category_id": 0, "score": 0.5}, {"keypoints": [1, 2, 1, 3, 4, 0.5]}]},
    {"filename": "b.jpg", "instances": []},
])

# Lightly prediction tree
def tree(task, schema, files):
    for path, value in [("schema.json", schema)] + files:
        path = os.path.join("tree", task, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as f:
            json.dump(value, f)


def rle(mask):
    runs, value = [0], 0
    for v in np.ravel(mask):
        if v != value:
            runs.append(0)
            value = v
        runs[-1] += 1
    return runs


gaps = [{"id": 1, "name": "cat"}, {"id": 4, "name": "dog", "supercategory": "pet"}, {"id": 9, "name": "car"}]
tree("cls", {"task_type": "classification", "categories": gaps},
     [("sub/%d.json" % i, {"file_name": n, "predictions": [{"category_id": 1, "probabilities": probs[i].tolist()}]}) for i, n in enumerate(names)])
tree("det", {"task_type": "object-detection", "categories": gaps}, [
    ("a.json", {"file_name": "a.jpg", "predictions": [
        {"category_id": 9, "bbox": [10, 20, 30.5, 40], "score": 0.5},
        {"category_id": 1, "bbox": [0, 0, 1, 1], "score": 0.75}]}),
    ("sub/b.json", {"file_name": "sub/b.jpg", "predictions": []}),
    ("z.json", {"file_name": "z.jpg", "predictions": [{"category_id": 4, "bbox": [1, 1, 1, 1], "score": 0.5, "probabilities": [0.25, 0.5, 0.25]}]})])
mask = np.array([[0, 0, 1, 1], [0, 1, 1, 1], [0, 0, 0, 1]])
assert rle(mask) == [2, 2, 1, 3, 3, 1]
tree("seg", {"task_type": "SEMANTIC_SEGMENTATION", "categories": gaps}, [
    ("a.json", {"file_name": "a.jpg", "predictions": [
        {"category_id": 4, "segmentation": rle(mask), "score": 0.5, "probabilities": [0.25, 0.5, 0.25]},
        {"category_id": 1, "segmentation": rle(1 - mask), "score": 0.75}]})])
tree("key", {"task_type": "keypoint_detection", "categories": gaps}, [
    ("a.json", {"file_name": "a.jpg", "predictions": [
        {"category_id": 1, "keypoints": [1, 2, 0.5], "score": 0.5, "bbox": [0, 0, 5, 5]},
        {"category_id": 1, "keypoints": [1, 2, 1, 3, 4, 0.5], "score": 0.5}]})])
with open("tree/tasks.json", "w", encoding="utf-8") as f:
    json.dump(["cls", "det", "seg", "key"], f)
