"""EC2 and the instance metadata service (IMDS)."""
