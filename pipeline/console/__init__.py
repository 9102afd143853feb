"""What people read: lines on the console."""
