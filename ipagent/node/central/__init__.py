"""EC2 through the controller (backend `central`): requests in NodeAttachments, and their answers."""
