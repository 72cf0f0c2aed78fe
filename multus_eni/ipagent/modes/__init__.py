"""How the agent works: once (init), or for the pod's life (sidecar). Loops only."""
