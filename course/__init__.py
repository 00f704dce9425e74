"""What runs the course: executing, checking and drawing. The chapters' mathematics lives in `solutions`."""
