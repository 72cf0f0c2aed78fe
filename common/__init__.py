"""What the programs share: keys, settings, version, probes, and the client of the Kubernetes API."""
