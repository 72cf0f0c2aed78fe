"""Measurements: what the programs cost, beside what others cost, on the machine that they run on."""
