"""DiffServe beside general servers: the same mock models, load and counting for all."""
