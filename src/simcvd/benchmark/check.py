"""Hold a prepared data set against the protocol that its results are to carry."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

from simcvd.benchmark.protocols import Protocol, hash_of
from simcvd.data.audit import CROPPED, Finding
from simcvd.data.cache import Cache
from simcvd.types import SimcvdError

SPLITS = Path(__file__).parent / "splits"  # NAME-DIGEST.json, written as a splits.json


def check(protocol: Protocol, cache: Cache, findings: Sequence[Finding]) -> None:
    """Refuse data that are not the protocol's.

    findings: of :func:`simcvd.data.audit.audit`. Raises SimcvdError with everything that differs.
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
        wrong += [f.text for f in findings if f.kind == CROPPED]
    wrong += _other_lists(protocol, cache)
    if wrong:
        raise SimcvdError(
            f"these data are not those of protocol {protocol.name}:\n  "
            + "\n  ".join(wrong)
            + f"\nPrepare them as it says ({protocol.about}), or choose another protocol"
        )


def _other_lists(protocol: Protocol, cache: Cache) -> list[str]:
    """How the lists of scans differ from the protocol's and what to do; empty if they do not."""
    has = {"train": list(cache.train), "test": list(cache.test)}
    if protocol.lists is None or hash_of(has) == protocol.lists:
        return []
    advice = "lists of your own are another protocol: --change lists=None"
    file = next(SPLITS.glob(f"*-{protocol.lists}.json"), None)
    if file is None:
        return [f"lists: digest {hash_of(has)}, not {protocol.lists}; {advice}"]
    wanted = json.loads(file.read_text(encoding="utf-8"))
    other = [part for part in has if has[part] != wanted[part]]
    return [
        *(f"{part} list: {_told(has[part], wanted[part])}" for part in other),
        f"lists: put those of {file} beside the scans (as splits.json or as train.list and "
        f"test.list) and prepare again; {advice}",
    ]


def _told(has: Sequence[str], wanted: Sequence[str]) -> str:
    """How two lists that are not equal differ, with the first names that do."""
    missing = [name for name in wanted if name not in set(has)]
    others = [name for name in has if name not in set(wanted)]
    words = []
    if missing:
        words.append(f"lacks {len(missing)} of the protocol's {len(wanted)}, first {missing[0]}")
    if others:
        words.append(f"has {len(others)} that the protocol's lacks, first {others[0]}")
    if words:
        return "; ".join(words)
    pairs = enumerate(zip_longest(has, wanted, fillvalue="nothing"), start=1)
    place, (mine, its) = next((place, pair) for place, pair in pairs if pair[0] != pair[1])
    return f"the same names in another order, first at place {place}: {mine}, not {its}"
