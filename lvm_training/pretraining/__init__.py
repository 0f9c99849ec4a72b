"""How the LVM is trained: restoration, multi-task training, adaptation to a user's stamps."""
