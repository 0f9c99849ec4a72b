"""Why a galaxy is in the queue: examples, the model's answer in words, and a heat map."""
