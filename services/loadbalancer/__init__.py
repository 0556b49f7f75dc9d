"""The clients' door: queues, deadlines, batching, cascade decisions, dispatch to workers."""
