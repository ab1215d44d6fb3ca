"""Semi-supervised segmentation of 3D medical scans.

``simcvd.run``, ``check``, ``plan``, ``prepare``, ``train``, ``predict``, ``evaluate``, ``export``
and their companions are the functions of `simcvd.api`, which is imported when the first of them
is asked for: importing the package itself costs no time.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simcvd.api import (
        Plan,
        SimcvdError,
        check,
        evaluate,
        export,
        load_model,
        next,
        plan,
        predict,
        prepare,
        read_plan,
        run,
        score_run,
        summarise,
        train,
        write_plan,
        write_scans,
    )

__version__ = "0.1.0"
__all__ = [
    "Plan",
    "SimcvdError",
    "check",
    "evaluate",
    "export",
    "load_model",
    "next",
    "plan",
    "predict",
    "prepare",
    "read_plan",
    "run",
    "score_run",
    "summarise",
    "train",
    "write_plan",
    "write_scans",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("simcvd.api"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
