"""ONNX: a generator as one file that any program with an ONNX runtime draws pictures with, checked by onnxruntime.

Exported by `torch.export`, without TorchScript. Before a file is put in place, onnxruntime draws with it in batches of
1 and 3, and what comes out has to be what PyTorch draws.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rggan.errors import UserError, make_folder, reason
from rggan.export.traced import NOISE, Part, whole
from rggan.files import write_file
from rggan.generation.generator import Generator
from rggan.run.versions import versions

LIBRARIES = ("onnx", "onnxscript", "onnxruntime")
LOWEST = 18  # the first opset that PyTorch's exporter writes
OPSET = 18
TOLERANCE = 1e-4  # of a value in -1..1, between onnxruntime and PyTorch
BATCHES = (1, 3)
CHANNELS = {1: "grey", 3: "rgb", 4: "rgba"}


class Exported(NamedTuple):
    """The content of an ONNX file, and the largest difference of its output from PyTorch's."""

    content: bytes
    difference: float


def write_onnx(generator: Generator, path: str | Path, opset: int = OPSET) -> Exported:
    """Writes a generator as an ONNX file, whole or not at all.

    Its inputs are `z` float32 [batch, z_dim]; `labels` int64 [batch], if it has classes; and of a style-based network
    `truncation`, a float32 scalar from 0 to 1, and `noise_0`, `noise_1`, ... float32 [h, w], coarse to fine, for all
    pictures of the batch, which may be left out (the network's own noise). Its output is `images` float32
    [batch, C, H, W]; `metadata` tells the rest.

    Args:
        path: of the file, which is replaced if it is there.
        opset: the version of ONNX's operators, from 18 on.

    Raises:
        UserError: the libraries of the extra are missing; an opset that there is not; the network cannot be traced; its
            pictures are other ones; the file cannot be written.
    """
    exported = to_onnx(whole(generator), opset, metadata(generator))
    path = Path(path)
    make_folder(path.parent)
    write_file(exported.content, path)
    return exported


def to_onnx(part: Part, opset: int = OPSET, told: Mapping[str, str] | None = None) -> Exported:
    """The ONNX file of any module with its inputs described (`Part`), checked.

    Args:
        told: metadata of the file.

    Raises:
        UserError: as `write_onnx`.
    """
    check_libraries()
    check_opset(opset)
    model = traced(part, opset)
    got = next(each.version for each in model.opset_import if each.domain in ("", "ai.onnx"))
    if got != opset:
        raise UserError(f"`opset` {opset}: the exporter could write this network with opset {got} only.")
    from onnx.numpy_helper import from_array

    for name, value in part.defaults.items():  # an input with an initializer of its name may be left out
        model.graph.initializer.append(from_array(value.numpy(), name))
    bare(model)
    for key, text in (told or {}).items():
        model.metadata_props.add(key=key, value=text)
    content = model.SerializeToString()
    return Exported(content, difference(content, part))


def traced(part: Part, opset: int) -> Any:
    """The model as torch.onnx makes it (an `onnx.ModelProto`)."""
    keywords = part.keywords(part.inputs)
    shapes: dict[str, Any] = {name: {0: "batch"} if name in part.rows else {} for name in part.inputs}
    if part.defaults:
        shapes[NOISE] = [{} for _ in part.defaults]
    try:
        with quiet():
            program: Any = torch.onnx.export(
                part.module.eval(),
                (),
                kwargs=keywords,
                dynamic_shapes=shapes,
                output_names=[part.output],
                opset_version=opset,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    except Exception as error:
        raise UserError(f"This network cannot be traced for ONNX: {reason(error)}.") from error
    assert program is not None
    return program.model_proto


def bare(message: Any) -> None:
    """Takes out what the exporter notes of where each operation comes from: lines of code with their files' paths.

    message: a model or anything in it.
    """
    for field, value in list(message.ListFields()):
        if field.name in ("metadata_props", "doc_string"):
            message.ClearField(field.name)
        elif field.message_type is not None:
            for each in value if hasattr(value, "__len__") and not hasattr(value, "ListFields") else (value,):
                bare(each)


def difference(content: bytes, part: Part) -> float:
    """The largest absolute difference between onnxruntime and PyTorch, in batches of 1 and 3, with the network's own
    noise and with other noise; relative to the largest value, where that is above 1.

    Raises:
        UserError: it is above 1e-4, or onnxruntime cannot run the file.
    """
    session, largest = opened(content), 0.0
    random = torch.Generator().manual_seed(1)
    other = {name: torch.randn(value.shape, generator=random) for name, value in part.defaults.items()}
    for rows in BATCHES:
        for noise in ({}, other) if other else ({},):
            inputs: dict[str, Tensor] = part.drawn(rows, seed=rows) | noise
            expected = part(inputs)
            try:
                (found,) = session.run(None, {name: value.numpy() for name, value in inputs.items()})
            except Exception as error:
                raise UserError(f"onnxruntime cannot draw {rows} at once: {reason(error)}.") from error
            if found.shape != tuple(expected.shape):
                raise UserError(f"onnxruntime gives {list(found.shape)} where PyTorch gives {list(expected.shape)}.")
            apart = (torch.from_numpy(found) - expected).abs().max() / expected.abs().max().clamp(min=1)
            largest = max(largest, float(apart))
    if not largest <= TOLERANCE:  # NaN too
        raise UserError(f"onnxruntime's pictures differ from PyTorch's by {largest:.2g}: nothing is written.")
    return largest


def opened(content: bytes) -> Any:
    """A session of onnxruntime on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors: what it says of initializers that are inputs is meant so
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise UserError(f"onnxruntime cannot read the exported network: {reason(error)}.") from error


def metadata(generator: Generator) -> dict[str, str]:
    """What the file says of itself: how to feed it and what comes out, as texts."""
    network = generator.config["network"]
    height, width = network["resolution"]
    told = {
        "rggan_version": versions()["rggan"],
        "network": network["name"],
        "latent_size": str(network["z_dim"]),
        "latents": "z: standard normal",
        "classes": json.dumps(generator.classes if network["classes"] else []),
        "pixel_range": "-1..1",
        "pixels": "uint8 = floor(clamp(127.5 * value + 128, 0, 255))",
        "channels": CHANNELS[network["channels"]],
        "width": str(width),
        "height": str(height),
        "truncation": "an input, 0 to 1"
        if generator.style_network
        else "values of z beyond 2 * truncation are drawn again",
    }
    if generator.config.get("class_counts"):
        told["class_counts"] = json.dumps(generator.config["class_counts"])
    return told


def check_libraries() -> None:
    """Raises UserError where those of the extra are missing."""
    if missing := [name for name in LIBRARIES if importlib.util.find_spec(name) is None]:
        raise UserError(f'ONNX needs {" and ".join(missing)}: pip install "rggan[onnx]".')


def check_opset(opset: int) -> None:
    """Raises UserError where there is no such opset, or none that is written."""
    import onnx

    highest = onnx.defs.onnx_opset_version()
    if not LOWEST <= opset <= highest:
        raise UserError(f"`opset` is a number from {LOWEST} to {highest}, not {opset}.")


@contextmanager
def quiet() -> Iterator[None]:
    """Without the exporter's remarks about libraries that are not needed and names that it chooses."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
