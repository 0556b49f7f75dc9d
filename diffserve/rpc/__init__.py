"""gRPC plumbing shared by all services and clients."""
