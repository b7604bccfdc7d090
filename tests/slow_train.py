"""``python -m training.train``, with time for a test to meddle between two steps."""

import sys
import time

from training.cli import run_cli
from training.loop import Trainer
from training.step_stats import StepStats
from training.train import main

step = Trainer.train_step


def slow_step(trainer: Trainer) -> StepStats:
    """Takes a step after a while."""
    time.sleep(0.2)
    return step(trainer)


if __name__ == "__main__":
    Trainer.train_step = slow_step
    sys.exit(run_cli(main))
