"""`ipagent init` and `sidecar` where the agent of the node calls EC2: they tell it what they see, and wait.

Every pod pays for each import here, a sidecar for its whole life: only what Python's start has loaded anyway,
json, select, signal, socket, struct and time. `.importlinter` names what must never come in.
"""
