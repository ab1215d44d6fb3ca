"""Another network in place of the V-Net: MONAI's UNet, trained with SimCVD on made-up scans.

Needs ``pip install monai``. Run it as it is (``python examples/custom_network.py``, under a minute)
or cell by cell in an editor that knows ``# %%``.
"""

# %% The network: class logits, distance maps and the deepest features of each patch.
import sys
from pathlib import Path
from tempfile import mkdtemp

import torch
from monai.networks.nets import UNet
from torch import Tensor, nn

import simcvd
from simcvd.demo.phantom import PhantomSettings, make_phantom, write_phantoms
from simcvd.types import Prediction


class MonaiUNet(nn.Module):
    """MONAI's UNet with the distance maps, where a method needs them, as further channels."""

    def __init__(self, *, channels: int, classes: int, distance: bool) -> None:
        super().__init__()
        self.classes = classes
        out = classes + (classes - 1) * distance
        self.unet = UNet(3, channels, out, channels=(4, 8, 16), strides=(2, 2), norm="batch")

    def forward(self, x: Tensor) -> Prediction:
        """``[B, C, X, Y, Z]``, each size a multiple of 4."""
        out, features = levels(self.unet.model, x)
        logits, distance = out[:, : self.classes], out[:, self.classes :]
        maps = distance.tanh() if distance.shape[1] else None
        return Prediction(logits=logits, distance=maps, features=features)


def levels(block: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """What one level of MONAI's UNet makes of ``x``, and the deepest map below it."""
    if type(block) is not nn.Sequential:  # the bottom
        x = block(x)
        return x, x
    down, skip, up = block
    x = down(x)
    below, deepest = levels(skip.submodule, x)
    return up(torch.cat([x, below], 1)), deepest


# %% Train with it: the class itself is the factory. The same call resumes.
work = Path(sys.argv[1] if len(sys.argv) > 1 else mkdtemp(prefix="simcvd-"))
size = PhantomSettings(shape=(32, 32, 24), spacing=(3.0, 3.0, 4.0))
write_phantoms(work / "scans", cases=5, seed=0, test=1, labeled=2, settings=size)
cache = simcvd.prepare(work / "scans", work / "cache", jobs=1, quiet=True)
run = simcvd.train(
    cache,
    work / "run",
    labeled=2,
    recipe="paper",
    network=MonaiUNet,
    settings={"train.iterations": 10, "train.patch": (16, 16, 16), "method.pool": 16},
)

# %% A model file holds weights and no code, so loading it takes the class again.
model = simcvd.load_model(run, network=MonaiUNet)
image, label = make_phantom((0, 4), size)
prediction = simcvd.predict(model, image.array, affine=image.affine)
(score,) = simcvd.evaluate(
    prediction, label.array, spacing=size.spacing, class_names={1: "chamber"}
)
print(f"{score.name}: Dice {score.values['dice']:.2f} {score.miss}")
