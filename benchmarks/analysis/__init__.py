"""What runs say together: intervals, differences, fronts, and what may not be claimed."""
