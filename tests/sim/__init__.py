"""A simulator of Amazon Cognito for tests: it counts, and misbehaves."""

from tests.sim.handle import Simulator
from tests.sim.record import Call, Stats

__all__ = ["Call", "Simulator", "Stats"]
