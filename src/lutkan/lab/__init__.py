"""Measuring: interleaved timing, rival implementations as arms, machine fingerprints."""
