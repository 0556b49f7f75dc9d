"""Scoring images, for the services that do: models, the thread they run on, and populations."""
