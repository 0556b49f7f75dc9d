"""The HTTP door: OpenAI's image API, raw images, pages and probes, in the load balancer."""
