"""The four applications of DiffServe; they never import each other."""
