"""The case study on intrusion detection: real flows in, a trained KAN, what every precision makes of its decisions."""
