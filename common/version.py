"""The release, in the one place that the package, the webhook and the agent read it from."""

VERSION = "0.1.0"
