"""Other people's files to stamp sets: pictures, FITS, label tables; and stamp sets to one."""
