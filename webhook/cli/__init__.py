"""The command line of the webhook: `multus-eni serve`, `inject` and `explain`."""
