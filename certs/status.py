"""The report of `multus-eni certs status`: what is valid until when, and what is done next."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from typing import Any

from certs.rotation import Action, Settings, Wait, in_sync, renewal
from certs.state import State
from certs.x509 import Certificate

Report = dict[str, Any]

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_LAST = 253402300799
"""9999-12-31T23:59:59Z, also the end of certificates that have none (RFC 5280, section 4.1.2.5)."""


def report(state: State, action: Action, wall: float, settings: Settings) -> Report:
    """Describe a state at `wall` (seconds since 1970) and the next action; times are RFC 3339."""
    secret = state.secret
    leaf, signing = secret.leaf, secret.signing
    return {
        "inOrder": in_sync(state, wall, settings),
        "secretExists": secret.exists,
        "certificate": None
        if leaf is None
        else _certificate(leaf.certificate, wall, settings.certificate_lifetime)
        | {"names": sorted(leaf.certificate.names), "issuer": leaf.issuer.subject},
        "signingCA": None if signing is None else _certificate(signing, wall, settings.ca_lifetime),
        "authorities": [_brief(each, wall) for each in secret.authorities.certificates],
        "entries": [
            {
                "name": entry.name,
                "trusts": [_brief(each, wall) for each in entry.trusted.certificates],
                "damaged": entry.trusted.damaged,
                "trustsCertificate": leaf is not None
                and leaf.issuer.fingerprint in entry.trusted.fingerprints,
            }
            for entry in state.entries
        ],
        "next": _next(action, wall),
    }


def to_text(found: Report) -> str:
    """Write a report for people."""
    leaf, signing, entries = found["certificate"], found["signingCA"], found["entries"]
    trusting = sum(entry["trustsCertificate"] for entry in entries)
    lines = [
        f"in order:     {'yes' if found['inOrder'] else 'no'}",
        f"certificate:  {_line(leaf)}",
        *([f"              for {', '.join(leaf['names'])}, issued by {leaf['issuer']}"] if leaf else []),
        f"signing CA:   {_line(signing)}",
        *(f"              trusted beside it: {each['subject']}" for each in _beside(found, signing)),
        f"caBundle:     {trusting} of {len(entries)} entries trust the certificate"
        if entries
        else "caBundle:     there is no configuration with entries",
        f"next:         {_next_line(found['next'])}",
    ]
    return "\n".join(lines) + "\n"


def _certificate(certificate: Certificate, wall: float, lifetime: float) -> Report:
    return _brief(certificate, wall) | {"renewal": _time(renewal(certificate, lifetime))}


def _brief(certificate: Certificate, wall: float) -> Report:
    return {
        "subject": certificate.subject,
        "fingerprint": certificate.fingerprint,
        "notBefore": _time(certificate.not_before),
        "notAfter": _time(certificate.not_after),
        "valid": certificate.valid_at(wall),
    }


def _next(action: Action, wall: float) -> Report:
    if isinstance(action, Wait):
        return {"action": "Wait", "why": action.why, "until": _time(wall + action.seconds)}
    return {"action": type(action).__name__, "why": action.why, "until": None}


def _line(certificate: Report | None) -> str:
    if certificate is None:
        return "none that is usable"
    state = "valid" if certificate["valid"] else "NOT VALID"
    return f"{state} until {certificate['notAfter']}, renewed from {certificate['renewal']} on"


def _beside(found: Report, signing: Report | None) -> Iterable[Report]:
    known = {signing["fingerprint"]} if signing else set()
    for each in (*found["authorities"], *(each for entry in found["entries"] for each in entry["trusts"])):
        if each["fingerprint"] not in known:
            known.add(each["fingerprint"])
            yield each


def _next_line(found: Report) -> str:
    if found["action"] == "Wait":
        return f"nothing before {found['until']} ({found['why']})"
    return f"{found['action']} ({found['why']})"


def _time(when: float) -> str:
    known = datetime.timedelta(seconds=min(int(when), _LAST))
    return (_EPOCH + known).strftime("%Y-%m-%dT%H:%M:%SZ")
