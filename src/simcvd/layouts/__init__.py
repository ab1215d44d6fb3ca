"""Recognising folders, one file a layout: which files are scans, which their labels, and why."""
