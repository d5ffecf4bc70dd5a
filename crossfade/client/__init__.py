"""The REST client: trigger, read and steer runs; make deployments."""
