"""The agent: assigns a pod's secondary addresses to the right ENI; in the pod, or for all pods of a node."""
