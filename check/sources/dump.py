"""Reads a dump: a file, or a folder of files, that `kubectl get -o yaml` or `-o json` has written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from check.model import Snapshot
from check.reader import read_snapshot
from webhook.manifests.documents import MAX_INPUT, DocumentError, read_documents

SUFFIXES = (".yaml", ".yml", ".json")


class DumpError(Exception):
    """The dump can't be read; the text says which file, and why."""


def read_dump(path: Path) -> Snapshot:
    """Read a file, or all files of a folder. Raises DumpError.

    Its time is that at which its last file was written: the age of certificates and Events is counted to it.
    """
    files = sorted(each for each in path.rglob("*") if each.suffix in SUFFIXES) if path.is_dir() else [path]
    if not files:
        raise DumpError(f"{path}: no file that ends with {', '.join(SUFFIXES)}")
    documents = [document for file in files for document in _documents(file)]
    return read_snapshot(documents, max(file.stat().st_mtime for file in files))


def _documents(file: Path) -> Iterator[object]:
    try:
        with file.open("rb") as stream:
            # One byte more than allowed tells a file that is too large, without reading all of it.
            found = read_documents(stream.read(MAX_INPUT + 1))
        for document in found:
            yield msgspec.json.decode(document.json)
    except OSError as error:
        raise DumpError(f"{file}: cannot be read: {error.strerror}") from None
    except (DocumentError, msgspec.DecodeError, RecursionError) as error:
        raise DumpError(f"{file}: {error}") from None
