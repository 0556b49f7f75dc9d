"""A worker's diffusers backend against a plain diffusers loop: same device, weights and steps."""
