"""What operators see: Events, metrics, `ipagent node status`."""
