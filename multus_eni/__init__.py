"""The `multus-eni` command: what it runs is in webhook and certs."""
