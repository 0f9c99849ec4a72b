"""One small module per DVC stage: reads files, calls the other rooms, writes files."""
