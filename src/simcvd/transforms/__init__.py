"""Augmentation: draw first, then apply, so that every view can be replayed."""
