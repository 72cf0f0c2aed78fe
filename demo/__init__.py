"""The user's story on one machine: `python -m demo`, without root, cluster or AWS account.

A Multus pod is created, the webhook injects the agent, and the agent, run exactly as injected, makes the
pod's address a secondary address of the right ENI. EC2 and IMDS are the strict doubles of `tests.doubles`;
the webhook and the agent are the real ones; the API server is one if its programs are at hand.
"""
