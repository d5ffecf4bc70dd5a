"""A stand-in for the package of task authors: the smallest runner that keeps to the protocol."""
