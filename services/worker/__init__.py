"""The worker: owns one device, keeps variants resident and executes batches on it."""
