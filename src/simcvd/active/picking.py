"""From what was seen of the scans to the ones to label next.

"distance" is the greedy solution of the k-centre problem of Sener and Savarese (ICLR 2018): each
scan taken is the one that is farthest from all that are labelled or taken, so that n scans are not
n times the same. "mix" takes the scan of the highest mean rank by everything that is known, with
the distance as it then is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy.spatial.distance import cdist
from scipy.stats import rankdata

from simcvd.active.looking import Seen
from simcvd.types import SimcvdError

By = Literal["uncertainty", "disagreement", "distance", "mix"]
STRATEGIES: tuple[By, ...] = ("uncertainty", "disagreement", "distance", "mix")
TAKES = {
    "disagreement": "the models of two folds or more, and this round has not two",
    "distance": "a network that gives its deepest map, and this round's does not",
}
DEFAULT: By = "distance"


@dataclass(frozen=True)
class Needs:
    """What speaks for labelling each of N scans, greater is more.

    Each is ``[N]``. distance: to the nearest scan that is labelled, None for a network that gives
    no features. disagreement: None where there are no two members.
    """

    uncertainty: np.ndarray
    distance: np.ndarray | None = None
    disagreement: np.ndarray | None = None

    @property
    def known(self) -> dict[str, np.ndarray]:
        """By name, without what is not known."""
        return {name: values for name, values in vars(self).items() if values is not None}

    def of(self, scans: np.ndarray) -> Needs:
        """The same of some of the scans, by index."""
        return Needs(**{name: values[scans] for name, values in self.known.items()})

    def by(self, strategy: By) -> np.ndarray:
        """The need of each scan, ``[N]``: of "mix" the mean rank in (0, 1], equals sharing theirs.

        Raises SimcvdError where that is not known.
        """
        if strategy == "mix":
            ranks = [rankdata(values) / len(values) for values in self.known.values()]
            return np.mean(ranks, axis=0)
        if strategy not in self.known:
            raise SimcvdError(
                f"{strategy} takes {TAKES[strategy]}; choose another of {', '.join(STRATEGIES)}"
            )
        return self.known[strategy]


def usable(needs: Needs) -> By:
    """The strategy where none is asked for: the default, where what it takes is known."""
    return DEFAULT if DEFAULT in needs.known else "uncertainty"


def needs_of(unlabeled: Sequence[Seen], labeled: Sequence[Seen]) -> Needs:
    """What speaks for each of the unlabelled scans, as long as nothing else is labelled."""
    disagreement = [one.disagreement for one in unlabeled]
    mapped = all(one.features for one in (*unlabeled, *labeled))
    return Needs(
        uncertainty=np.array([one.uncertainty for one in unlabeled]),
        distance=distances(unlabeled, labeled) if mapped else None,
        disagreement=None if None in disagreement else np.array(disagreement, np.float64),
    )


def distances(scans: Sequence[Seen], others: Sequence[Seen]) -> np.ndarray:
    """Of each scan to the nearest of the others, in feature space; infinite if there is none."""
    if not scans or not others:
        return np.full(len(scans), np.inf)
    return nearest(features_of(scans), features_of(others))


def nearest(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Of each of the points ``[N, E]`` to the nearest of the others ``[M, E]``."""
    found: np.ndarray = cdist(points, others).min(1)
    return found


def features_of(scans: Sequence[Seen]) -> np.ndarray:
    """``[N, E]``."""
    return np.array([one.features for one in scans], np.float64)


@dataclass(frozen=True, kw_only=True)
class Pick:
    """A scan to label. index: among the unlabelled.

    places: by each thing that is known, how many of all unlabelled scans are needed more, plus 1.
    """

    index: int
    places: dict[str, int]


def pick(unlabeled: Sequence[Seen], labeled: Sequence[Seen], by: By, count: int) -> list[Pick]:
    """Which of the unlabelled scans to label next, at most ``count``, the most needed first.

    Taken one by one; one that is taken counts as labelled from then on. Of equals the first.
    Raises SimcvdError where ``by`` is not known.
    """
    needs = needs_of(unlabeled, labeled)
    points, taken = features_of(unlabeled), list[Pick]()
    left = np.arange(len(unlabeled))
    while len(left) and len(taken) < count:
        index = int(left[needs.of(left).by(by).argmax()])
        places = {name: 1 + int((v > v[index]).sum()) for name, v in needs.known.items()}
        taken.append(Pick(index=index, places=places))
        left = left[left != index]
        if needs.distance is not None:
            to_this = nearest(points, points[[index]])
            needs = replace(needs, distance=np.minimum(needs.distance, to_this))
    return taken


def listed(needs: Needs, picks: Sequence[Pick], by: By) -> list[int]:
    """All unlabelled scans: those that were picked, then the others by their need."""
    taken = [one.index for one in picks]
    return taken + [int(i) for i in np.argsort(-needs.by(by), kind="stable") if i not in {*taken}]
