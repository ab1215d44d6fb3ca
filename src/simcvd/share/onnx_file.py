"""A network as ONNX, written only after another runtime computed the same with it."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from simcvd.files import write_bytes
from simcvd.inference.model import Model
from simcvd.plugins import optional
from simcvd.records import as_json
from simcvd.types import SimcvdError

OPSET = 17
INPUT, LOGITS, DISTANCE = "image", "logits", "distance"
# Of logits and distances, whose classes differ by tenths where a voxel is undecided; float32
# summed in another order differs by some 1e-5.
TOLERANCE = 1e-3


class Outputs(nn.Module):
    """A network with a tuple in place of the record: logits and, if it has them, distances."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.eval()  # torch's exporter puts all back to what the outermost module was in

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """``[B, C, X, Y, Z]`` to ``[B, K, X, Y, Z]`` and ``[B, F, X, Y, Z]``."""
        found = self.network(image)
        return (found.logits,) if found.distance is None else (found.logits, found.distance)


def write_onnx(model: Model, path: Path, *, tolerance: float = TOLERANCE) -> float:
    """Write a model's network for batches of any size of its patch; how it was made goes along.

    The input ``image`` is ``[B, C, X, Y, Z]``, a prepared patch; the outputs are ``logits`` and,
    where the network has the head, ``distance``. What ``model.json`` says is in the metadata.
    Returns the largest absolute difference between the outputs of onnxruntime and of torch.
    Raises SimcvdError without the two libraries, and beyond ``tolerance``, writing nothing.
    """
    onnx = optional("onnx", "onnx", "--onnx")
    optional("onnxruntime", "onnx", "--onnx")
    proto = onnx.load_from_string(_traced(model))
    onnx.helper.set_model_props(proto, {"simcvd": json.dumps(as_json(model.spec))})
    onnx.checker.check_model(proto)
    data: bytes = proto.SerializeToString()
    difference = largest_difference(model, data)
    if not difference <= tolerance:  # NaN, too
        raise SimcvdError(
            f"{path}: not written. Its outputs differ from torch's by up to {difference:.2g}, "
            f"more than {tolerance:.2g}; please report this with the model's model.json"
        )
    write_bytes(path, data)
    return difference


def largest_difference(model: Model, data: bytes) -> float:
    """Between onnxruntime and torch on the CPU, over batches of one and three random patches."""
    import onnxruntime

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    network, generator = Outputs(model.network).cpu(), torch.Generator().manual_seed(0)
    differences = []
    for batch in (1, 3):
        image = torch.randn(batch, model.spec.channels, *model.spec.patch, generator=generator)
        with torch.no_grad():
            wanted = network(image)
        found = map(torch.from_numpy, session.run(None, {INPUT: image.numpy()}))
        differences += [(a - b).abs().max() for a, b in zip(wanted, found, strict=True)]
    return float(torch.stack(differences).max())


def _traced(model: Model) -> bytes:
    """The network's operations on a batch of two, the batch's size left open.

    By torch's older exporter: the newer one needs two more libraries, and a V-Net has no branches
    that tracing would miss.
    """
    spec = model.spec
    network = Outputs(model.network).cpu()
    outputs = [LOGITS, DISTANCE][: 1 + bool(spec.network.get("distance"))]
    example = torch.zeros(2, spec.channels, *spec.patch)
    dynamic: Any = {name: {0: "batch"} for name in (INPUT, *outputs)}
    with TemporaryDirectory() as scratch, warnings.catch_warnings():
        file = Path(scratch) / "network.onnx"
        warnings.simplefilter("ignore")  # of the exporter's age, and of the check of sizes
        torch.onnx.export(
            network,
            (example,),
            file,
            dynamo=False,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=outputs,
            dynamic_axes=dynamic,
        )
        return file.read_bytes()
