"""The machine that the tables of the tests were measured on."""

from __future__ import annotations

from benchmarks.common.machine import Machine

MACHINE = Machine(
    cpu="A CPU",
    cores=2,
    memory_gb=24.0,
    kernel="Linux 6.1",
    system="Debian 12",
    python="CPython 3.11.7",
    openssl="OpenSSL 3.0",
    libraries={"botocore": "1.44.5", "uvicorn": "0.54.0"},
    busy=0.04,
)
