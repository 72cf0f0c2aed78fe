"""A rotation of CA and leaf under load: `python -m tests.cluster.rotation_under_load ADDRESS CREATES`.

For a network namespace in which ADDRESS, no loopback one, is the machine's. `multus-eni certs run` works with
its own token; two replicas of `multus-eni serve` stand behind one Service and read their files as the kubelet
would write them, each with its own delay. Dry-run creates run from before the rotation to its end. Prints
as JSON what came of it.
"""

from __future__ import annotations

import hashlib
import json
import ssl
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import yaml
from cryptography import x509

from common.agent_container import CONTAINER_NAME
from common.pod_keys import INJECTION
from tests import programs
from tests.cluster.api import Manifest
from tests.cluster.certs_process import Certs, Place, make_place
from tests.cluster.control_plane import ControlPlane
from tests.cluster.drain_under_load import Load
from tests.cluster.manifests import multus_pod
from tests.cluster.namespaces import Namespaces, names_of
from tests.cluster.processes import Process
from tests.cluster.tools import Missing, find_binaries
from tests.cluster.waiting import wait_for
from tests.cluster.webhook import SETTINGS

PROPAGATION = 25
"""Seconds: the webhook looks at its files every 15, and the slower of the volumes lags by 3."""
LAGS = (0.5, 3.0)
"""Seconds by which the replicas' volumes lag behind the Secret."""
FLAGS = [f"--propagation={PROPAGATION}s", "--api-propagation=3s"]
PAUSE = 1.5
"""Seconds between two creates of a client: 18 a second over a whole rotation."""
SYNC = 0.5
"""Seconds between two looks of a volume at its Secret."""
PATIENCE = 120.0
"""Seconds for a whole rotation."""


class Volume:
    """A Secret's volume, from `with` to the end of its block: files behind one link, as with the kubelet."""

    def __init__(self, place: Place, folder: Path, lag: float) -> None:
        self.folder = folder
        self._place = place
        self._lag = lag
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sync_for_ever)
        self._versions = 0

    def __enter__(self) -> Self:
        self.folder.mkdir()
        for name in ("tls.crt", "tls.key"):
            (self.folder / name).symlink_to(Path("..data", name))
        self._write(self._place.data())
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _sync_for_ever(self) -> None:
        present = self._place.data()
        while not self._stop.wait(SYNC):
            data = self._place.data()
            if data != present:
                present = data
                self._stop.wait(self._lag)
                self._write(data)

    def _write(self, data: dict[str, bytes]) -> None:
        self._versions += 1
        version = self.folder / f"..{self._versions}"
        version.mkdir()
        for name in ("tls.crt", "tls.key"):
            (version / name).write_bytes(data[name])
        link = self.folder / "..data_tmp"
        link.symlink_to(version.name)
        link.replace(self.folder / "..data")


class Replica:
    """`multus-eni serve` with a Secret's volume, from `with` to the end of its block."""

    def __init__(self, place: Place, folder: Path, lag: float, address: str) -> None:
        self._address = address
        self._volume = Volume(place, folder / "tls", lag)
        config = folder / "webhook.yaml"
        config.write_text(yaml.safe_dump(dict(SETTINGS)), encoding="utf-8")
        files = [f"--config={config}", f"--tls-cert={folder}/tls/tls.crt", f"--tls-key={folder}/tls/tls.key"]
        argv = [programs.MULTUS_ENI, "serve", *files, f"--host={address}", "--port=0"]
        self.process = Process("multus-eni serve", argv, log=folder / "webhook.log")
        self.port = 0
        self._exit = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self._volume)
            process = stack.enter_context(self.process)
            self.port = process.wait_until(self._started, "line that says which port it listens on", 30)
            self._exit = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    def count(self, event: str) -> int:
        """Return how many lines of its log have this event."""
        return self.process.log.read_bytes().count(f'"event":"{event}"'.encode())

    def serves(self) -> str:
        """Return the serial number of the certificate that it serves."""
        pem = ssl.get_server_certificate((self._address, self.port), timeout=10)
        return serial(pem.encode())

    def _started(self) -> int | None:
        for line in self.process.log.read_text(encoding="utf-8").splitlines():
            if '"event":"started"' in line:
                return int(json.loads(line)["port"])
        return None


