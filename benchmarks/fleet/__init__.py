"""What a fleet of node agents does to EC2, and how long pods wait: the backends `node` and `direct`."""
