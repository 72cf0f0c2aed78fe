"""`multus-eni check`: what is wrong with Multus on AWS in a cluster, and what to do about it."""
