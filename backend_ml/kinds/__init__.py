"""The seam for kinds of campaigns: what one is asked, and what it answers with; one class and one XML each."""
