"""Active learning: which of the unlabelled scans to label next, and why."""
