"""The webhook's speed and memory: `python -m benchmarks.webhook`, one run, a table.

Measured side by side, turn by turn, so that a drift of the machine hits all alike: `multus-eni serve` with
metrics, logs, warnings and audit annotations; the floors, which are the same server stack answering a
constant; and, where MULTUS_ENI_PEERS_DIR or PEERS_DIR names a folder with them, two webhooks in Go.
"""
