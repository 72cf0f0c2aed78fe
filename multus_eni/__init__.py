"""The `multus-eni` command: it runs webhook, certs and check."""
