"""Who is signed in on the pages for people, and what each of their calls must show."""
