"""From a folder of pictures to a checkpoint: ``python -m training.train``."""
