"""Metrics of the controller."""
