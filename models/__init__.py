"""What a seed, a latent, an image and a model file are, and the two networks."""
