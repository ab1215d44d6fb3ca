"""The engine: everything a method does not own."""
