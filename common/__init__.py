"""What the programs share: contract, version, probes, and the client of the Kubernetes API."""
