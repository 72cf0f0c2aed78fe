"""Pods and claims -> desired assignments -> EC2 calls -> statuses. Single-threaded, never blocks."""
