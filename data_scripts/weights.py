"""Read the tensors in a file of network weights, in any form that people have, without running its code.

Forms: a state dict, a training checkpoint with one under ``state_dict``, a pickled module
(``torch.save(model)``), and a TorchScript archive such as OpenAI's CLIP files. Classes that a file names are
never imported: an object keeps its attributes and has no methods. The only functions that run build a tensor
from the file's own bytes.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from warnings import warn

from .fetch import AnyPath, DataError, expanded, no_content, start_of

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

STORAGES = {  # class in ``torch`` -> dtype
    "DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16", "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16",
    "CharStorage": "int8", "ByteStorage": "uint8", "BoolStorage": "bool",
}  # fmt: skip
KNOWN = {
    ("collections", "OrderedDict"): OrderedDict,
    ("builtins", "set"): set,
    ("__builtin__", "set"): set,
}
REBUILDERS = ("_rebuild_parameter", "_rebuild_parameter_with_state")
NO_WEIGHTS = ("input_resolution", "context_length", "vocab_size")  # numbers that OpenAI's files also hold


class Weights(NamedTuple):
    """The tensors of a file by name, and the names of the classes of its modules; a state dict has none."""

    tensors: dict[str, Tensor]
    classes: frozenset[str]


class _Object:
    """An object of a class that is not imported."""

    def __new__(cls, *args: object) -> _Object:
        return object.__new__(cls)

    def __init__(self, *args: object) -> None:
        self.state: dict[str, Any] = {}

    def __setstate__(self, state: object) -> None:
        self.state = state if isinstance(state, dict) else {}


class _Reader(pickle.Unpickler):
    """An unpickler that imports nothing and calls nothing but the few functions below."""

    def __init__(self, archive: zipfile.ZipFile, folder: str) -> None:
        super().__init__(io.BytesIO(archive.read(f"{folder}data.pkl")))
        self.archive, self.folder = archive, folder
        self.classes: set[str] = set()
        self.storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> Callable[..., Any] | str:
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, size, stride, *rest: storage.as_strided(size, stride, offset)
        if (module == "torch._utils" and name in REBUILDERS) or module == "torch.jit._pickle":
            return lambda value, *rest: value
        if (module, name) in KNOWN:
            return KNOWN[module, name]
        self.classes.add(name)
        return type(name, (_Object,), {})

    def persistent_load(self, what: tuple) -> Tensor:
        import torch

        _, dtype, key, *_ = what
        if key not in self.storages:
            content = bytearray(self.archive.read(f"{self.folder}data/{key}"))
            self.storages[key] = torch.frombuffer(content, dtype=getattr(torch, dtype))
        return self.storages[key]


def read_weights(path: AnyPath) -> Weights:
    """Return the tensors of a file of weights; a prefix "module." of all names is dropped.

    Raises:
        DataError: if the file is missing, damaged, or of another form.
    """
    import torch

    path, classes = expanded(path), frozenset()
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                name = next(n for n in archive.namelist() if n.endswith("data.pkl") and n.count("/") <= 1)
                reader = _Reader(archive, name.removesuffix("data.pkl"))
                value, classes = reader.load(), frozenset(reader.classes)
        else:
            value = torch.load(path, map_location="cpu", weights_only=True)
        if isinstance(value, dict):
            classes = frozenset()  # those of an optimizer and the like
            value = value.get("state_dict", value)
        tensors = dict(_tensors(value))
    except FileNotFoundError:
        raise DataError(
            f"There is no file of weights {path}; correct the path.", "there is no file of weights"
        ) from None
    except Exception as error:  # damage makes the readers fail in many ways
        what = (
            f"cannot be read as weights ({type(error).__name__}): it is damaged, or neither a state dict, a "
            "checkpoint, a module nor a TorchScript archive"
        )
        with suppress(OSError):
            what = no_content(start_of(path)) or what
        raise DataError(f"{path} {what}; get it again.", "the weights cannot be read") from error
    if not tensors:
        raise DataError(f"{path} holds no tensors; give a file of weights.", "the weights are empty")
    if all(name.startswith("module.") for name in tensors):  # of DataParallel
        tensors = {name.removeprefix("module."): value for name, value in tensors.items()}
    return Weights(tensors, classes)


def put_into(network: Module, tensors: Mapping[str, Tensor], path: AnyPath, name: str) -> None:
    """Replace the weights of ``network``, called ``name``, by the tensors of the file ``path``.

    Raises:
        DataError: naming the first tensors that are missing, unknown, or of another shape.
    """
    wanted = network.state_dict()
    told = [f"lacks {key}" for key in wanted if key not in tensors]
    told += [f"also has {key}" for key in tensors if key not in wanted]
    told += [
        f"has {key} of shape {tuple(value.shape)} instead of {tuple(wanted[key].shape)}"
        for key, value in tensors.items()
        if key in wanted and value.shape != wanted[key].shape
    ]
    if told:
        more = f" and {len(told) - 3} more differences" if len(told) > 3 else ""
        raise DataError(
            f"{path} does not fit {name}: it {', '.join(told[:3])}{more}; give the file of this network.",
            "the weights are of another network",
        )
    network.load_state_dict(tensors)


def load_clip(towers: Module, name: str, tag: str, quick: bool, path: AnyPath) -> Module:
    """Return the CLIP ``name`` with the weights of a file.

    Args:
        towers: open_clip's network, whose weights are replaced.
        name, tag: of the network and of its weights in open_clip.
        quick: whether ``towers`` has QuickGELU, as ``tag`` needs it, or the exact GELU.
        path: the file. If it shows its GELU, that has to be this one; if not, a warning says so.

    Raises:
        ValueError: if the file has the other GELU.
        DataError: if it is missing, damaged, or of another network.
    """
    import open_clip

    tensors, classes = read_weights(path)
    gelu = ("the exact GELU", "QuickGELU")
    known = [t for t in open_clip.list_pretrained_tags_by_model(name) if t in Path(path).name]
    if classes or NO_WEIGHTS[0] in tensors:  # a file with modules, or OpenAI's, shows which GELU it has
        known = [gelu["QuickGELU" in classes or not classes]]
    if known and tag not in known and gelu[quick] not in known:
        raise ValueError(f"{path} has {known[0]}, and {tag!r} has {gelu[quick]}; give the file's own tag.")
    if not known:
        said = f"{path} shows no GELU and gets {gelu[quick]}, which is wrong if it is not of {tag!r}."
        warn(said, stacklevel=4)  # of the caller of `geomreg_mini.benchmarks.retrieval.build_clip`
    own = {k: v for k, v in tensors.items() if k not in NO_WEIGHTS and not k.endswith("attn_mask")}
    put_into(towers, open_clip.model.convert_to_custom_text_state_dict(own), path, name)
    return towers


def _tensors(value: object, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors in an object or a dict, with the names that ``state_dict`` gives them."""
    import torch

    if isinstance(value, torch.Tensor):
        yield name, value
    if isinstance(value, _Object):
        parts = [value.state.get(kind) for kind in ("_parameters", "_buffers", "_modules")]
        eager = all(isinstance(part, dict) for part in parts)
        value = {k: v for part in parts for k, v in part.items()} if eager else value.state
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _tensors(part, f"{name}.{key}" if name else str(key))
