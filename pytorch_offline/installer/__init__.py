"""Pip driven hard and offline, and the proof afterwards that torch works."""
