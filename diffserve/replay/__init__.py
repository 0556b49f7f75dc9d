"""Serves a workload of the simulator on a running deployment, and counts as the simulator does."""
