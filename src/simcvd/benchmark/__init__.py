"""Grids of trainings under one protocol, and tables that say how sure they are."""
