"""The real control plane as a fixture, and the tests that go through it."""
