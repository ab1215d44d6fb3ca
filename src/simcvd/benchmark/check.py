"""Hold a prepared data set against the protocol that its results are to carry."""

from __future__ import annotations

from collections.abc import Sequence

from simcvd.benchmark.protocols import Protocol, hash_of
from simcvd.checking.audit import CROPPED
from simcvd.checking.findings import Finding
from simcvd.data.cache import Cache
from simcvd.types import SimcvdError


def check(protocol: Protocol, cache: Cache, findings: Sequence[Finding]) -> None:
    """Refuse data that are not the protocol's.

    findings: of `simcvd.checking.audit.audit`. Raises SimcvdError with everything that differs.
    """
    manifest, done = cache.manifest, cache.manifest.preprocessing
    wrong = [
        f"{what}: {has} in {cache.root}, {wanted} in the protocol"
        for what, has, wanted in (
            ("training scans", len(cache.train), protocol.train_scans),
            ("test scans", len(cache.test), protocol.test_scans),
            ("normalisation", done.normalization, protocol.normalization),
            ("window", done.window, protocol.window),
            ("crop", done.crop, "none" if protocol.margin is None else "label"),
            ("margin", done.margin, protocol.margin or (0, 0, 0)),
        )
        if has != wanted
    ]
    if any(abs(a / b - 1) > 0.01 for a, b in zip(manifest.spacing, protocol.spacing, strict=True)):
        wrong.append(f"spacing: {manifest.spacing} mm in {cache.root}, not {protocol.spacing}")
    if protocol.crop == "none":
        wrong += [f.message for f in findings if f.kind == CROPPED]
    wrong += _other_lists(protocol, cache)
    if wrong:
        raise SimcvdError(
            f"these data are not those of protocol {protocol.name}:\n  "
            + "\n  ".join(wrong)
            + f"\nPrepare them as it says ({protocol.about}), or choose another protocol"
        )


def _other_lists(protocol: Protocol, cache: Cache) -> list[str]:
    """That the lists of scans are not the protocol's; empty if they are, or it has no digest."""
    found = hash_of({"train": cache.train, "test": cache.test})
    if protocol.lists in (None, found):
        return []
    return [
        f"lists of scans: digest {found}, not {protocol.lists}, so that some scan is missing, "
        f"foreign or at another place in train or test; the protocol's are: {protocol.split}. "
        "Lists of your own are another protocol, --change lists=None"
    ]
