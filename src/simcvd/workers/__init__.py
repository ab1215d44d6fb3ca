"""Who does the work of many scans or runs: processes of this machine, or those of a cluster."""
