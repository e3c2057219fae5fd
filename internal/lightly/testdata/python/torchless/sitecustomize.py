"""Stands in for torch, torchvision and pytorch_lightning, and for nothing else.

The lightly package imports them at the top of nearly every module, and its API
client uses none of them: gigabytes that would only be imported. With this
directory on PYTHONPATH every other line that runs is that of the real packages,
LightlyDataset, hydra and the command line included. What the API client does
reach is the base class of image folders and the colors of its messages; those
two are here. Any other name from these modules is a class that does nothing.
"""

import importlib.abc
import importlib.machinery
import sys
import types


class Nothing(type):
    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Absent


class Absent(metaclass=Nothing):
    def __init__(self, *args, **kwargs):
        pass

    def __call__(self, *args, **kwargs):  # as a decorator
        return args[0] if args and callable(args[0]) else self

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Absent()


class VisionDataset:
    def __init__(self, root, transforms=None, transform=None, target_transform=None):
        self.root, self.transform, self.target_transform = root, transform, target_transform


class Colors:
    OKBLUE = OKGREEN = WARNING = FAIL = ENDC = BOLD = HEADER = ""


HERE = {
    "torchvision.datasets": {"VisionDataset": VisionDataset},
    "torch.utils.hipify.hipify_python": {"bcolors": Colors},
}


class Module(types.ModuleType):
    __path__ = []
    __version__ = "0.0.0"

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (Absent,), {})


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "torchvision", "pytorch_lightning"):
            return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec):
        return Module(spec.name)

    def exec_module(self, module):
        vars(module).update(HERE.get(module.__name__, {}))


sys.meta_path.append(Finder())
