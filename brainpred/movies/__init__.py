"""Movies: reading, writing, synthesising, finding cuts."""
