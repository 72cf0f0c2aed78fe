"""The version of this release, for the package, the webhook and the agent."""

VERSION = "0.1.0"
