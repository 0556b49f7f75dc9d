"""The discriminator service: scores light images and knows where a confidence ranks."""
