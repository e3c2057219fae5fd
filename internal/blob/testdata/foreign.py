"""Writes files with numpy, pyarrow, datasets and safetensors, in every way
that these can, and prints what is in them: python foreign.py FOLDER."""
import json
import os
import sys
import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import safetensors.numpy

datasets.disable_progress_bars()
folder, files = sys.argv[1], []
rows, cols = 300, 3
rng = np.random.default_rng(0)
names = ["sub/%03d ü%s.jpg" % (i, "x" * (i % 7)) for i in range(rows)]
matrix = rng.integers(-40, 40, (rows, cols)) / 8  # exact in float16
whole = rng.integers(-100_000, 100_000, (rows, cols))
whole[::7] = 5


def path(name):
    return os.path.join(folder, name)


def say(name, m=matrix, n=names, what=""):
    files.append({"file": name, "names": n, "rows": m.tolist(), "what": what})


def lists(m, kind="list"):
    flat = pa.array(m.ravel())
    if kind == "fixed":
        return pa.FixedSizeListArray.from_arrays(flat, m.shape[1])
    at = np.arange(0, m.size + 1, m.shape[1])
    if kind == "large":
        return pa.LargeListArray.from_arrays(pa.array(at, pa.int64()), flat)
    return pa.ListArray.from_arrays(pa.array(at, pa.int32()), flat)


def parquet(name, columns, **how):
    pq.write_table(pa.table(columns), path(name), **how)


# Parquet: every compression with every page version and encoding of numbers and names
codecs = ["none", "snappy", "gzip", "brotli", "zstd", "lz4"]
types = {"f2": np.float16, "f4": np.float32, "f8": np.float64, "i4": np.int32, "i8": np.int64}
encodings = {"f2": ["PLAIN", "BYTE_STREAM_SPLIT", "DELTA_BYTE_ARRAY"], "f4": ["PLAIN", "BYTE_STREAM_SPLIT"], "f8": ["PLAIN", "BYTE_STREAM_SPLIT"],
             "i4": ["PLAIN", "BYTE_STREAM_SPLIT", "DELTA_BINARY_PACKED"], "i8": ["PLAIN", "BYTE_STREAM_SPLIT", "DELTA_BINARY_PACKED"]}
of_names = ["PLAIN", "DELTA_LENGTH_BYTE_ARRAY", "DELTA_BYTE_ARRAY"]
for codec in codecs:
    for page in ["1.0", "2.0"]:
        for dtype, numpy_type in types.items():
            m = (matrix if dtype[0] == "f" else whole).astype(numpy_type)
            for i, encoding in enumerate(["dictionary"] + encodings[dtype]):
                name = "%s_%s_%s_%s.parquet" % (codec, page[0], dtype, encoding)
                how = {"use_dictionary": True}
                if encoding != "dictionary":
                    how = {"use_dictionary": False, "column_encoding": {"embedding.list.element": encoding, "filename": of_names[i % 3]}}
                parquet(name, {"filename": names, "embedding": lists(m)}, compression=codec, data_page_version=page, row_group_size=170,
                        data_page_size=512, write_page_checksum=page == "2.0", **how)
                say(name, m)
for encoding in of_names:
    texts = ["x" * (1 + i % 300) + "/" + n for i, n in enumerate(names)]
    parquet("names_%s.parquet" % encoding, {"filename": texts, "embedding": lists(matrix)}, use_dictionary=False, column_encoding={"filename": encoding})
    say("names_%s.parquet" % encoding, matrix, texts)
for kind in ["fixed", "large"]:
    parquet(kind + ".parquet", {"filename": pa.array(names, pa.large_string()), "embedding": lists(matrix, kind)})
    say(kind + ".parquet")
for encoding in ["PLAIN", "BYTE_STREAM_SPLIT"]:
    columns = {"p_%d" % i: matrix[:, i] for i in range(cols)}
    parquet("columns_%s.parquet" % encoding, {"filename": pa.array(names).dictionary_encode(), **columns}, use_dictionary=["filename"],
            column_encoding={c: encoding for c in columns}, row_group_size=101)
    say("columns_%s.parquet" % encoding)

# a small pool of numbers, so that indices of a dictionary are packed and in runs
few = np.repeat(np.arange(5.0), 60)[:, None] * np.ones(cols) + rng.integers(0, 2, (rows, cols))
for page in ["1.0", "2.0"]:
    parquet("runs_%s.parquet" % page[0], {"filename": names, "embedding": lists(few)}, data_page_version=page, data_page_size=512)
    say("runs_%s.parquet" % page[0], few)

# Hugging Face: class labels, images, and lists of either kind
features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"]),
                              "logits": datasets.List(datasets.Value("float32"), length=cols)})
images = [{"bytes": b"\xff\xd8", "path": n} for n in names]
data = datasets.Dataset.from_dict({"image": images, "label": [i % 2 for i in range(rows)], "logits": matrix.tolist()}, features=features)
data.to_parquet(path("hugging_face.parquet"))
say("hugging_face.parquet", what="predictions")
datasets.Dataset.from_dict({"filename": names, "embedding": matrix.tolist()}).to_parquet(path("hugging_face_list.parquet"))
say("hugging_face_list.parquet")

# numpy
for dtype in ["<f2", "<f4", "<f8", ">f4", ">f8", "<i4", "<i8", "<u2", "|i1"]:
    m = (matrix if "f" in dtype else np.abs(whole) % 100).astype(dtype)
    for order in "CF":
        for save in [np.savez, np.savez_compressed]:
            name = "%s_%s_%s.npz" % (dtype.strip("<>|"), "be" if ">" in dtype else order, save.__name__)
            save(path(name), embeddings=np.asarray(m, order=order), filenames=np.array(names))
            say(name, m)

# safetensors
for dtype in ["f2", "f4", "f8", "i8"]:
    m = (matrix if "f" in dtype else whole).astype(dtype)
    safetensors.numpy.save_file({"embeddings": m, "label": np.arange(rows)}, path(dtype + ".safetensors"), {"filenames": json.dumps(names)})
    say(dtype + ".safetensors", m, what="embeddings")
json.dump(files, sys.stdout)
