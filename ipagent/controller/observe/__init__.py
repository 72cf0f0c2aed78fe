"""What is seen of the controller from outside."""
