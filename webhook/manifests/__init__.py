"""The same decision for manifests in files: `multus-eni inject` and `multus-eni explain`."""
