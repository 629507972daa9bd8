"""Pure numpy mathematics: bases, named functions, quantization, exact float32 functions. Knows nothing of networks."""
