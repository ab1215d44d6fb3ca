"""The readers and writers of `simcvd.formats`, under the name that scripts know them by."""

from simcvd.formats import read_image, read_label, write_image, write_label

__all__ = ["read_image", "read_label", "write_image", "write_label"]
