"""`ipagent` with a slow check that is fast: `python -m tests.ipagent.hurried_agent sidecar`."""

from multus_eni.ipagent import drift
from multus_eni.ipagent.cli import main
from multus_eni.ipagent.retry import Pace

drift.METADATA_SECONDS = 0.3
drift.DESCRIBE_SECONDS = 3.0
drift.DOUBT_PACE = drift.SILENT_PACE = Pace(0.3, 1.0)

if __name__ == "__main__":
    main()
