"""What is released: the starting release and what data.dvc pins, and the models in models/."""
