"""What a pod's start costs on a real node: `python -m benchmarks.cluster`, one run, a table.

On the real two-node cluster of tests/cluster/nodes, with the chart installed and EC2 answering at once: from
creating a pod with a Multus interface until it is Ready; without us, with an init container that does
nothing, in init mode and in sidecar mode; one pod at a time, and many at once. Then, with the node agents and
the controller, on a network of prefixes.
"""
