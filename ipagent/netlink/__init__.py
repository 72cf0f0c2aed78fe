"""Interfaces, addresses and routes of the network namespace, read and followed by rtnetlink."""
