"""Processes of `multus-eni certs run` in a simulated cluster, with everything that may go wrong.

The real loop and store run against `world.World`. Chance decides, wherever a process makes a request: time
passes, the other process goes round meanwhile, an answer is lost, the process ends and another one starts.
Between rounds somebody damages the objects, but never both before one of them is put right: what neither
of them remembers nobody can know.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import cast

from certs.controller import Controller
from certs.issue import issue_leaf, make_authority
from certs.metrics import MetricsAndProbes
from certs.rotation import MAX_AUTHORITIES, Now, Settings
from certs.store import Names, Store
from certs.x509 import read_certificate
from common.kube.client import Client
from common.kube.errors import Unreachable
from common.log import JsonLog
from tests.certs.world import START, FakeClient, World

DAY = 86400.0
NAME = "injector.system.svc"
NAMES = Names("system", "tls", "injector")
SETTINGS = Settings(frozenset({NAME}), 60 * DAY, 200 * DAY, propagation=300.0, api_propagation=10.0)


class Crash(BaseException):
    """The process ends here; as BaseException, so that nothing in it can hold that up."""


@dataclass(slots=True)
class Instance:
    """One process; `due` is when it goes round again."""

    simulation: Simulation
    skew: float = 0.0
    due: float = START
    busy: bool = False
    log: io.BytesIO = field(default_factory=io.BytesIO)
    loop: Controller = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Start with an empty memory."""
        client = FakeClient(self.simulation.world, self._between)
        store = Store(cast(Client, client), NAMES)
        metrics = MetricsAndProbes(lambda: self.now().steady, 1e9)
        self.loop = Controller(store, self.simulation.settings, self, JsonLog(self.log), metrics)
        self.loop.tick = DAY

    def _between(self, what: str) -> None:
        # Looked up at each request: a test may have put something else in its place.
        self.simulation.between(what)

    def now(self) -> Now:
        """Return the time as this process's machine does."""
        time = self.simulation.world.time
        return Now(time + self.skew, time)

    def turn(self) -> None:
        """Go round once."""
        self.busy = True
        try:
            self.due = self.loop.turn() + self.simulation.world.time
        except Crash:
            self.start()
            self.due = self.simulation.world.time + self.simulation.random.uniform(0, 1200)
        finally:
            self.busy = False


