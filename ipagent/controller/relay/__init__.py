"""Calls that node agents ask for: which of them are made, and their answers. Pure."""
