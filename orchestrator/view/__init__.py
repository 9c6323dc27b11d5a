"""What a person sees of a study: counts, tables, the live view, the HTML report."""
