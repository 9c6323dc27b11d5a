"""Arithmetic over sequences: recurrent sums, digits of MNIST, and numbers in words. One run at a time."""