def serial(pem: bytes) -> str:
    """Return the serial number of the first certificate."""
    return hex(x509.load_pem_x509_certificate(pem).serial_number)


def service(place: Place, address: str, replicas: list[Replica]) -> list[Manifest]:
    """Make the Service, and an EndpointSlice for each replica."""
    named = {"name": place.service, "namespace": place.namespace}
    slices = [
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": f"{place.service}-{number}",
                "namespace": place.namespace,
                "labels": {"kubernetes.io/service-name": place.service},
            },
            "addressType": "IPv4",
            "ports": [{"port": replica.port}],
            "endpoints": [{"addresses": [address]}],
        }
        for number, replica in enumerate(replicas)
    ]
    return [
        {"apiVersion": "v1", "kind": "Service", "metadata": named, "spec": {"ports": [{"port": 443}]}},
        *slices,
    ]


def rotate(place: Place, certs: Certs, replicas: list[Replica], creates: int) -> dict[str, Any]:
    """Rotate under load."""
    namespaces = Namespaces(place.api, place.namespace)
    probed = namespaces.make({INJECTION: "enabled"})

    def called() -> bool:
        spec = probed.create(multus_pod(), dry_run=True).object["spec"]
        return CONTAINER_NAME in names_of(spec.get("initContainers"))

    wait_for(called, "call by the webhook configuration")
    before, first = place.data(), len(certs.wrote())
    with Load(namespaces, PAUSE) as load:
        load.goes_on(100)
        answered = [replica.count("decision") for replica in replicas]
        began, done = time.monotonic(), load.done
        # A lost CA key is how a rotation is asked for.
        place.set_data(ca_key=b"")
        # Connections of entries that were not called before are opened all along.
        load.open_connections()

        def rotated() -> bool:
            return place.data()["tls.crt"] != before["tls.crt"] and place.in_order() and place.one_authority()

        certs.until(rotated, "end of the rotation", PATIENCE)
        seconds, during = time.monotonic() - began, load.done - done
        load.goes_on(200)
        wait_for(lambda: load.done >= creates, f"{creates} creates", max(600.0, creates / 10))
    after = place.data()
    # The slower volume lags behind the Secret, and the webhook looks at its files now and then.
    expected = serial(after["tls.crt"])
    wait_for(
        lambda: all(each.serves() == expected for each in replicas), "new certificate everywhere", PATIENCE
    )
    return {
        "creates": load.done,
        "creates_during_rotation": during,
        "failures": load.failures[:5],
        "failed": len(load.failures),
        "seconds": round(seconds, 1),
        "wrote": certs.wrote()[first:],
        "answered": [
            replica.count("decision") - start for replica, start in zip(replicas, answered, strict=True)
        ],
        "reloaded": [replica.count("certificate_reloaded") for replica in replicas],
        "unusable": [replica.count("certificate_unusable") for replica in replicas],
        "another_ca": hashlib.sha256(before["ca.crt"]).digest() != hashlib.sha256(after["ca.crt"]).digest(),
    }


def main() -> None:
    address, creates = sys.argv[1], int(sys.argv[2])
    binaries = find_binaries()
    if isinstance(binaries, Missing):
        sys.exit(str(binaries))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        plane = stack.enter_context(
            ControlPlane(binaries, bind_address=address, controller_manager=False, aggregator_routing=True)
        )
        api = stack.enter_context(plane.client())
        place = make_place(plane, api, "rotation", folder)
        api.create(place.manifest(behind_service=True))
        certs = stack.enter_context(Certs(place, flags=FLAGS))
        certs.until(place.in_order, "first certificate")
        replicas = []
        for number, lag in enumerate(LAGS):
            (folder / str(number)).mkdir()
            replicas.append(stack.enter_context(Replica(place, folder / str(number), lag, address)))
        for manifest in service(place, address, replicas):
            api.create(manifest)
        print(json.dumps(rotate(place, certs, replicas, creates)))


if __name__ == "__main__":
    main()
