"""The same networks, faster on a CPU: layers exchanged by type, names and weights as they are."""

from simcvd.networks.fast.exchange import accelerate, is_accelerated, plain

__all__ = ["accelerate", "is_accelerated", "plain"]
