"""What is wrong with rows is said before anything is sent, as the worker would
say it: counted, with the first few named."""

import math
from typing import Any, Callable, Dict, List, Mapping, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

SHOWN = 3  # offenders that a message names
ENTRY, SUM = 1e-6, 1e-3  # how far a probability and a sum may be off, as in the worker

# The fields that rows of a task may have, beside filename.
FIELDS: Dict[str, Tuple[str, ...]] = {
    "classification": ("probabilities",),
    "object_detection": ("boxes", "object_probabilities", "class_probabilities", "scores", "labels"),
    "semantic_segmentation": ("shape", "data"),
    "keypoint_detection": ("instances",),
}


class BadInput(ValueError):
    """Nothing was sent: the rows are not what the worker accepts."""


def _refuse(what: str, offenders: Sequence[object], total: int) -> None:
    """Raises if there are offenders."""
    if offenders:
        shown = ", ".join(str(o) for o in offenders[:SHOWN])
        more = ", …" if len(offenders) > SHOWN else ""
        raise BadInput(f"{len(offenders)} of {total} {what}: {shown}{more}")


def filenames(given: Sequence[str]) -> List[str]:
    """The filenames as a list: distinct relative paths of 1 to 1024 bytes."""
    if isinstance(given, (str, bytes)):
        raise BadInput("filenames is one string, want a sequence of them")
    names = [n if isinstance(n, str) else str(n) if isinstance(n, np.str_) else n for n in given]
    _refuse("filenames are no strings", [repr(n) for n in names if not isinstance(n, str)], len(names))
    _refuse("filenames are no relative paths of 1 to 1024 bytes", [repr(n) for n in names if not _is_path(n)], len(names))
    seen: Dict[str, int] = {}
    for name in names:
        seen[name] = seen.get(name, 0) + 1
    _refuse("filenames occur more than once", [repr(n) for n, count in seen.items() if count > 1], len(names))
    if not names:
        raise BadInput("there are no filenames")
    return names


def _is_path(name: str) -> bool:
    try:
        size = len(name.encode())
    except UnicodeEncodeError:  # a lone surrogate
        return False
    control = any(c < " " or c in "\x7f\\" for c in name)
    return 1 <= size <= 1024 and not control and not name.startswith("/") and ".." not in name.split("/")


def as_array(given: Any) -> Array:
    """An array of numpy, of a list, or of a tensor on any device, as float32 or
    float64. What is no array of numbers is refused."""
    if hasattr(given, "detach"):  # a tensor of PyTorch
        given = given.detach().cpu()
        if "bfloat16" in str(given.dtype):
            given = given.float()
        given = given.numpy()
    try:
        array = np.asarray(given)
    except ValueError as e:  # rows of unequal length
        raise BadInput(f"this is no array: {e}") from None
    if array.dtype.kind not in "fiub":
        raise BadInput(f"the array has elements of type {array.dtype}, want numbers")
    if array.dtype not in (np.dtype("float32"), np.dtype("float64")):
        array = array.astype("float32" if array.dtype == np.dtype("float16") else "float64")
    return array


def rows(names: Sequence[str], array: Array) -> None:
    """Checks that the array has one row of finite numbers for each filename."""
    if array.ndim != 2 or array.shape[0] != len(names) or array.shape[1] == 0:
        raise BadInput(f"the array has shape {array.shape}, want one row for each of {len(names)} filenames and at least one column")
    _offending("rows are not finite (NaN or infinity)", names, array, lambda a: ~np.isfinite(a).all(axis=1))


def probabilities(names: Sequence[str], array: Array, normalization: str) -> None:
    """Checks what normalization makes of rows: none wants probabilities that
    sum to one, sum wants weights, softmax takes any finite numbers."""
    rows(names, array)
    if normalization == "softmax":
        return
    if normalization == "sum":
        _offending("rows are no weights (below 0, or all 0)", names, array, lambda a: (a < 0).any(axis=1) | (a.sum(axis=1) <= 0))
        return
    if normalization != "none":
        raise BadInput(f"normalization is {normalization!r}, want none, softmax or sum")

    def wrong(a: Array) -> Any:
        outside = (a < -ENTRY).any(axis=1) | (a > 1 + ENTRY).any(axis=1)
        return outside | (np.abs(a.sum(axis=1, dtype="float64") - 1) > SUM)

    _offending("rows are no probabilities that sum to 1 (for logits: normalization='softmax')", names, array, wrong)


BLOCK = 1 << 16  # rows that are looked at together


def _offending(what: str, names: Sequence[str], array: Array, wrong: Callable[[Array], Any]) -> None:
    bad: List[str] = []
    for start in range(0, len(array), BLOCK):
        bad += [repr(names[start + int(i)]) for i in np.flatnonzero(wrong(array[start : start + BLOCK]))]
    _refuse(what, bad, len(array))


def objects(task: str, names: Sequence[str], given: Sequence[Mapping[str, Any]]) -> List[Dict[str, Any]]:
    """Rows of predictions, one mapping for each filename, as plain JSON values."""
    if task not in FIELDS:
        raise BadInput(f"task is {task!r}, want one of {', '.join(FIELDS)}")
    if len(given) != len(names):
        raise BadInput(f"there are {len(given)} predictions for {len(names)} filenames")
    out: List[Dict[str, Any]] = []
    unknown: List[str] = []
    broken: List[str] = []
    other: List[str] = []
    for name, row in zip(names, given):
        if not isinstance(row, Mapping):
            raise BadInput(f"the prediction of {name!r} is a {type(row).__name__}, want a mapping of {', '.join(FIELDS[task])}")
        unknown += [f"{name!r} ({field})" for field in row if field not in FIELDS[task] + ("filename",)]
        if row.get("filename", name) != name:
            other.append(f"{row['filename']!r} at the place of {name!r}")
        plain = {field: _plain(value) for field, value in row.items()}
        if not _finite(plain):
            broken.append(repr(name))
        out.append({**plain, "filename": name})
    _refuse(f"predictions have a field that {task} has not ({', '.join(FIELDS[task])})", unknown, len(names))
    _refuse("predictions are of another file", other, len(names))
    _refuse("predictions hold NaN or infinity", broken, len(names))
    _refuse("predictions have boxes, scores and classes of unequal number", _uneven(out), len(names))
    return out


def _plain(value: Any) -> Any:
    if hasattr(value, "detach"):
        return as_array(value).tolist()
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value


def _finite(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict):
        return all(_finite(v) for v in value.values())
    return all(_finite(v) for v in value) if isinstance(value, list) else True


def _uneven(out: Sequence[Mapping[str, Any]]) -> List[str]:
    """The rows whose lists about boxes are not of one length."""
    fields = FIELDS["object_detection"]
    return [repr(row["filename"]) for row in out if len({len(row[f]) for f in fields if isinstance(row.get(f), list)}) > 1]
