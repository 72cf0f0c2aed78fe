"""A strict double of the parts of EC2 and of the instance metadata service (IMDS) that address work needs.

It speaks the real wire protocols, so that an unchanged boto3, AWS CLI or IMDS client talks to it, and
refuses what EC2 refuses. `python -m tests.doubles --help` runs it as a program of its own; `Doubles` runs
it inside a test.
"""

from tests.doubles.clock import Clock, ManualClock
from tests.doubles.config.document import DocumentError
from tests.doubles.config.world_file import load_world
from tests.doubles.fault_injection import Connection, Fault
from tests.doubles.journal import Call
from tests.doubles.server import Doubles
from tests.doubles.state.model import World

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
