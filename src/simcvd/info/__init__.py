"""Any file or folder of simcvd's, described: what it is, how far, and what comes next."""

from simcvd.info.describe import describe
from simcvd.info.record import Info

__all__ = ["Info", "describe"]
