"""Networks that an encoder may have inside, ours or another's, and how another's becomes one of the store's."""
