"""The service as a deployment of Ray Serve; takes the extra ray, and nothing else here knows of Ray."""
