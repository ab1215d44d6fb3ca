"""A plan for a data set: how its scans are prepared, the network, and how it is trained."""

from simcvd.planning.make import make_plan, plan_from
from simcvd.planning.record import Plan
from simcvd.planning.text import read_plan, write_plan

__all__ = ["Plan", "make_plan", "plan_from", "read_plan", "write_plan"]
