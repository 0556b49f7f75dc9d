"""The four applications of DiffServe; they never import each other."""

import os

# With its older poller a message on an open stream goes there and back in 0.14 ms instead of 0.22
# (docs/results/overhead.md). gRPC reads this when it is imported, which any service does later.
os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_client,-event_engine_listener")
