"""EC2's own words: `make test-aws` has real EC2 refuse calls, and compares its answers with the double's."""