class Simulation:
    """A world, its processes, and chance."""

    def __init__(self, random: Random, instances: int = 2) -> None:
        self.random = random
        self.settings = SETTINGS
        self.world = World(NAME, SETTINGS.propagation, SETTINGS.api_propagation)
        self.calm = False
        """Nothing goes wrong while it is set."""
        self.troubles: list[str] = []
        self.instances = [Instance(self) for _ in range(instances)]

    def run(self, seconds: float, *, damage: bool = True) -> None:
        """Let so much time pass."""
        end = self.world.time + seconds
        harm = self._next_harm()
        while self.world.time < end:
            following = min(self.instances, key=lambda each: each.due)
            if damage and harm < min(following.due, end):
                self._pass_to(harm)
                self._harm()
                harm = self._next_harm()
                continue
            self._pass_to(min(following.due, end))
            if self.world.time < end:
                following.turn()
            self.check()

    def check(self) -> None:
        """Fail where a replica and an API server would not agree now."""
        found = list(self.world.disagreements())
        assert not found, (found, self.world.time - START, self.troubles[-5:], self.story())

    def settled(self) -> bool:
        """Return whether one leaf is served and one CA trusted, and they agree."""
        served, bundles = self.world.possible()
        return len(served) == len(bundles) == 1 and bundles[0].count(b"BEGIN") == 1

    def story(self) -> str:
        """Return the ends of the processes' logs."""
        return "\n".join(
            line for each in self.instances for line in each.log.getvalue().decode().splitlines()[-12:]
        )

    def between(self, what: str) -> None:
        """Let things happen where a process makes a request (see the module)."""
        if self.calm:
            return
        self._stall(self.random.choices((0.0, 0.05, 2.0, 14.0, 900.0), (20, 40, 20, 18, 2))[0])
        chance = self.random.random()
        if chance < 0.03:
            raise Crash
        if chance < 0.06:
            raise Unreachable(f"the {what} has no answer")
        others = [each for each in self.instances if not each.busy]
        if others and chance < 0.3:
            self.random.choice(others).turn()

    def _stall(self, seconds: float) -> None:
        """Let time pass, in which the other processes go on."""
        end = self.world.time + seconds
        while others := [each for each in self.instances if not each.busy and each.due <= end]:
            following = min(others, key=lambda each: each.due)
            self._pass_to(following.due)
            following.turn()
        self._pass_to(end)

    def _pass_to(self, when: float) -> None:
        # What a replica stops to serve, and what an API server forgets, is looked at just before.
        self.world.advance(max(0.0, when - self.world.time))
        self.check()

    def _next_harm(self) -> float:
        return self.world.time + self.random.choice((5.0, 30.0, 200.0, DAY, 10 * DAY, 40 * DAY))

    def _harm(self) -> None:
        secret_remembers, bundles_remember = self.world.remembered()
        harms: list[Callable[[], None]] = [self._restart, self._wrong_clock]
        # There is a limit to how many CAs are kept, and each harm may add some.
        room = self.world.authorities() <= MAX_AUTHORITIES // 2
        if room and bundles_remember and self.world.secret is not None:
            harms += [self._delete_secret, self._damage_secret, self._damage_secret]
        if room and secret_remembers and self.world.configuration is not None:
            harms += [self._damage_bundle, self._damage_bundle, self._recreate, self._foreign_authority]
        if self.world.configuration is None:
            harms = [self._recreate]
        harm = self.random.choice(harms)
        self.troubles.append(f"{self.world.time - START:.0f} {harm.__name__}")
        harm()
        self._tell()

    def _tell(self) -> None:
        """Let the watches tell the processes, soon or, where they were lost, later."""
        for each in self.instances:
            each.loop.wake()
            each.due = min(each.due, self.world.time + self.random.choice((0.0, 0.1, 1.0, 40.0)))

    def _restart(self) -> None:
        instance = self.random.choice(self.instances)
        instance.start()
        instance.due = self.world.time + self.random.choice((1.0, 600.0, DAY))

    def _wrong_clock(self) -> None:
        self.random.choice(self.instances).skew = self.random.choice(
            (0.0, 200.0, -200.0, 40 * DAY, -40 * DAY)
        )

    def _delete_secret(self) -> None:
        self.world.put_secret(None, ours=False)

    def _damage_secret(self) -> None:
        data = self.world.data()
        for key in self.random.sample(sorted(data), self.random.randint(min(1, len(data)), len(data))):
            if self.random.random() < 0.5:
                del data[key]
            else:
                data[key] = self.random.choice((b"", b"junk", data[key][:-40], self._foreign(key)))
        self.world.put_secret(data, ours=False)

    def _damage_bundle(self) -> None:
        names = self.random.sample(self.world.entries, self.random.randint(1, len(self.world.entries)))
        self.world.put_bundles(
            {name: self.random.choice((b"", b"junk", self._foreign("ca.crt"))) for name in names}, ours=False
        )

    def _foreign_authority(self) -> None:
        bundles = {name: text + self._foreign("ca.crt") for name, text in self.world.bundles().items()}
        self.world.put_bundles(bundles, ours=False)

    def _recreate(self) -> None:
        if self.world.configuration is not None and self.random.random() < 0.5:
            self.world.remove_configuration()
        else:
            self.world.recreate()

    def _foreign(self, key: str) -> bytes:
        authority = make_authority(self.world.time, 100 * DAY)
        if key.startswith("ca."):
            return authority.certificate if key == "ca.crt" else authority.key
        certificate = read_certificate(authority.certificate)
        assert certificate
        leaf = issue_leaf(certificate, authority.key, [NAME], self.world.time, DAY)
        return leaf.certificate if key == "tls.crt" else leaf.key
