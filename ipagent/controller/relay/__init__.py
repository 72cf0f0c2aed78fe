"""The calls that node agents ask for: which of them are made, and what is answered: pure."""
