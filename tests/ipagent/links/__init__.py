"""Tests of ipagent.links."""
