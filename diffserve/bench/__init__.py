"""Open-loop load on any image server, DiffServe or not, and a report of what came of it."""
