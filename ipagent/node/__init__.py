"""The node agent, a DaemonSet: watches the node's pods, calls EC2 for them and answers their containers."""
