"""The projection head of SimCVD (paper, Section III-D and IV-B)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from simcvd.networks.frozen import frozen_call

Pooling = Literal["average", "max"]


class ProjectionHead(nn.Module):
    """H: each slice of a boundary-aware map becomes one vector.

    Alpha dropout on the slice, adaptive pooling to ``pool`` x ``pool``, and a three-layer MLP.

    Args:
        pool: side of the pooled slice; the paper's best is 128 (Table IV).
        dropout: p of the alpha dropout, the mask z of the paper; 0.1 is its best (Table IV).
        pooling: "average", or "max" for the ablation of Table III (a).
        hidden: width of the two hidden layers.
        out: D_h, length of the vector.
    """

    def __init__(
        self,
        *,
        pool: int = 128,
        dropout: float = 0.1,
        pooling: Pooling = "average",
        hidden: int = 512,
        out: int = 128,
    ) -> None:
        super().__init__()
        self.dropout = nn.AlphaDropout(dropout)
        self.pool = (
            nn.AdaptiveAvgPool2d(pool) if pooling == "average" else nn.AdaptiveMaxPool2d(pool)
        )
        self.mlp = nn.Sequential(
            nn.Linear(pool * pool, hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, out),
        )

    def forward(self, boundary: Tensor) -> Tensor:
        """Boundary-aware maps ``[B, X, Y, Z]`` -> one row a slice, ``[B * Z, D_h]``."""
        rows: Tensor = self.mlp(self._pooled(boundary))
        return rows

    def apart(self, boundary: Tensor) -> tuple[Tensor, Tensor]:
        """The rows twice: their gradient trains the head alone, and it reaches the maps alone."""
        pooled = self._pooled(boundary)
        return self.mlp(pooled.detach()), frozen_call(self.mlp, pooled)

    def _pooled(self, boundary: Tensor) -> Tensor:
        """What the perceptron reads of each slice, ``[B * Z, pool * pool]``."""
        slices = boundary.permute(0, 3, 1, 2).flatten(0, 1).unsqueeze(1)
        pooled: Tensor = self.pool(self.dropout(slices))
        return pooled.flatten(1)
