"""Elastic IPs of pods: which pod gets which, and the calls for it. Pure."""
