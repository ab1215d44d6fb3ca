"""A trained model made ready for others: one zip with its card, and ONNX."""

from simcvd.share.export import Exported, export_run

__all__ = ["Exported", "export_run"]
