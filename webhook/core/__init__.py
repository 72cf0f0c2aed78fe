"""The decision: a pod and its namespace's policy in, a JSON Patch with a reason out. Pure."""
