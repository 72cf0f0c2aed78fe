"""EC2's Query API without botocore: the usual case, at a fifth of the cost. All else is botocore's."""
