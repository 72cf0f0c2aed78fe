"""The injected container with EC2 rights of its own (backend `direct`): init and sidecar."""
