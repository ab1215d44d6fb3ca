"""From a trained network and a scan to a label map in the scan's own geometry."""
