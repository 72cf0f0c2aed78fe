"""Tests of ipagent.node_interfaces."""
