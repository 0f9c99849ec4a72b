"""Networks trained whole on pictures and what is known of them: the LVM, and the baselines."""
