"""Scans in: reading, preparing once, and the cache that training reads.

Nothing is imported here, so that reading a cache does not import torch.
"""
