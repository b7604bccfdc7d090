"""What a run has to show: ``report.html`` in its folder, for its owner; the card of its model, for others."""
