"""The balance of the game: what is measured, what is found, and what is done about it.

``signals`` → ``verdicts`` → ``controller`` → ``remedies`` are plain logic without torch; ``meter`` and
``probe`` measure, ``keeper`` puts the parts together and changes the trainer.
"""
