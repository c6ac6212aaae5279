"""What can be read of the host, its GPUs and its trainers' reports; every reading is optional."""
