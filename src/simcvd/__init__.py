"""Semi-supervised segmentation of 3D medical scans.

``simcvd.run``, ``check``, ``plan``, ``prepare``, ``train``, ``predict``, ``evaluate``, ``export``
and their companions are the steps of the job; ``Method``, ``Prediction``, ``VNet``,
``ResidualUNet``, ``accelerate`` and ``fit`` are parts for work of one's own. Each is imported when
it is asked for: importing the package costs no time, and scoring arrays does not load torch.
"""

import sys
import warnings
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if find_spec("fcntl") is None:
    raise ImportError(
        f"{sys.platform} cannot run simcvd: this Python lacks fcntl, with which POSIX systems lock "
        "files. Use Linux; on Windows that can be WSL 2 or a container (the Dockerfile)."
    )
if sys.platform != "linux":
    warnings.warn(f"{sys.platform}: simcvd's tests ran on Linux only", stacklevel=2)

if TYPE_CHECKING:
    from simcvd.api import (
        Plan,
        check,
        export,
        load_model,
        next,
        plan,
        predict,
        prepare,
        read_plan,
        run,
        score_run,
        train,
        write_plan,
        write_scans,
    )
    from simcvd.methods.base import Method
    from simcvd.networks.fast import accelerate
    from simcvd.networks.residual_unet import ResidualUNet
    from simcvd.networks.vnet import VNet
    from simcvd.scoring.evaluate import evaluate
    from simcvd.scoring.scores import summarise
    from simcvd.training.step import fit
    from simcvd.types import Prediction, SimcvdError

__version__ = "0.2.0"
# Where a name is, if not in `simcvd.api`.
_ELSEWHERE = {
    "Method": "simcvd.methods.base",
    "Prediction": "simcvd.types",
    "ResidualUNet": "simcvd.networks.residual_unet",
    "SimcvdError": "simcvd.types",
    "VNet": "simcvd.networks.vnet",
    "accelerate": "simcvd.networks.fast",
    "evaluate": "simcvd.scoring.evaluate",
    "fit": "simcvd.training.step",
    "summarise": "simcvd.scoring.scores",
}
__all__ = [
    "Method",
    "Plan",
    "Prediction",
    "ResidualUNet",
    "SimcvdError",
    "VNet",
    "accelerate",
    "check",
    "evaluate",
    "export",
    "fit",
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
    return getattr(import_module(_ELSEWHERE.get(name, "simcvd.api")), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
