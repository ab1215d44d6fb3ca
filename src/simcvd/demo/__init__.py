"""The main job on scans made up for it: phantoms, and the command that learns from them."""
