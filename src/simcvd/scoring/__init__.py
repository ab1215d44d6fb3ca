"""Scores, their comparison, and the words for both; the one reader and writer of metrics.json."""
