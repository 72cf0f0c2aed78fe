"""The networks annotation, read exactly as Multus reads it. Pure."""
