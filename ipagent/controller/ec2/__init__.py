"""Calls to EC2: which may start now, how they are made, and what the answers say."""
