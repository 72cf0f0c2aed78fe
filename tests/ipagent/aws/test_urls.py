"""URLs are read as `urllib.parse` reads them, with it or without."""

from __future__ import annotations

import subprocess
import sys
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ipagent.aws.urls import Url, split_url

pytestmark = pytest.mark.pure

USUAL = (
    "https://ec2.us-east-2.amazonaws.com",
    "http://169.254.169.254",
    "http://169.254.170.23/v1/credentials",
    "http://10.10.0.1:8080/",
    "http://localhost:65535/latest",
    "https://vpce-1.ec2.us-east-2.vpce.amazonaws.com:443",
)
UNUSUAL = (
    "http://[fd00:ec2::254]",
    "http://[fd00:ec2::23]/v1/credentials",
    "HTTPS://EC2.example.com",
    "https://user@ec2.example.com",
    "https://ec2.example.com:",
    "https://ec2.example.com:443:443",
    "https://ec2.example.com:65536",
    "https://ec2.example.com:100000",
    "https://ec2.example.com/?query#fragment",
    "https://ec2.example.com/a b",
    "https://ec2.example.com\n",
    "https:///path",
    "ec2.example.com",
    "ftp://ec2.example.com",
    "",
)
PIECES = st.sampled_from(
    [
        *(
            "http",
            "https",
            "://",
            ":",
            "/",
            "//",
            "ec2",
            ".",
            "-",
            "_",
            "8080",
            "0",
            "99999",
            "[",
            "]",
            "::1",
        ),
        *("]", "::1", "@", "?", "#", "%2f", " ", "\t", "\u0661", "\u00e9", "A", "\\"),
    ]
)


def by_urllib(url: str) -> Url | None:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    return Url(parts.scheme, parts.netloc, parts.hostname or "", port, parts.path, parts.query)


def ours(url: str) -> Url | None:
    try:
        return split_url(url)
    except ValueError:
        return None


@given(st.one_of(st.lists(PIECES, max_size=12).map("".join), st.text(max_size=20)))
@example("http://a:0")
@example("http://a:")
@example("http://:80")
def test_any_url_is_read_as_by_urllib(url: str) -> None:
    assert ours(url) == by_urllib(url)


@pytest.mark.parametrize("url", [*USUAL, *UNUSUAL])
def test_urls_of_all_kinds_are_read_as_by_urllib(url: str) -> None:
    assert ours(url) == by_urllib(url)


def test_usual_urls_are_read_without_urllib() -> None:
    script = f"""
import sys
from ipagent.aws.urls import split_url
for url in (*{USUAL}, 'http://[::1]'):
    split_url(url)
    print('urllib.parse' in sys.modules)
"""
    command = [sys.executable, "-I", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={})
    assert done.stdout.split() == ["False"] * len(USUAL) + ["True"]
