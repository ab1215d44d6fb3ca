"""Loss terms: tensors in, one scalar out, always computed in float32 outside autocast."""
