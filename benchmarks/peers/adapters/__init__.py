"""How each peer is given the mock models; runs in the peer's own environment, without DiffServe."""
