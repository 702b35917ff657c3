"""A benchmark becomes a graph of stages with content-addressed ids."""

from harness.plan.build import build_plan, data_stage
from harness.plan.graph import Plan, Row, Stage

__all__ = ["Plan", "Row", "Stage", "build_plan", "data_stage"]
