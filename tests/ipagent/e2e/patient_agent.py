"""`ipagent` whose calls wait for EC2's answer longer than any deadline: `python -m ... init`."""

from ipagent.aws import ec2_calls
from ipagent.cli import main

ec2_calls.READ_SECONDS = 60

if __name__ == "__main__":
    main()
