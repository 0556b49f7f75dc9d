"""DiffServe: query-aware serving of text-to-image diffusion model cascades."""

__version__ = "0.1.0"
