"""Systems that DiffServe is compared with, each as its paper or artifact defines it."""
