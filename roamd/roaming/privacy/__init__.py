"""What is held of a driver, told and erased; what of our data which peer may see."""
