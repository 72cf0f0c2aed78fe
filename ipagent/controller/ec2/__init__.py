"""Calls to EC2: makes them, and reads their answers."""
