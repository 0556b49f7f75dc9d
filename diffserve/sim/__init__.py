"""The simulator: the live policy and planning code, driven by an event heap instead of sockets."""
