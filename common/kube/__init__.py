"""A small client of the Kubernetes API for processes that run for months."""
