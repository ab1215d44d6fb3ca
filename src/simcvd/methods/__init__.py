"""The compared methods, one file each; see :mod:`simcvd.methods.base`."""
