"""Which results may stand in one table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from simcvd.benchmark.results import RunResult
from simcvd.training.settings import differences
from simcvd.types import SimcvdError
from simcvd.wording import few


def check_alike(results: Sequence[RunResult]) -> None:
    """Refuse results that cannot stand in one table, with what differs.

    They must agree in protocol, data, scoring, scans and classes; two runs of one row with the
    same labels must differ in their seed, and in nothing else.
    """
    if not results:
        raise SimcvdError("there are no scored runs to make a table of; run the benchmark first")
    for result in results[1:]:
        _check_conditions(results[0], result)
        _check_scans(results[0], result)
    first: dict[tuple[str, int], RunResult] = {}
    for result in results:
        _check_settings(first.setdefault((result.row, result.labeled), result), result)
    _check_seeds(results)


def _check_conditions(a: RunResult, b: RunResult) -> None:
    if different := differences(_comparable(a), _comparable(b)):
        raise SimcvdError(
            f"{a.folder} and {b.folder} were not measured alike and cannot stand in one table:\n  "
            + "\n  ".join(different)
            + "\nMake one table of each, or run one of them again under the other's protocol"
        )


def _comparable(result: RunResult) -> dict[str, Any]:
    """The conditions with the protocol's fields at hand even where only one run has any."""
    return {**result.conditions, "protocol": dict(result.protocol or {"name": None})}


def _check_scans(a: RunResult, b: RunResult) -> None:
    if different := sorted(set(a.cases) ^ set(b.cases)):
        raise SimcvdError(
            f"{a.folder} and {b.folder} were scored on different scans: {few(different)} in one "
            "only. Score both on the same"
        )
    if a.classes != b.classes:
        raise SimcvdError(
            f"{a.folder} has classes {', '.join(a.classes)}, {b.folder} {', '.join(b.classes)}. "
            "Make one table of each"
        )


def _check_settings(a: RunResult, b: RunResult) -> None:
    if different := differences(_alone(a), _alone(b)):
        raise SimcvdError(
            f"{a.folder} and {b.folder} both call themselves row {a.row} with {a.labeled} labels, "
            "and are different systems:\n  " + "\n  ".join(different) + "\nRemove one of them"
        )


def _alone(result: RunResult) -> dict[str, Any]:
    """Settings without the package's version: an update does not make it another system."""
    return {key: value for key, value in result.settings.items() if key != "simcvd"}


def _check_seeds(results: Sequence[RunResult]) -> None:
    seen: dict[tuple[str, int, int], RunResult] = {}
    for result in results:
        other = seen.setdefault((result.row, result.labeled, result.seed), result)
        if other is not result:
            raise SimcvdError(
                f"{other.folder} and {result.folder} are the same training (row {result.row}, "
                f"{result.labeled} labels, seed {result.seed}); remove one of them"
            )
