"""What is fitted on held-out data that went through the exported model; docs/calibration.md says how it is read."""
