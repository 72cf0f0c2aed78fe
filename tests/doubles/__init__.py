"""A strict double of the parts of EC2 and of the instance metadata service (IMDS) that address work needs.

It speaks the real wire protocols, so that an unchanged boto3, AWS CLI or IMDS client talks to it, and
refuses what EC2 refuses. `python -m tests.doubles --help` runs it as a program of its own; `Doubles` runs
it inside a test.
"""

from tests.doubles.clock import Clock, ManualClock
from tests.doubles.document import DocumentError
from tests.doubles.faults import Connection, Fault
from tests.doubles.journal import Call
from tests.doubles.model import World
from tests.doubles.server import Doubles
from tests.doubles.world import load_world

__all__ = [
    "Call",
    "Clock",
    "Connection",
    "DocumentError",
    "Doubles",
    "Fault",
    "ManualClock",
    "World",
    "load_world",
]
