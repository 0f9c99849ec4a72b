"""What the backend serves over HTTP: answers, pictures, nearest neighbours, errors."""
