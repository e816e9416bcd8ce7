"""Controls: what is put around a job before a pod can start. One file per control."""
