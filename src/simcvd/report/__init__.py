"""What a person looks at: figures and one page."""
