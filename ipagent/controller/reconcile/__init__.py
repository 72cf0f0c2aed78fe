"""Decisions about node networks: objects and ENIs -> calls, writes, statuses. Pure."""
