"""The engine that every mode shares: which addresses, on which ENI, by which calls, retried how. Pure."""
