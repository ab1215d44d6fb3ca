"""Networks: ``[B, C, X, Y, Z]`` in, a :class:`simcvd.types.Prediction` out."""
