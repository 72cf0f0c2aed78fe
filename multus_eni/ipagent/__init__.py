"""The injected container: finds the pod's secondary addresses and has EC2 give them to the right ENI."""
