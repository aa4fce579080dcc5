"""Long work: processes, devices, run folders and progress."""
