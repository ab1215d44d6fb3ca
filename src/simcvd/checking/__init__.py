"""What is wrong with scans: facts of each, comparisons between them, leaks, and mended copies."""
