"""What operators see of a running deployment: metrics and traces."""
