"""Generated from protos/; see scripts/."""
