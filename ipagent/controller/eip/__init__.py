"""Which pod gets which Elastic IP, and what is to be done for it: pure."""
