"""The injected container that asks the node agent (backend `node`). It imports next to nothing."""
