"""What every request passes and every answer goes by: strict reading, problems, limits, the end of the service."""
