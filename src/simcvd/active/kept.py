"""What was seen of the scans of a round, kept in ``WORK/next``: ``NAME.json`` for each scan.

A file counts for the models and the prepared scan that it was made of, and for no other.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simcvd.active.looking import Seen
from simcvd.active.picking import listed, needs_of, pick, usable
from simcvd.files import read_object, write_json
from simcvd.inference.model import DESCRIPTION, digest_of
from simcvd.naming import inside
from simcvd.pipeline.compare import MEAN
from simcvd.pipeline.rounds import NEXT
from simcvd.records import as_json, typed
from simcvd.training.run import folds_in, read_config
from simcvd.types import SimcvdError

FORMAT = 1
LISTED = 100  # picked one by one for a list: picking all takes the square of their number


@dataclass(frozen=True)
class Kept:
    """The models of a round, and what they were found to make of its scans.

    model: the folder of the final one. members: those of the folds of the same arm, none where
    there are no two.
    """

    folder: Path
    model: Path
    members: tuple[Path, ...]
    digests: tuple[str, ...]

    @classmethod
    def of(cls, work: Path) -> Kept:
        """Raises SimcvdError where the round has no model yet, or a damaged one."""
        model = work / "model"
        if not (model / DESCRIPTION).is_file():
            raise SimcvdError(
                f"{work}: its round has no model yet; `simcvd run --out {work}` resumes it"
            )
        config = read_config(model)
        arm = MEAN if "mean_of" in config else config["run"]["method"]
        folds = [fold for fold in folds_in(work / arm) if (fold / DESCRIPTION).exists()]
        members = tuple(folds) if len(folds) > 1 else ()
        return cls(work / NEXT, model, members, tuple(map(digest_of, (model, *members))))

    def get(self, name: str, *, labeled: bool, scan: str | None = None) -> Seen | None:
        """What was seen of a scan, if anything; of a labelled one the members do not matter.

        scan: the hash of the prepared scan, None for any.
        """
        with suppress(SimcvdError, KeyError, TypeError):  # as good as none, and written anew
            kept = read_object(inside(self.folder, name, ".json"), "")
            if kept["format"] == FORMAT and scan in (None, kept["scan"]):
                wanted = self.digests[: 1 if labeled else None]
                if tuple(kept["models"][: len(wanted)]) == wanted:
                    seen: Seen = typed(Seen, kept["seen"])
                    return seen
        return None

    def put(self, name: str, seen: Seen, *, labeled: bool, scan: str) -> None:
        """Raises CannotWrite."""
        models = self.digests[: 1 if labeled else None]
        record: dict[str, Any] = {"format": FORMAT, "scan": scan, "models": list(models)}
        write_json(inside(self.folder, name, ".json"), {**record, "seen": as_json(seen)})


def known_order(work: Path, unlabeled: Sequence[str], labeled: Sequence[str]) -> list[str]:
    """The unlabelled scans of which enough is known, as `suggest` lists them by default.

    Nothing heavy is computed: `LISTED` are picked one by one, the others follow by their need.
    """
    try:
        kept = Kept.of(work)
    except (SimcvdError, KeyError):
        return []
    there = {name: seen for name in unlabeled if (seen := kept.get(name, labeled=False))}
    here = [seen for name in labeled if (seen := kept.get(name, labeled=True))]
    scans, names = list(there.values()), list(there)
    needs = needs_of(scans, here)
    by = usable(needs)
    return [names[i] for i in listed(needs, pick(scans, here, by, LISTED), by)]
