"""Garbage collection: addresses that no living pod holds any more are taken off the node's ENIs."""
