"""The chart: rendered by real Helm, and installed by it on a real control plane."""
