"""What DiffServe adds to a model: no-op models against one hop of raw grpc.aio."""
