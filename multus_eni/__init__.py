"""Gives Multus pods on EKS their VPC addresses: an admission webhook and the agent that it injects."""
