"""`ipagent` with short intervals of the drift check, for `python -m`: takes the arguments of `ipagent`."""

from ipagent.assign import drift
from ipagent.assign.retry import Backoff
from ipagent.cli import main

drift.METADATA_SECONDS = 0.3
drift.DESCRIBE_SECONDS = 3.0
drift.DOUBT_PACE = drift.SILENT_PACE = Backoff(0.3, 1.0)

if __name__ == "__main__":
    main()
