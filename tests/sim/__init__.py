"""A simulator of Amazon Cognito for tests: it counts calls and injects faults."""

from tests.sim.handle import Simulator
from tests.sim.record import Call, Stats

__all__ = ["Call", "Simulator", "Stats"]
