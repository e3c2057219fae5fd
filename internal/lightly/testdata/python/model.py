"""A model in the sense of Lightly's page: filenames in, a numpy array of class probabilities out."""

import numpy as np
from PIL import Image

rng = np.random.default_rng(7)
hidden, head = rng.normal(size=(28 * 28, 32)), rng.normal(size=(32, 10))


def predict(folder, filenames):
    pixels = np.stack([np.asarray(Image.open(f"{folder}/{name}").convert("L")).reshape(-1) for name in filenames]) / 255
    logits = np.tanh(pixels @ hidden / 8) @ head
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def detect(folder, filenames):
    """Each image's objects: boxes, how sure each is one, and of what class."""
    found = []
    for i, p in enumerate(predict(folder, filenames)):
        n = i % 4  # images without an object are part of it
        found.append({
            "boxes": [[0.1 * k, 0.1 * k, 0.1 * k + 0.3, 0.1 * k + 0.4] for k in range(n)],
            "object_probabilities": [0.9 - 0.2 * k for k in range(n)],
            "class_probabilities": [np.roll(p, k).tolist() for k in range(n)],
        })
    return found
