"""What the agent costs: `python -m benchmarks.agent`, one run, a table.

In a pod's network namespace beside the doubles of EC2 and IMDS, as a container of a `restricted` pod:
`ipagent init` in turns with a bare Python and with a client of botocore as it comes; then `ipagent sidecar`,
idle and when addresses appear; both of them calling EC2, and slim beside an agent of the node.
"""
