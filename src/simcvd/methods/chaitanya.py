"""Global and local contrast, then fine-tuning (Chaitanya et al., NeurIPS 2020); our 3D port."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from simcvd.losses.regions import (
    cut_partitions,
    draw_others,
    partition_contrast,
    pool_regions,
    region_contrast,
)
from simcvd.losses.segmentation import supervised
from simcvd.methods.base import Method, NetworkFactory
from simcvd.networks.base import Staged
from simcvd.ranges import Count, Positive, Settings, Several, Share, Weight
from simcvd.transforms.intensity import draw_contrast, draw_noise
from simcvd.types import Batch, Progress, SimcvdError, Task


@dataclass(frozen=True, kw_only=True)
class Config(Settings):
    """Settings of Chaitanya et al."""

    cross_entropy: Share = 0.5
    """Share of cross-entropy in L_seg; the rest is Dice."""
    tau: Positive = 0.1
    """Temperature of both contrasts."""
    global_share: Share = 0.15
    """Share of the iterations that train the encoder by the global contrast."""
    local_share: Share = 0.15
    """Share of the iterations that train the decoder by the local contrast; the rest is fine-
    tuning."""
    weight: Weight = 0.01
    """Weight of either contrast, alone in its phase: a share of the learning rate."""
    partitions: Several = 4
    """Partitions of a patch along Z."""
    regions: Several = 13
    """Regions drawn in a map."""
    negatives: Count = 5
    """Negatives drawn for each region."""
    stages: Count = 3
    """Stages of the decoder trained by the local contrast; no more than there are."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.global_share + self.local_share >= 1:
            raise SimcvdError(
                f"method.global_share {self.global_share} and method.local_share "
                f"{self.local_share} leave no iterations to learn the labels in; "
                "their sum must be below 1"
            )


class GlobalLocalContrast(Method):
    """Encoder by a global contrast, decoder by a local one, then all of it by the labels."""

    title = "Chaitanya et al."
    steady = True
    cost = 1.0
    network: Staged

    leaves_unused = True  # what a phase does not train

    def __init__(self, config: Config, task: Task, build: NetworkFactory) -> None:
        super().__init__()
        self.config = config
        network = build()
        if not isinstance(network, Staged):
            raise SimcvdError(
                "chaitanya trains encoder and decoder apart, for which it needs a network of "
                f"stages; derive {type(network).__name__} from simcvd.networks.base.Staged, "
                "or take another method"
            )
        self.network = network
        self.stages = min(config.stages, len(network.decoder))
        deep, width = network.widths[-1], network.widths[-1 - self.stages]
        self.global_head = nn.Sequential(nn.Linear(deep, 1024), nn.ReLU(), nn.Linear(1024, 128))
        self.local_head = nn.Sequential(
            nn.Conv3d(width, width, 1), nn.ReLU(), nn.Conv3d(width, width, 1)
        )

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """The one term of the phase: global, local or seg."""
        (phase,) = self.weights(progress)
        if phase == "global":
            return {"global": self._global(batch.image)}
        if phase == "local":
            return {"local": self._local(batch.image)}
        known = self.network(batch.image[: batch.labeled])
        return {"seg": supervised(known, batch.label, self.config.cross_entropy)}

    def weights(self, progress: Progress) -> dict[str, float]:
        """One phase at a time."""
        config, done = self.config, progress.step / progress.total
        if done < config.global_share:
            return {"global": config.weight}
        local = done < config.global_share + config.local_share
        return {"local": config.weight} if local else {"seg": 1.0}

    def _global(self, image: Tensor) -> Tensor:
        count, step = self.config.partitions, self.network.divisor[2]
        views = [cut_partitions(_view(image), count, step) for _ in range(2)]
        vectors = self.global_head(self.network.encode(torch.cat(views))[-1].mean((2, 3, 4)))
        return partition_contrast(vectors.unflatten(0, (-1, count)), self.config.tau)

    def _local(self, image: Tensor) -> Tensor:
        views = torch.cat([_view(image), _view(image)])
        with torch.no_grad():  # the encoder stays as the global contrast left it
            maps = self.network.encode(views)
        regions = pool_regions(self.local_head(self.network.decode(maps, self.stages)))
        places = torch.randperm(regions.shape[1], device=image.device)[: self.config.regions]
        first, second = regions[:, places].chunk(2)
        others = draw_others(len(places), self.config.negatives, image.device)
        return region_contrast(first, second, others, self.config.tau)


def _view(x: Tensor) -> Tensor:
    gain, shift = draw_contrast(x)
    return x * gain + shift + draw_noise(x)
