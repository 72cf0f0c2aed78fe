"""The agent of a node: it watches the pods there, calls EC2 for them and answers their containers."""
